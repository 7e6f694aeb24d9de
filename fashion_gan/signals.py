"""Signals that end a process in order, that wait until what is under way is whole, or stop it."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from fashion_gan import clock

# Ctrl-C, kill, a terminal that is closed, Ctrl-\
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
# A terminal that is closed sends SIGHUP twice, and people press Ctrl-C several times.
SAME_REQUEST = 2.0  # seconds within which further signals say nothing new

Handler = Callable[[int], object]


@contextmanager
def on_signals(handler: Handler | None, *numbers: int) -> Iterator[None]:
    """Call `handler` with the number of a signal, in place of what was called before; None ignores
    it. One that is ignored, as under nohup, stays so. Only the main thread can handle signals: in
    another one nothing changes."""
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in numbers} if is_main else {}
    action = (lambda number, _: handler(number)) if handler else signal.SIG_IGN
    for number, previous in before.items():
        if previous != signal.SIG_IGN:
            signal.signal(number, action)
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


@contextmanager
def on_ending(first: Handler, again: Handler) -> Iterator[None]:
    """Call `first` at a signal that is to end the process, and `again` at every later one but
    SIGHUP: a window that is closed meanwhile, or a parent that has ended, is nobody's hurry."""
    times: list[float] = []

    def handle(number: int) -> None:
        times.append(clock.running())
        if len(times) == 1:
            first(number)
        elif number != signal.SIGHUP and times[-1] - times[0] > SAME_REQUEST:
            again(number)

    with on_signals(handle, *ENDING), on_signals(clock.leave_out_stop, signal.SIGCONT):
        yield


def interrupt(_: int) -> NoReturn:
    raise KeyboardInterrupt


def exit_at_once(_: int) -> NoReturn:
    os._exit(130)


@contextmanager
def interruptible() -> Iterator[None]:
    """Each signal of ENDING interrupts the block, as Ctrl-C does; a second one ends the process at
    once."""
    with on_ending(interrupt, exit_at_once):
        yield


@contextmanager
def deferred_interrupt() -> Iterator[list[int]]:
    """Holds an interrupt back until a step is whole, so that what is saved is never half a step;
    gives a list that it fills. A second one is obeyed at once."""
    received: list[int] = []
    with on_ending(received.append, interrupt):
        yield received


@contextmanager
def postponed() -> Iterator[None]:
    """The first interrupt, and Ctrl-Z, wait for the block's end; a second is obeyed at once. Nobody
    can clean up a kernel that is half started: ZeroMQ may wait for ever for a socket that nobody
    holds."""
    received: list[int] = []
    try:
        with on_ending(received.append, interrupt), on_signals(received.append, signal.SIGTSTP):
            yield
    finally:
        for number in received:
            signal.raise_signal(number)


@contextmanager
def stopping_with(send: Handler) -> Iterator[None]:
    """Ctrl-Z stops first what `send` sends signals to, then this process. With `fg` both go on."""

    def stop(number: int) -> None:
        clock.running()  # a reading just before, so that only the stop is left out
        send(signal.SIGSTOP)
        handler = signal.signal(number, signal.SIG_DFL)
        try:
            signal.raise_signal(number)  # returns when the process goes on
        finally:
            signal.signal(number, handler)
            send(signal.SIGCONT)

    with on_signals(stop, signal.SIGTSTP):
        yield
