"""Keep a copy of a run folder level, wherever the copy is: what was sent, the loop that follows a
run, and the wait for its last pass."""

import contextlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from fashion_gan import clock
from fashion_gan.config.stores import closing_seconds
from fashion_gan.errors import UserError
from fashion_gan.files import Lock, digest
from fashion_gan.runs.run import Run
from fashion_gan.tracking.client import short_message
from fashion_gan.waiting import wait_until

LONGEST_PAUSE = 30.0  # seconds between two tries
CLOSING_MARGIN = 30.0  # seconds that the last try itself may take


class SupersededError(UserError):
    """The copy is not this folder's to write any more."""


class Target(Protocol):
    """One copy of a run folder. A pass may be done again: nothing is sent twice."""

    def copy(self) -> None:
        """One pass while the run goes on."""

    def close(self) -> None:
        """The last pass, once the run has ended."""


class Ledger:
    """What was sent: by the file's name its stamp and the digest of its content, so that a file
    that was only touched is not sent again."""

    def __init__(self, sent: dict[str, list[str]]):
        self.sent = sent

    def has(self, name: str, stamp: str) -> bool:
        return self.sent.get(name, [""])[0] == stamp

    def send(
        self, name: str, stamp: str, content: bytes | Path, send: Callable[[], object]
    ) -> None:
        """Call `send` if `content` is not what was sent last, and note it once it has returned."""
        checksum = digest(content)
        if self.sent.get(name, ["", ""])[1] != checksum:
            send()
        self.sent[name] = [stamp, checksum]


def lock_of(run: Run, copy: str) -> Lock:
    """The lock that whoever writes a copy ("sync": MLflow's, "mirror": RUNS_URI's) holds."""
    return Lock(run.folder / f"{copy}.lock")


def follow(
    run: Run,
    copy: str,
    name: str,
    connect: Callable[[], Target],
    has_ended: Callable[[], bool],
    note_fault: Callable[[str], None],
    log: Callable[[str], None],
    interval: float,
) -> None:
    """Copy every `interval` seconds until the run has ended, then close.

    A store that does not answer stops nothing: it is tried again with growing pauses, and after the
    run's end for closing_seconds() more. A fault is logged once, under the store's `name`, until it
    is over. Raises UserError where the copy did not become level, and SupersededError at once.
    """
    target: Target | None = None
    pause, deadline, fault = interval, math.inf, ""
    with lock_of(run, copy) as lock:
        wait_until(lock.acquire)  # that of an earlier attempt may still be closing
        while (run.folder / "run.json").exists():
            ended = has_ended()
            if ended and deadline == math.inf:
                pause, deadline = interval, clock.running() + closing_seconds()
            try:
                target = target or connect()
                target.close() if ended else target.copy()
                if fault:
                    log(f"{name} is level again")
                if ended:
                    return
                pause, fault = interval, ""
            except Exception as error:  # any fault of a store, a network or a disk
                superseded = isinstance(error, SupersededError)
                reason = short_message(error)
                if superseded or not fault:
                    log(reason if name in reason else f"{name}: {reason}")
                fault = reason
                with contextlib.suppress(OSError):  # the disk may be what is at fault
                    note_fault(reason)
                if superseded or clock.running() + pause > deadline:
                    raise error if superseded else UserError(reason) from None
                pause = min(2 * pause, LONGEST_PAUSE)
            if deadline == math.inf:
                wait_until(has_ended, pause)
            else:
                time.sleep(pause)


def wait_until_level(
    run: Run,
    copy: str,
    state: Callable[[], tuple[Any, str]],
    start_seconds: float,
    log: Callable[[str], None],
) -> bool:
    """Wait for the last pass of a copy. False where it does not come in time, or nobody has been
    writing for `start_seconds`. `state` gives which end of the run the copy is level with, and its
    last fault."""
    lock, logged = lock_of(run, copy), False
    deadline = idle = clock.running() + closing_seconds() + CLOSING_MARGIN

    def is_over() -> bool:
        nonlocal idle, logged
        level_with, fault = state()
        if fault and not logged:
            logged = True
            log(f"{fault}; trying for {closing_seconds():.0f} s")
        idle = min(idle, clock.running() + start_seconds) if lock.is_free() else deadline
        return level_with == run.info.ended or clock.running() > idle

    wait_until(is_over, deadline - clock.running())
    return state()[0] == run.info.ended
