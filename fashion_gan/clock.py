"""The clock of durations, rates and time-outs: it does not turn with the wall clock, and stands
still while the process is stopped (Ctrl-Z). A stamp that others read is time.time()."""

import threading
import time

_stopped = 0.0  # seconds that were left out
_last_reading = time.monotonic()  # by the main thread, the one that handles signals


def running() -> float:
    """Seconds from some beginning on."""
    global _last_reading
    while True:
        stopped, now = _stopped, time.monotonic()
        if threading.current_thread() is threading.main_thread():
            _last_reading = now
        if stopped == _stopped:  # else a stop came between
            return now - stopped


def leave_out_stop(_: int) -> None:
    """For SIGCONT: what has passed since the last reading counts as stopped."""
    global _stopped, _last_reading
    now = time.monotonic()
    _stopped += now - _last_reading
    _last_reading = now
