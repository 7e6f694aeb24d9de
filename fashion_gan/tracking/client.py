"""A client of MLflow: the login, the store, the project's experiment."""

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from fashion_gan.config.settings import is_server, read_settings, shown_uri, tracking_uri
from fashion_gan.errors import UserError
from fashion_gan.files import Lock
from fashion_gan.waiting import wait_until

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


def import_mlflow() -> Any:
    """mlflow, with the login for the tracking URI, and set up so that no pickle is ever loaded."""
    for name, value in QUIET.items():
        os.environ.setdefault(f"MLFLOW_{name}", value)
    # The files' login is for the server that they describe: it is not sent to another one that the
    # environment names.
    settings = read_settings(only_files=True)
    if is_server() and (
        urlparse(tracking_uri()).hostname in THIS_MACHINE
        or tracking_uri() == settings.get("MLFLOW_TRACKING_URI")
    ):
        for name in LOGIN:
            if name in settings:
                os.environ.setdefault(name, settings[name])
    import mlflow

    return mlflow


def check_there() -> None:
    """Raises FileNotFoundError where the local store was never made, so that reading does not make
    an empty one."""
    path = tracking_uri().removeprefix("sqlite:///")
    if tracking_uri().startswith("sqlite:") and not Path(path).exists():
        raise FileNotFoundError(f"there is no {Path(path).name} yet")


def short_message(error: BaseException) -> str:
    """An error of a store or network in one line, short, without a login that it may quote."""
    words = str(error).strip()
    if code := re.search(r"too many (\d+) error responses", words):
        return f"it answers {code[1]}"
    if "timed out" in words:
        return "it does not answer in time"
    if "Max retries exceeded" in words:
        return "it cannot be reached"
    return shown_uri(words.splitlines()[0][:200] if words else type(error).__name__)


def download_model(uri: str, file: str) -> Path:
    """A file of a registered model, on this machine. Raises UserError."""
    mlflow = import_mlflow()
    try:
        check_there()
        folder = Path(mlflow.artifacts.download_artifacts(uri, tracking_uri=tracking_uri()))
        return next(folder.rglob(file))
    except (mlflow.exceptions.MlflowException, StopIteration, OSError) as error:
        words = f"no model {uri} in MLflow at {shown_uri()} ({short_message(error)})"
        raise UserError(
            f"{words}; models are named models:/fashion-gan@champion or models:/fashion-gan/1"
        ) from None


def make_client() -> Any:
    """An MlflowClient on a store that is there: a fresh SQLite store is made by one process at a
    time."""
    mlflow, uri = import_mlflow(), tracking_uri()
    if not uri.startswith("sqlite:"):
        return mlflow.MlflowClient(uri, uri)
    with Lock(Path(uri.removeprefix("sqlite:///") + ".lock")) as lock:
        wait_until(lock.acquire)
        client = mlflow.MlflowClient(uri, uri)
        client.search_experiments(max_results=1)
    return client


def experiment(client: Any) -> Any:
    """The project's MLflow experiment, made where there is none yet, by one of several processes
    that ask at once."""
    from mlflow.exceptions import MlflowException

    uri = tracking_uri()
    local = (
        (Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts").as_uri()
        if uri.startswith("sqlite:")
        else None
    )
    if not client.get_experiment_by_name(EXPERIMENT):
        try:
            client.create_experiment(EXPERIMENT, artifact_location=local)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
    return client.get_experiment_by_name(EXPERIMENT)
