"""Errors meant for a person, and the exit codes of processes."""

import functools
import os
import sys
from collections.abc import Callable

from fashion_gan.text import plain_text


class UserError(Exception):
    """One line that says what is wrong, what is allowed and what to do. The command line prints it
    and exits with 2."""

    def __init__(self, message: str) -> None:
        super().__init__(plain_text(str(message)))

    def _render_traceback_(self) -> list[str]:
        # IPython shows these lines in place of a traceback.
        return [f"error: {self}"]


def describe(error: BaseException) -> str:
    """Its type and its message, in one line."""
    return plain_text(f"{type(error).__name__}: {error}").removesuffix(":")


@functools.cache
def warn_once(message: str) -> None:
    """A warning on standard error, the same one once a process."""
    print(f"warning: {plain_text(message)}", file=sys.stderr, flush=True)


def exit_code_of(work: Callable[[], int | None]) -> int:
    """The exit code of what a process does: what `work` returns, None for 0; 2 for an error of the
    person's, which is said in one line; 130 when interrupted."""
    try:
        return work() or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"error: {error}; nothing more was written", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
