"""A client of MLflow: the login, the store, the project's experiment."""

import os
import re
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from fashion_gan.config.settings import read_settings
from fashion_gan.config.stores import is_server, shown_uri, tracking_uri
from fashion_gan.errors import UserError
from fashion_gan.files import Lock
from fashion_gan.tracking.local_store import (
    EXPERIMENT,
    artifacts_uri,
    correct_addresses,
    store_path,
)
from fashion_gan.waiting import wait_until

MODEL_NAME = "fashion-gan"
LONGEST_OPENING = 120.0  # seconds that another process may take to make the local store
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
    if (path := store_path()) and not path.exists():
        raise FileNotFoundError(f"there is no {path.name} yet")


# by what a library says: what it means, and what to do
REASONS = {
    r"too many (\d+) error responses": "it answers {}",
    "timed out": "it does not answer in time",
    "Max retries exceeded": "it cannot be reached",
    "database is locked": "another program holds the store; end that one, then try again",
    "disk is full|No space left": "the disk is full; free some space, then try again",
    "file is not a database|image is malformed": "the store is damaged; bring mlflow.db back from"
    " a backup, or move it away and make it again: fashion-gan sync --all",
    "(readonly database|unable to open database|Permission denied.*)": "the store may not be"
    " written ({}); look at the rights of its file and its folder",
    "No usable temporary directory": "there is no folder for temporary files; set TMPDIR to one",
    r"No module named '(\w+)'": "the Python package {0} is missing; pip install {0}",
    "The run .* must be in the 'active'": "the run was deleted in MLflow; restore it there, or let"
    " fashion-gan sync make another one",
}


def short_message(error: BaseException) -> str:
    """An error of a store or network in one line, short, without a login that it may quote."""
    words = str(error).strip()
    if isinstance(error, UserError):
        return words
    if version := re.search(r"database schema \(found version (\w+)", words):
        return _version_message(version[1])
    for pattern, meaning in REASONS.items():
        if match := re.search(pattern, words):
            return meaning.format(*match.groups())
    return shown_uri(words.splitlines()[0][:200] if words else type(error).__name__)


def _version_message(version: str) -> str:
    """What to do with a store whose tables are those of another version of MLflow."""
    migrations = Path(import_mlflow().__file__).parent / "store" / "db_migrations" / "versions"
    if any(migrations.glob(f"{version}_*.py")):
        command = f".venv/bin/mlflow db upgrade {shlex.quote(shown_uri())}"
        return f"the store is of an older MLflow; keep a copy of it, then run: {command}"
    return "the store is of a newer MLflow; install that one (make setup), or name another store"


def download_model(uri: str, file: str) -> Path:
    """A file of a registered model, on this machine. Raises UserError."""
    mlflow = import_mlflow()
    from mlflow.store.artifact.utils.models import get_model_name_and_version

    try:
        check_there()
        client = make_client()
        # download_artifacts(uri) would ask for the version in a store of the working folder
        named = get_model_name_and_version(client, uri)
        if len(named) < 2:
            raise ValueError("no version is named")
        version, address = client.get_model_version(*named), version_address(client, *named)
    except UserError:
        raise
    except Exception as error:  # whatever a store answers, or an address that is none
        words = f"no model {uri} in MLflow at {shown_uri()} ({short_message(error)})"
        raise UserError(
            f"{words}; models are named models:/fashion-gan@champion or models:/fashion-gan/1"
        ) from None
    try:
        folder = mlflow.artifacts.download_artifacts(address, tracking_uri=tracking_uri())
        if path := next(Path(folder).rglob(file), None):
            return path
        reason = f"there is no {file}"
    except Exception as error:  # whatever a store answers
        reason = short_message(error)
    raise UserError(
        f"model {uri} is registered, but its files are not to be had from {shown_uri(address)}"
        f" ({reason}); bring them back, or name its run instead: {version.tags.get('run')}"
    )


def version_address(client: Any, name: str, version: str) -> str:
    """Where the files of a registered version lie."""
    from mlflow.store.artifact.runs_artifact_repo import RunsArtifactRepository

    address = client.get_model_version_download_uri(name, version)
    if address.startswith("runs:"):
        return RunsArtifactRepository.get_underlying_uri(address, tracking_uri())
    return address


def make_client() -> Any:
    """An MlflowClient on a store that is there: a fresh SQLite store is made by one process at a
    time, one that was moved is set right."""
    mlflow, uri = import_mlflow(), tracking_uri()
    if not (path := store_path()):
        return mlflow.MlflowClient(uri, uri)
    with Lock(path.with_name(f"{path.name}.lock")) as lock:
        if not wait_until(lock.acquire, LONGEST_OPENING):
            raise UserError(f"another process holds {lock.path}; end that one, then try again")
        correct_addresses(path)
        client = mlflow.MlflowClient(uri, uri)
        client.search_experiments(max_results=1)
    return client


def experiment(client: Any) -> Any:
    """The project's MLflow experiment, made where there is none yet, by one of several processes
    that ask at once. Raises UserError where it was deleted."""
    from mlflow.exceptions import MlflowException

    path = store_path()
    if not client.get_experiment_by_name(EXPERIMENT):
        try:
            client.create_experiment(EXPERIMENT, artifact_location=path and artifacts_uri(path))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
    there = client.get_experiment_by_name(EXPERIMENT)
    if there.lifecycle_stage != "active":
        raise UserError(
            f"the experiment {EXPERIMENT} was deleted in MLflow; bring it back:"
            f" MLFLOW_TRACKING_URI={shlex.quote(shown_uri())} .venv/bin/mlflow experiments restore"
            f" --experiment-id {there.experiment_id}"
        )
    return there
