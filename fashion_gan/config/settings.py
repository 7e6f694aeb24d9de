"""The project folder that commands work on, and its settings: .env, .env.local, the environment."""

import os
import re
from pathlib import Path
from urllib.parse import urlparse

from fashion_gan.errors import UserError

PACKAGED = Path(__file__).parents[1] / "project"  # the files that a project is made of


def find_project(start: Path | None = None) -> Path | None:
    """The project folder that `start` (default: the working folder) stands in, None where there is
    none. FASHION_GAN_ROOT, when set, counts instead."""
    first = Path(os.environ.get("FASHION_GAN_ROOT") or start or Path.cwd()).resolve()
    for folder in (first, *first.parents):
        if (folder / "notebooks" / "02_train.ipynb").is_file() and (folder / "params").is_dir():
            return folder
    return None


def project_root(start: Path | None = None) -> Path:
    """The project folder, see `find_project`. Raises UserError where there is none."""
    if folder := find_project(start):
        return folder
    first = os.environ.get("FASHION_GAN_ROOT") or start or Path.cwd()
    raise UserError(
        f"{first} is in no fashion-gan project; change into one (it holds notebooks/ and params/),"
        " or make one: fashion-gan init DIR"
    )


def working_root() -> Path:
    """The project folder, outside of one the working folder: for what needs no project."""
    return find_project() or Path.cwd()


def read_settings(only_files: bool = False) -> dict[str, str]:
    """The environment over .env.local over .env, both in the project folder; what is empty is left
    out."""
    from dotenv import dotenv_values

    values: dict[str, str | None] = {}
    if project := find_project():
        values |= dotenv_values(project / ".env")
        values |= dotenv_values(project / ".env.local")
    if not only_files:
        values |= os.environ
    return {name: value.strip() for name, value in values.items() if value and value.strip()}


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI of the settings, else the project's own SQLite store, by its absolute
    path. Raises UserError for no address."""
    uri = read_settings().get("MLFLOW_TRACKING_URI", "")
    if not uri:
        return f"sqlite:///{working_root() / 'mlflow.db'}"
    parts = urlparse(uri)
    if parts.scheme in ("http", "https") and parts.hostname:
        return uri
    is_database = re.match(r"sqlite$|postgresql|mysql", parts.scheme)
    if is_database and (parts.path.strip("/") or parts.hostname):
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
    value = read_settings().get("FASHION_GAN_CLOSING_SECONDS", "60")
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


def s3_endpoint(settings: dict[str, str]) -> str:
    """The S3 store's address by the settings, the team server's by default."""
    return settings.get("S3_ENDPOINT_URL", f"http://{settings.get('BIND', '127.0.0.1')}:9000")
