"""Signals that wait until what is under way is whole."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ENDING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def on_signals(handler: Callable[[int], None], *numbers: int) -> Iterator[Callable[[], None]]:
    """Call `handler` with the number of a signal, in place of what was called before; gives what
    puts that back, as the block's end does. One that is ignored, as under nohup, stays so. Only the
    main thread can handle signals: in another one nothing changes."""
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in numbers} if is_main else {}

    def restore() -> None:
        for number, previous in before.items():
            signal.signal(number, previous)

    for number, previous in before.items():
        if previous != signal.SIG_IGN:
            signal.signal(number, lambda number, _: handler(number))
    try:
        yield restore
    finally:
        restore()


@contextmanager
def deferred_interrupt() -> Iterator[list[int]]:
    """Holds Ctrl-C back until a step is whole, so that what is saved is never half a step; gives a
    list that it fills."""
    received: list[int] = []
    with on_signals(received.append, signal.SIGINT):
        yield received


@contextmanager
def postponed() -> Iterator[None]:
    """The first SIGINT or SIGTERM waits for the block's end; a second is obeyed at once. Nobody can
    clean up a kernel that is half started: ZeroMQ may wait for ever for a socket that nobody
    holds."""
    received: list[int] = []

    def note(number: int) -> None:
        received.append(number)
        restore()

    try:
        with on_signals(note, *ENDING) as restore:
            yield
    finally:
        for number in received:
            signal.raise_signal(number)


def on_terminate(*_: object) -> None:
    # a second one would come while the run is being closed
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt
