"""The local MLflow store, an SQLite file. MLflow keeps absolute addresses of the artifacts in it:
they are set right where the store was moved or copied."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlparse

from fashion_gan.config.stores import shown_uri, tracking_uri
from fashion_gan.errors import UserError, warn_once
from fashion_gan.runs.run import all_runs

EXPERIMENT = "fashion-gan"
PATIENCE = 20.0  # seconds for another program to let go of the store
ADDRESSES = {"experiments": "artifact_location", "runs": "artifact_uri"}


def store_path() -> Path | None:
    """The store's file. None where MLflow is a server or another database. Raises UserError where
    its folder is missing: MLflow would make it."""
    uri = tracking_uri()
    if not uri.startswith("sqlite:"):
        return None
    path = Path(uri.removeprefix("sqlite:///")).absolute()
    if not path.parent.is_dir():
        raise UserError(
            f"MLFLOW_TRACKING_URI is {uri}, and there is no folder {path.parent}; unset it for the"
            " local store, or name one that is there"
        )
    return path


def artifacts_uri(path: Path) -> str:
    """Where the artifacts of a store lie: beside it."""
    return (path.parent / "mlartifacts").as_uri()


def former_address(path: Path) -> str:
    """Where the artifacts of a store lie that was moved since, "" where it was not. An address that
    a person chose is not touched."""
    address = ""
    if path.is_file():
        query = "SELECT artifact_location FROM experiments WHERE name = ?"
        try:
            with closing(sqlite3.connect(path, timeout=PATIENCE)) as database:
                address = (database.execute(query, (EXPERIMENT,)).fetchone() or [""])[0]
        except sqlite3.Error as error:
            # a fresh store has no tables yet, and what is wrong with a damaged one MLflow says
            if "locked" in str(error):
                raise UserError(f"{path} is held by another program; end that one") from None
    if not re.fullmatch("file:.*/mlartifacts", address):
        return ""
    folder = Path(unquote(urlparse(address).path)).parent
    return "" if folder.resolve() == path.parent.resolve() else address


def correct_addresses(path: Path) -> None:
    """Replace the addresses of a store that was moved, for which the caller holds its lock. A copy
    of the store as it was is kept beside it."""
    if not (old := former_address(path)):
        return
    # What was sent to this store since it was moved went to the former folder: it is sent again.
    for run in all_runs():
        noted = run.read_json("mlflow") or {}
        if noted.get("copies", {}).pop(shown_uri(), None):
            run.log_json(noted, "mlflow")
    backup = path.with_name(f"{path.name}.before-move")
    with closing(sqlite3.connect(path, timeout=PATIENCE)) as database:
        with closing(sqlite3.connect(backup)) as copy:
            database.backup(copy)
        with database:
            for table, column in ADDRESSES.items():
                database.execute(
                    f"UPDATE {table} SET {column} = :new || substr({column}, length(:old) + 1)"
                    f" WHERE substr({column} || '/', 1, length(:old) + 1) = :old || '/'",
                    {"old": old, "new": artifacts_uri(path)},
                )
    warn_once(
        f"{path} was moved: its artifacts are now those of mlartifacts beside it, not of {old};"
        f" the store as it was is {backup.name}"
    )
