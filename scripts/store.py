"""Where MLflow is: its address, the login. By itself it brings a registered model here (see
fashion_gan.model.find)."""

import os
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from command import guarded

from fashion_gan.errors import UserError, project_root, settings

EXPERIMENT = MODEL_NAME = "fashion-gan"
LOGIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
THIS_MACHINE = ("127.0.0.1", "localhost", "::1")
QUIET = {
    # a hanging server holds nothing up; the copier tries again itself
    "HTTP_REQUEST_TIMEOUT": "20",
    "HTTP_REQUEST_MAX_RETRIES": "0",
    # it would ask the S3 store itself, which a client need not reach
    "ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    "ALLOW_PICKLE_DESERIALIZATION": "false",
    "DISABLE_TELEMETRY": "true",
    "LOGGING_LEVEL": "WARNING",
    "ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI of the settings, else the project's own SQLite store, by its absolute
    path. Raises UserError for no address."""
    uri = settings().get("MLFLOW_TRACKING_URI", "")
    if not uri:
        return f"sqlite:///{project_root() / 'mlflow.db'}"
    parts = urlparse(uri)
    if parts.scheme in ("http", "https") and parts.hostname:
        return uri
    if re.match(r"sqlite$|postgresql|mysql", parts.scheme) and (
        parts.path.strip("/") or parts.hostname
    ):
        return uri
    raise UserError(
        f"MLFLOW_TRACKING_URI is {shown_uri(uri)!r}, which is no address; say"
        " http://127.0.0.1:5009, or unset it for the local store"
    )


def shown_uri(uri: str | None = None) -> str:
    """An address as it may be shown and kept: without a login. Default: the tracking URI."""
    return re.sub(r"//[^@/]+@", "//", uri or tracking_uri())


def is_server() -> bool:
    return tracking_uri().startswith("http")


def closing_seconds() -> float:
    """How long what copies a run tries on after the run has ended. Raises UserError where the
    setting is no number of seconds."""
    value = settings().get("FASHION_GAN_CLOSING_SECONDS", "60")
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86_400:
        raise UserError(
            f"FASHION_GAN_CLOSING_SECONDS is {value!r}; allowed: 0 to 86400 seconds; unset it"
            " for 60"
        )
    return seconds


def import_mlflow() -> Any:
    """mlflow, with the login for the tracking URI, and set up so that no pickle is ever loaded."""
    for name, value in QUIET.items():
        os.environ.setdefault(f"MLFLOW_{name}", value)
    # The files' login is for the server that they describe: it is not sent to another one that the
    # environment names.
    known = settings(only_files=True)
    if is_server() and (
        urlparse(tracking_uri()).hostname in THIS_MACHINE
        or tracking_uri() == known.get("MLFLOW_TRACKING_URI")
    ):
        for name in LOGIN:
            if name in known:
                os.environ.setdefault(name, known[name])
    import mlflow

    return mlflow


def check_there() -> None:
    """Raises FileNotFoundError where the local store was never made, so that reading does not make
    an empty one."""
    path = tracking_uri().removeprefix("sqlite:///")
    if tracking_uri().startswith("sqlite:") and not Path(path).exists():
        raise FileNotFoundError(f"there is no {Path(path).name} yet")


def first_line(error: BaseException) -> str:
    """An error of a store or network in one line, short, without a login that it may quote."""
    words = str(error).strip()
    if code := re.search(r"too many (\d+) error responses", words):
        return f"it answers {code[1]}"
    if "timed out" in words:
        return "it does not answer in time"
    if "Max retries exceeded" in words:
        return "it cannot be reached"
    return shown_uri(words.splitlines()[0][:200] if words else type(error).__name__)


def download(uri: str, file: str) -> Path:
    """A file of a registered model, on this machine. Raises UserError."""
    mlflow = import_mlflow()
    try:
        check_there()
        folder = Path(mlflow.artifacts.download_artifacts(uri, tracking_uri=tracking_uri()))
        return next(folder.rglob(file))
    except (mlflow.exceptions.MlflowException, StopIteration, OSError) as error:
        words = f"no model {uri} in MLflow at {shown_uri()} ({first_line(error)})"
        raise UserError(
            f"{words}; models are named models:/fashion-gan@champion or models:/fashion-gan/1"
        ) from None


if __name__ == "__main__":
    sys.exit(guarded(lambda: print(download(*sys.argv[1:]))))
