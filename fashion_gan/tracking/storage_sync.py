"""A run folder's mirror under RUNS_URI, kept level while the run goes on; a run that goes on on
another machine.

At every moment a run can go on from what lies there. A pass takes run.json and the checkpoints as
they are when it begins, writes everything else first, then the checkpoints, then run.json, and
removes last what is gone. A fetch reads the other way round.
"""

import contextlib
import json
import re
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from fashion_gan.config.settings import closing_seconds, project_root, read_settings
from fashion_gan.errors import UserError
from fashion_gan.files import Lock, digest, file_stamp
from fashion_gan.runs.run import Run
from fashion_gan.tracking import fetch, storage
from fashion_gan.tracking.client import short_message

EVERY = 5.0  # seconds between two passes
BEAT = 10.0  # seconds between two signs of life
SILENCE = 60.0  # seconds without one after which a machine counts as gone


class TakenError(UserError):
    """What lies there is not this folder's to write."""


class Mirror:
    """Brings what lies under RUNS_URI level with one run folder. What was sent is remembered in
    mirror.json, beside an `id` by which this folder knows what it has written itself."""

    def __init__(self, run: Run, found: storage.RunStorage):
        self.run, self.place, self.beaten = run, found, 0.0
        known = run.read_json("mirror") or {}
        known = known if known.get("uri") == found.uri else {}
        sent = known.get("sent", {})
        there = fetch.in_order(found.listed(run.name, recursive=True))
        self.id = known.get("id") or uuid.uuid4().hex
        self.sent = {name: sent.get(name, ["", ""]) for name in there}

    def remember(self, level: float | None = None) -> None:
        """In mirror.json; `level`: when the run ended whose end lies there."""
        told = {"uri": self.place.uri, "id": self.id, "sent": self.sent, "level": level}
        if told != self.run.read_json("mirror"):
            self.run.log_json(told, "mirror")

    def claim(self) -> None:
        """Raises TakenError where another folder has gone on with the run since, or another run has
        the name. Two that begin in the same instant both pass; the first one to look again then
        stops."""
        owner, info = self.place.owner(self.run.name), self.run.info
        if owner and owner["id"] != self.id:
            if owner["uuid"] != info["uuid"]:
                raise TakenError(
                    f"another run named {self.run.name} lies in {self.place.uri}; this one stays"
                    " here"
                )
            if owner["attempt"] >= info.get("attempts", 1):
                raise TakenError(
                    f"run {self.run.name} went on on {owner['host']}, and is mirrored from there;"
                    " this copy stays here"
                )
            # From here on it is this folder's. The other one may have written since it was last
            # read, or be at it still.
            self.beaten = 0.0
            self.beat()
            self.sent = {
                name: ["", ""]
                for name in fetch.in_order(self.place.listed(self.run.name, recursive=True))
            }
        if (self.run.read_json("mirror") or {}).get("id") != self.id:
            self.remember()
        self.beat()

    def beat(self, ended: bool = False) -> None:
        """Sign that this machine is at it, or has ended."""
        now, info = time.time(), self.run.info
        if ended or now - self.beaten > BEAT:
            told = {
                "uuid": info["uuid"],
                "attempt": info.get("attempts", 1),
                "host": info.get("host", ""),
                "id": self.id,
            }
            told["time"] = 0 if ended else now
            self.place.put(f"{self.run.name}/{storage.OWNER}", json.dumps(told).encode())
            self.beaten = now

    def copy(self) -> None:
        """One pass."""
        self.place.check()
        self.claim()
        folder, ended, level = self.run.folder, self.run.info.get("ended"), None
        # so that a checkpoint that is removed meanwhile is still read
        with contextlib.ExitStack() as held:
            streams = {"run.json": held.enter_context((folder / "run.json").open("rb"))}
            names = fetch.in_order(
                [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
            )
            streams |= {
                name: held.enter_context((folder / name).open("rb"))
                for name in names
                if name.startswith("checkpoints/")
            }
            try:
                for name in names:
                    with (
                        contextlib.suppress(FileNotFoundError),
                        streams.get(name) or (folder / name).open("rb") as stream,
                    ):
                        self._send(name, file_stamp(stream.fileno()), stream)
                for name in self.sent.keys() - set(names):
                    self.place.remove(f"{self.run.name}/{name}")
                    del self.sent[name]
                level = ended
            finally:
                self.remember(level)

    def _send(self, name: str, mark: str, stream: Any) -> None:
        known = self.sent.get(name, ["", ""])
        if known[0] == mark:
            return
        content = stream.read()
        if known[1] != (now := digest(content)):
            self.beat()
            self.place.put(f"{self.run.name}/{name}", content)
        self.sent[name] = [mark, now]


def push(run: Run) -> None:
    """One pass, whether the run goes on or not. Raises UserError where the place is none or out of
    reach; a copy that went on elsewhere is left alone. Nothing where RUNS_URI is not set."""
    with Lock(run.folder / "mirror.lock") as lock, contextlib.suppress(TakenError):
        if found := storage.open_storage():
            lock.acquire(
                f"another process is mirroring run {run.name} already; look again in a minute"
            )
            mirror = Mirror(run, found)
            mirror.copy()
            mirror.beat(ended=run.info["status"] != "RUNNING")


def follow(run: Run, done: threading.Event, say: Callable[[str], None]) -> None:
    """Mirror until the run has ended and `done` is set. A place that is out of reach is said once
    and tried again."""
    mirror, trouble, until = None, "", None
    with Lock(run.folder / "mirror.lock") as lock:
        while not lock.acquire():  # that of an earlier attempt is still closing
            time.sleep(0.3)
        while (run.folder / "run.json").exists():
            last = done.is_set() and run.lock.is_free()
            until = until or (time.monotonic() + closing_seconds() if last else None)
            try:
                mirror = mirror or Mirror(run, storage.open_storage())
                mirror.copy()
                if trouble:
                    say(f"{mirror.place.uri} is level again")
                trouble = ""
                if last:
                    mirror.beat(ended=True)
                    return
            except FileNotFoundError:
                # a checkpoint went between the listing and the opening; the next pass has the one
                # after it
                pass
            except Exception as error:  # any fault of a store, a network or a disk
                if not trouble or isinstance(error, TakenError):
                    say(short_message(error))
                trouble = short_message(error)
                run.log_json((run.read_json("mirror") or {}) | {"trouble": trouble}, "mirror")
                if isinstance(error, TakenError) or (until and time.monotonic() > until):
                    return
            time.sleep(1) if done.is_set() else done.wait(EVERY)


@contextlib.contextmanager
def mirrored(run: Run, follows: bool) -> Iterator[None]:
    """Around the copy to MLflow: that to RUNS_URI. While a run is followed in a thread of its own,
    so that neither waits for the other."""
    done = threading.Event()
    thread = threading.Thread(
        target=follow,
        args=(run, done, lambda words: print(time.strftime("%H:%M:%S"), words, flush=True)),
        daemon=True,
    )
    if follows and read_settings().get("RUNS_URI"):
        thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join() if thread.ident else push(run)


def wait_for_mirror(run: Run, say: Callable[[str], None]) -> None:
    """Wait for the last pass; say where it did not make the mirror level."""
    lock, until = Lock(run.folder / "mirror.lock"), time.monotonic() + closing_seconds()
    while uri := read_settings().get("RUNS_URI"):
        known = run.read_json("mirror") or {}
        if known.get("level") == run.info["ended"]:
            return
        if lock.is_free() or time.monotonic() > until:
            say(
                f"{uri} is not level ({known.get('trouble', 'no pass yet')}); later: fashion-gan"
                f" sync {run.name}"
            )
            return
        time.sleep(0.2)


def ensure_latest(run: Run) -> Run:
    """A run before it goes on here. Where it went on elsewhere, that is fetched, and this copy is
    moved to reports/scratch. Raises UserError where it goes on elsewhere now. Nothing where
    RUNS_URI is not set or out of reach, or the run goes on here."""
    try:
        found = storage.open_storage() if run.lock.is_free() else None
        owner = found.owner(run.name) if found else {}
    except storage.OutOfReachError as error:
        print(f"{error}; going on from what is here", flush=True)
        return run
    known = run.read_json("mirror") or {}
    if not owner or owner["uuid"] != run.info["uuid"] or owner["id"] == known.get("id"):
        return run
    owner = wait_for_lease(found, run.name, owner)
    further = owner["attempt"] - run.info.get("attempts", 1)
    # the latter was fetched to be read
    if further > 0 or (further == 0 and "id" not in known and owner != known.get("seen")):
        fresh, aside = (
            project_root() / "reports" / "scratch" / f"{run.name}-{part}"
            for part in ("fetched", "before")
        )
        for old in (fresh, aside):
            shutil.rmtree(old, ignore_errors=True)
        fetch.fetch_run(run.name, fresh)
        run.folder.rename(aside)
        fresh.rename(run.folder)
        print(
            f"run {run.name} went on on {owner['host']}: fetched again; what was here is in"
            f" reports/scratch/{aside.name}",
            flush=True,
        )
    return Run(run.folder)


def wait_for_lease(found: storage.RunStorage, run: str, owner: dict[str, Any]) -> dict[str, Any]:
    """The owner, once it has ended or shown no sign of life for a while (no clocks are compared).
    Raises UserError where it lives."""
    until = time.monotonic() + SILENCE
    if owner["time"]:
        print(
            f"run {run} was going on on {owner['host']}; listening for {SILENCE:.0f} s whether it"
            " still is",
            flush=True,
        )
    while owner["time"] and time.monotonic() < until:
        time.sleep(min(1.0, BEAT))
        before, owner = owner, found.owner(run)
        if owner["time"] and owner != before:
            raise UserError(
                f"run {run} goes on on {owner['host']}; stop it there, then resume it here"
            )
    return owner


def push_sweep(sweep: Run, say: Callable[[str], None]) -> None:
    """Put a sweep where machines that share no folder with this one fetch it from, before its
    trials begin there."""
    try:
        push(sweep)
    except UserError as error:
        say(str(error))


def pull_trials(sweep: Run, say: Callable[[str], None]) -> None:
    """Bring the trials of a sweep here that ran, or went on, on machines that share no folder with
    this one."""
    try:
        found = storage.open_storage()
        for name in found.listed() if found else []:
            if re.fullmatch(rf"{re.escape(sweep.name)}-\d{{3,}}", name):
                folder = project_root() / "reports" / name
                ensure_latest(Run(folder)) if (folder / "run.json").exists() else fetch.fetch_run(
                    name, folder
                )
    except UserError as error:
        say(str(error))
