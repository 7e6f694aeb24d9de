"""What a session of tests leaves behind: processes, ports, containers, files of the checkout."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import psutil

WORD = "FASHION_GAN_TESTS"  # in the environment of everything that a session starts
PATIENCE = 20  # seconds for what was told to end
GENERATED = (
    "__pycache__",
    ".pytest_cache/",
    ".ruff_cache/",
    ".venv/",
    "data/",
    ".egg-info",
    "build/",
)


def remove_ended() -> None:
    """Remove the temporary folders of sessions that were killed or failed: 2 GB each.

    The newest one stays: it may be under examination.
    """
    folders = sorted(
        Path(tempfile.gettempdir()).glob("fg-[0-9]*-*"), key=lambda f: f.stat().st_mtime
    )
    for folder in folders[:-1]:
        owner = folder.name.split("-")[1]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            for mount in folder.glob("**/fashion-gan-server-*/postgres"):
                if mount.is_mount():
                    subprocess.run(["umount", str(mount)])
            shutil.rmtree(folder, ignore_errors=True)


class Watch:
    """Begun before the first test; `found` after the last one has been run."""

    def __init__(self, root: Path) -> None:
        self.root, self.keep = root, False
        self.word = uuid.uuid4().hex
        os.environ[WORD] = self.word
        self.before = set(self._files())
        remove_ended()
        # a short name: sockets lie in it
        self.temporary = Path(tempfile.mkdtemp(prefix=f"fg-{os.getpid()}-"))
        self.temporary.chmod(0o755)
        os.environ["TMPDIR"] = str(self.temporary)
        tempfile.tempdir = None  # it is read anew

    def _files(self) -> list[str]:
        """What is in the checkout and not in git. A tracked file that changes is its author's, at
        work beside the tests."""
        words = ["git", "status", "--porcelain", "--ignored", "--untracked-files=all"]
        done = subprocess.run(words, cwd=self.root, capture_output=True, text=True)
        return [
            line[3:]
            for line in done.stdout.splitlines()
            if line[0] in "?!" and not any(name in line for name in GENERATED)
        ]

    def _processes(self) -> list[psutil.Process]:
        """Processes that this session has started, by their environment."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid != os.getpid() and process.environ().get(WORD) == self.word:
                    found.append(process)
        return [
            process
            for process in found
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        ]

    def found(self) -> list[str]:
        """A line for each thing that is left; processes get some seconds to end."""
        until = time.monotonic() + PATIENCE
        while (processes := self._processes()) and time.monotonic() < until:
            time.sleep(0.2)
        lines = []
        for process in processes:
            with contextlib.suppress(psutil.Error):
                ports = [
                    c.laddr.port
                    for c in process.net_connections("inet")
                    if c.status == psutil.CONN_LISTEN
                ]
                listens = f", listens on {', '.join(map(str, ports))}" if ports else ""
                lines.append(f"process {process.pid}{listens}: {' '.join(process.cmdline())[:200]}")
        if shutil.which("docker"):
            words = ["docker", "ps", "-aq", "--filter", "name=fashion-gan-test"]
            lines += [
                f"container {name}"
                for name in subprocess.run(words, capture_output=True, text=True).stdout.split()
            ]
        return lines + [
            f"file of the checkout: {line}" for line in sorted(set(self._files()) - self.before)
        ]

    def remove(self) -> None:
        """The temporary folder, unless a test failed, and what is in it may tell why."""
        if not self.keep:
            shutil.rmtree(self.temporary, ignore_errors=True)
