"""What a command prints to may go away while it works: a pipe that is closed, a terminal that is
gone, a full disk."""

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO


class LastingStream:
    """A text stream that may fail: from then on what is printed goes nowhere, and the work goes
    on."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        self._attempt(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _attempt(self, work: Callable[..., object], *words: str) -> None:
        try:
            work(*words)
        except OSError:
            # what Python still holds for it is written when it ends
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)


def open_standard_streams() -> None:
    """A process that was started without one of its standard streams gets an empty one: else the
    next file that is opened has its number, and is written to by whoever prints."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # a replaced one
            # a terminal of few letters shows ? in place of what it does not have
            stream.reconfigure(errors="replace")


def outlast_output() -> None:
    """For a command that works for long: its end does not depend on who reads what it prints."""
    sys.stdout = LastingStream(sys.stdout)
    sys.stderr = LastingStream(sys.stderr)
