"""A run folder's mirror under RUNS_URI, kept level while the run goes on; a run that goes on on
another machine.

At every moment a run can go on from what lies there. A pass takes run.json and the checkpoints as
they are when it begins, writes everything else first, then the checkpoints, then run.json, and
removes last what is gone. A fetch reads the other way round.
"""

import contextlib
import json
import math
import platform
import re
import shutil
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from fashion_gan import clock
from fashion_gan.config.settings import project_root, read_settings
from fashion_gan.errors import UserError
from fashion_gan.files import file_stamp
from fashion_gan.runs.identity import separate_copy
from fashion_gan.runs.run import Run
from fashion_gan.tracking import fetch
from fashion_gan.tracking.storage import OWNER, OutOfReachError, RunStorage, open_storage
from fashion_gan.tracking.sync_loop import (
    Ledger,
    SupersededError,
    follow,
    lock_of,
    wait_until_level,
)

EVERY = 5.0  # seconds between two passes
HEARTBEAT = 10.0  # seconds between two signs of life
SILENCE = 60.0  # seconds without one after which a machine counts as gone


def own_id(run: Run) -> str:
    """The id by which this folder knows what it has written itself, "" where it has none: that in a
    copy of the folder, on this machine or on another one, is its original's."""
    noted = run.read_json("mirror") or {}
    folder = Path(noted.get("folder", run.folder)).resolve()
    is_copy = folder != run.folder.resolve() and (folder / "run.json").exists()
    if is_copy or noted.get("host", platform.node()) != platform.node():
        return ""
    return noted.get("id", "")


class Mirror:
    """Brings what lies under RUNS_URI level with one run folder. What was sent is remembered in
    mirror.json, beside the folder's `own_id`."""

    def __init__(self, run: Run, storage: RunStorage):
        separate_copy(run)
        self.run, self.storage, self.last_heartbeat = run, storage, -math.inf
        noted = run.read_json("mirror") or {}
        if noted.get("uri") != storage.uri:
            noted = {}
        self.id = (noted and own_id(run)) or uuid.uuid4().hex
        self.ledger = Ledger({})
        self._count_as_sent(noted.get("sent", {}))

    def _count_as_sent(self, sent: dict[str, list[str]]) -> None:
        """Every file that lies there is in the ledger: one of unknown content is written over."""
        names = fetch.in_order(self.storage.names(self.run.name, recursive=True))
        self.ledger.sent = {name: sent.get(name, ["", ""]) for name in names}

    def remember(self, level: float | None = None) -> None:
        """In mirror.json; `level`: when the run ended whose end lies there."""
        noted = {
            "uri": self.storage.uri,
            "id": self.id,
            "folder": str(self.run.folder.resolve()),
            "host": platform.node(),
            "sent": self.ledger.sent,
            "level": level,
        }
        if noted != self.run.read_json("mirror"):
            self.run.log_json(noted, "mirror")

    def acquire(self) -> None:
        """Take the lease. Raises SupersededError where another folder has gone on with the run
        since, or another run has the name. Two that begin in the same instant both pass; the first
        one to read the lease again then stops."""
        owner, info = self.storage.owner(self.run.name), self.run.info
        if owner and owner["id"] != self.id:
            if owner["uuid"] != info.uuid:
                raise SupersededError(
                    f"another run named {self.run.name} lies in {self.storage.uri}; this one stays"
                    " here"
                )
            if owner["attempt"] >= info.attempts:
                raise SupersededError(
                    f"run {self.run.name} went on on {owner['host']}, and is mirrored from there;"
                    f" this copy stays here; to mirror this one instead: fashion-gan resume"
                    f" {self.run.name}, or remove {OWNER} there"
                )
            # From here on it is this folder's. The other one may have written since it was last
            # read, or be at it still.
            self.last_heartbeat = -math.inf
            self.heartbeat()
            self._count_as_sent({})
        if (self.run.read_json("mirror") or {}).get("id") != self.id:
            self.remember()
        self.heartbeat()

    def heartbeat(self, ended: bool = False) -> None:
        """Sign that this machine is at it, or has ended."""
        now, info = clock.running(), self.run.info
        if ended or now - self.last_heartbeat > HEARTBEAT:
            lease = {
                "uuid": info.uuid,
                "attempt": info.attempts,
                "host": info.host,
                "id": self.id,
                "time": 0 if ended else time.time(),
            }
            self.storage.put(f"{self.run.name}/{OWNER}", json.dumps(lease).encode())
            self.last_heartbeat = now

    def copy(self) -> None:
        """One pass."""
        self.storage.check()
        self.acquire()
        level, ended = None, self.run.info.ended
        with contextlib.ExitStack() as stack:
            names, streams = self._snapshot(stack)
            try:
                for name in names:
                    with contextlib.suppress(FileNotFoundError):
                        self._send(name, streams.get(name) or (self.run.folder / name).open("rb"))
                for name in self.ledger.sent.keys() - set(names):
                    self.storage.remove(f"{self.run.name}/{name}")
                    del self.ledger.sent[name]
                level = ended
            finally:
                self.remember(level)

    def _snapshot(self, stack: contextlib.ExitStack) -> tuple[list[str], dict[str, BinaryIO]]:
        """The names of the files now, and run.json and the checkpoints, open: one that is removed
        during the pass is still read. Listed again where one goes before it is open."""
        folder = self.run.folder
        for _ in range(5):
            with contextlib.ExitStack() as opened, contextlib.suppress(FileNotFoundError):
                streams = {"run.json": opened.enter_context((folder / "run.json").open("rb"))}
                paths = [path for path in folder.rglob("*") if path.is_file()]
                names = fetch.in_order([path.relative_to(folder).as_posix() for path in paths])
                for name in names:
                    if name.startswith("checkpoints/"):
                        streams[name] = opened.enter_context((folder / name).open("rb"))
                stack.enter_context(opened.pop_all())
                return names, streams
        raise FileNotFoundError(f"the checkpoints of run {self.run.name} change too fast")

    def _send(self, name: str, stream: BinaryIO) -> None:
        with stream:
            stamp = file_stamp(stream.fileno())
            if not self.ledger.has(name, stamp):
                content = stream.read()
                self.ledger.send(name, stamp, content, lambda: self._put(name, content))

    def _put(self, name: str, content: bytes) -> None:
        self.heartbeat()
        self.storage.put(f"{self.run.name}/{name}", content)

    def close(self) -> None:
        """The last pass: the lease says that the run has ended."""
        self.copy()
        self.heartbeat(ended=True)


def push(run: Run) -> None:
    """One pass, whether the run goes on or not. Raises UserError where RUNS_URI is wrong or out of
    reach; a copy that went on elsewhere is left alone. Nothing where RUNS_URI is not set."""
    with lock_of(run, "mirror") as lock, contextlib.suppress(SupersededError):
        if storage := open_storage():
            lock.acquire(
                f"another process is mirroring run {run.name} already; look again in a minute"
            )
            mirror = Mirror(run, storage)
            mirror.copy() if run.info.status == "RUNNING" else mirror.close()


def follow_storage(run: Run, done: threading.Event, log: Callable[[str], None]) -> None:
    """Mirror until the run has ended and `done` is set. What went wrong at the end stands in
    mirror.json."""

    def note_fault(reason: str) -> None:
        run.log_json((run.read_json("mirror") or {}) | {"trouble": reason}, "mirror")

    with contextlib.suppress(UserError):
        follow(
            run,
            copy="mirror",
            name=read_settings()["RUNS_URI"],
            connect=lambda: Mirror(run, open_storage()),
            has_ended=lambda: done.is_set() and run.lock.is_free(),
            note_fault=note_fault,
            log=log,
            interval=EVERY,
        )


@contextlib.contextmanager
def mirroring(run: Run, follows: bool, log: Callable[[str], None]) -> Iterator[None]:
    """Around the copy to MLflow: that to RUNS_URI. While a run is followed in a thread of its own,
    so that neither waits for the other. An interrupt waits for neither."""
    done = threading.Event()
    thread = threading.Thread(target=follow_storage, args=(run, done, log), daemon=True)
    if follows and read_settings().get("RUNS_URI"):
        thread.start()
    try:
        yield
    finally:
        done.set()
        if not isinstance(sys.exception(), KeyboardInterrupt):
            thread.join() if thread.ident else push(run)


def wait_for_mirror(run: Run, log: Callable[[str], None]) -> None:
    """Wait for the last pass; say where it did not make the mirror level."""

    def state() -> tuple[float | None, str]:
        noted = run.read_json("mirror") or {}
        return noted.get("level"), noted.get("trouble", "")

    uri = read_settings().get("RUNS_URI")
    if uri and not wait_until_level(run, "mirror", state, 0, lambda _: None):
        fault = state()[1] or "no pass yet"
        log(f"{uri} is not level ({fault}); later: fashion-gan sync {run.name}")


def ensure_latest(run: Run) -> Run:
    """A run before it goes on here. Where it went on elsewhere, that is fetched, and this copy is
    moved to reports/scratch. Raises UserError where it goes on elsewhere now. Nothing where
    RUNS_URI is not set or out of reach, or the run goes on here."""
    try:
        storage = open_storage() if run.lock.is_free() else None
        owner = storage.owner(run.name) if storage else {}
    except OutOfReachError as error:
        print(f"{error}; going on from what is here", flush=True)
        return run
    noted = run.read_json("mirror") or {}
    if not owner or owner["uuid"] != run.info.uuid or owner["id"] == own_id(run):
        return run
    owner = wait_for_lease(storage, run.name, owner)
    further = owner["attempt"] - run.info.attempts
    only_read = "id" not in noted  # it was fetched to be read
    if further > 0 or (further == 0 and only_read and owner != noted.get("seen")):
        _replace_by_latest(run)
        print(
            f"run {run.name} went on on {owner['host']}: fetched again; what was here is in"
            f" reports/scratch/{run.name}-before",
            flush=True,
        )
    return Run(run.folder)


def _replace_by_latest(run: Run) -> None:
    scratch = project_root() / "reports" / "scratch"
    fetched, before = scratch / f"{run.name}-fetched", scratch / f"{run.name}-before"
    for folder in (fetched, before):
        shutil.rmtree(folder, ignore_errors=True)
    fetch.fetch_run(run.name, fetched)
    run.folder.rename(before)
    fetched.rename(run.folder)


def wait_for_lease(storage: RunStorage, run: str, owner: dict[str, Any]) -> dict[str, Any]:
    """The owner, once it has ended or shown no sign of life for a while (no clocks are compared).
    Raises UserError where it lives."""
    until = clock.running() + SILENCE
    if owner["time"]:
        print(
            f"run {run} was going on on {owner['host']}; listening for {SILENCE:.0f} s whether it"
            " still is",
            flush=True,
        )
    while owner["time"] and clock.running() < until:
        time.sleep(min(1.0, HEARTBEAT))
        before, owner = owner, storage.owner(run) or owner | {"time": 0.0}
        if owner["time"] and owner != before:
            raise UserError(
                f"run {run} goes on on {owner['host']}; stop it there, then resume it here"
            )
    return owner


def push_sweep(sweep: Run, log: Callable[[str], None]) -> None:
    """Put a sweep where machines that share no folder with this one fetch it from, before its
    trials begin there."""
    try:
        push(sweep)
    except UserError as error:
        log(str(error))


def pull_trials(sweep: Run, log: Callable[[str], None]) -> None:
    """Bring the trials of a sweep here that ran, or went on, on machines that share no folder with
    this one."""
    try:
        storage = open_storage()
        names = storage.names() if storage else []
        for name in names:
            if not re.fullmatch(rf"{re.escape(sweep.name)}-\d{{3,}}", name):
                continue
            folder = project_root() / "reports" / name
            if (folder / "run.json").exists():
                ensure_latest(Run(folder))
            else:
                fetch.fetch_run(name, folder)
    except UserError as error:
        log(str(error))
