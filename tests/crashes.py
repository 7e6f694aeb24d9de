"""Crashes at every point where a writer calls the system: the n-th call finds a full disk, or the
process is killed there. A point costs a fork, no new interpreter."""

import builtins
import contextlib
import errno
import io
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

KINDS = ("killed", "full", "once")  # once: the next call finds room again
MAKING = ("open", "write", "os.mkdir", "os.link", "os.fsync")  # what a full disk refuses
CHANGES = ("open", "os.rename", "os.remove", "os.mkdir", "os.link", "os.truncate", "os.rmdir")
real_open = io.open
current: "Fault | None" = None  # in a child: what befalls it


@dataclass
class Fault:
    """Calls that change something under `folder` are counted; the one numbered `number` fails, and
    for the kind "full" all that follow and need room."""

    folder: Path
    kind: str
    number: int
    count: int = 0
    calls: list[str] = field(default_factory=list)

    def concerns(self, path: object) -> bool:
        return isinstance(path, (str, Path)) and str(path).startswith(str(self.folder))

    def call(self, name: str, before: Callable[[], object] = lambda: None) -> None:
        """Where it is to fail: what was done `before`, and then the end."""
        self.count += 1
        self.calls.append(name)
        needs_room = name in MAKING
        if self.count == self.number or (self.kind == "full" and self.count > self.number):
            if self.kind == "killed":
                before()
                os.kill(os.getpid(), signal.SIGKILL)
            if needs_room:
                before()
                raise OSError(errno.ENOSPC, "No space left on device", str(self.folder))


class TornFile(io.FileIO):
    """A write that meets the end of the room writes a half and says so; the next one fails."""

    refused: OSError | None = None

    def write(self, content: bytes) -> int:
        refused, self.refused = self.refused, None
        if refused:
            raise refused
        half = bytes(content[: len(content) // 2])
        written: list[int] = []
        try:
            current.call("write", lambda: written.append(super(TornFile, self).write(half)))
        except OSError as error:
            if not any(written):
                raise
            self.refused = error
            return written[0]
        return super().write(content)


def open_torn(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, *rest):
    if not (current and current.concerns(file) and set(mode) & set("wax+")):
        return real_open(file, mode, buffering, encoding, errors, newline, *rest)
    raw = TornFile(str(file), mode.replace("b", "").replace("t", ""))
    stream = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
    return stream if "b" in mode else io.TextIOWrapper(stream, encoding or "utf-8", errors, newline)


def audit(event: str, words: tuple) -> None:
    """Opening for reading counts as nothing."""
    if current is None or event not in CHANGES or not current.concerns(words[0]):
        return
    if event == "open" and not (words[2] or 0) & (os.O_WRONLY | os.O_RDWR):
        return
    current.call(event)


def torn(save: Callable[..., None]) -> Callable[..., None]:
    """torch.save writes by C++: here it writes as Python does."""

    def save_torn(content: object, target: Path) -> None:
        buffer = io.BytesIO()
        save(content, buffer)
        with builtins.open(target, "wb") as stream:
            stream.write(buffer.getvalue())

    return save_torn


def torn_sync(number: int) -> None:
    if current:
        current.call("os.fsync")
    real_sync(number)


real_sync = os.fsync


def begin(fault: Fault) -> None:
    """In a child: from here on `fault` is waited for."""
    global current
    sys.addaudithook(audit)
    io.open = builtins.open = open_torn
    os.fsync = torn_sync
    torch.save = torn(torch.save)
    current = fault


Note = Callable[[object], None]


@dataclass
class Writer:
    """What writes into a folder, and what has to hold. `work` notes what it has been promised to be
    kept; `check` gets that, and whether the work was done again since. Both may be told to go on
    from what is there."""

    name: str
    prepare: Callable[[Path], None]
    work: Callable[[Path, Note], None]
    check: Callable[[Path, list[str], bool], None]


@dataclass(frozen=True)
class Result:
    writer: str
    kind: str
    number: int
    call: str
    problem: str


def in_child(work: Callable[[Note], None], fault: Fault | None = None) -> tuple[list[str], int]:
    """What a child noted, and its exit code; 1 where the work failed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            os.close(reading)
            sys.stdout = sys.stderr = real_open(os.devnull, "w")
            if fault:
                begin(fault)
            work(lambda value: os.write(writing, f"{value}\n".encode()))
            code = 0
        if fault:
            os.write(writing, f"calls {' '.join(fault.calls)}\n".encode())
        os._exit(code)
    os.close(writing)
    with real_open(reading, "r") as stream:
        lines = stream.read().splitlines()
    return lines, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def calls_of(writer: Writer, folder: Path) -> list[str]:
    """The calls that a writer makes, where nothing befalls it."""
    fresh(writer, folder)
    fault = Fault(folder, "once", -1)
    notes, code = in_child(lambda note: writer.work(folder, note), fault)
    assert code == 0, f"{writer.name} does not work"
    kept = [line for line in notes if not line.startswith("calls")]
    writer.check(folder, kept, True)
    return notes[-1].split()[1:]


def fresh(writer: Writer, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    writer.prepare(folder)


def crash(writer: Writer, folder: Path, kind: str, number: int, call: str) -> Result:
    """One crash, then the same work again."""
    fresh(writer, folder)
    fault = Fault(folder, kind, number)
    notes, _ = in_child(lambda note: writer.work(folder, note), fault)
    kept = [line for line in notes if not line.startswith("calls")]
    problem = ""
    try:
        writer.check(folder, kept, False)
        notes, code = in_child(lambda note: writer.work(folder, note))
        assert code == 0, "the same work fails afterwards"
        writer.check(folder, kept + notes, True)
        if kind != "killed":
            left = [path.name for path in folder.rglob("*.tmp")]
            assert not left, f"left behind: {left}"
    except Exception as error:
        problem = f"{type(error).__name__}: {error}".splitlines()[0]
    return Result(writer.name, kind, number, call, problem)
