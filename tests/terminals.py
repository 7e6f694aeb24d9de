"""A terminal with a shell in it, as a person has one: Ctrl-C, Ctrl-Z, `fg`, a window that is
closed."""

import contextlib
import fcntl
import os
import pty
import select
import subprocess
import termios
import threading
from pathlib import Path


class Terminal:
    """bash with job control on a terminal of its own. What it shows is in `shown`."""

    def __init__(self, folder: Path):
        self.end, theirs = pty.openpty()
        self.shown, self.closed = b"", False
        self.shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "-i"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=folder,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while not self.closed:
                # never in a read when it is closed: the terminal would stay open until it returns
                if select.select([self.end], [], [], 0.1)[0]:
                    self.shown += os.read(self.end, 4096)

    def type(self, keys: str) -> None:
        os.write(self.end, keys.encode())

    def close(self) -> None:
        """As a window is closed, or an SSH connection is lost: everything in it gets SIGHUP."""
        if not self.closed:
            self.closed = True
            self.reader.join()
            os.close(self.end)
        self.shell.wait(30)


def state_of(process: int) -> str:
    """Of a process by its number: R, S, T where it is stopped, "" where there is none."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def children_of(process: int) -> list[int]:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        numbers = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        return [int(number) for number in numbers]
    return []
