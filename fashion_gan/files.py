"""Write files safely, digest them, lock folders."""

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fashion_gan.errors import UserError


def digest(content: bytes | Path, algorithm: str = "sha256") -> str:
    """Hex digest of bytes, or of a file's content."""
    if isinstance(content, Path):
        with content.open("rb") as stream:
            return hashlib.file_digest(stream, algorithm).hexdigest()
    return hashlib.new(algorithm, content).hexdigest()


def file_stamp(path: Path | int) -> str:
    """What tells a file, or an open one by its number, from a changed one."""
    status = os.stat(path)
    return f"{status.st_size}-{status.st_mtime_ns}"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; on success flushed to disk and renamed over it, on any error
    removed. So a reader sees the old file or the whole new one, whatever happens in between (a full
    disk and kill -9 included)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem[:40]}-{uuid.uuid4().hex}.tmp")
    temporary.touch(0o664, exist_ok=False)  # and less, where the person's umask says so
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        descriptor = os.open(path.parent, os.O_RDONLY)  # the folder's entry too
        os.fsync(descriptor)
        os.close(descriptor)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """JSON with sorted keys; NaN and infinity are refused (they are no JSON)."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


class Lock:
    """An advisory lock on a file. The system frees it however its holder dies, so it never goes
    stale. A lock on no path (None) is always had."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lock: FileLock | None = None  # while it is held, so that others can be pickled

    def acquire(self, message: str | None = None) -> bool:
        """Take the lock. If another process holds it: UserError(message) when one is given, else
        False."""
        if self.path is None or self._lock:
            return True
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path, thread_local=False)
        try:
            # is_free elsewhere holds it for an instant
            lock.acquire(timeout=0.3 if message else 0, poll_interval=0.05)
        except Timeout:
            if message:
                raise UserError(message) from None
            return False
        self._lock = lock
        return True

    def release(self) -> None:
        if self._lock:
            self._lock.release()
            self._lock = None

    def is_free(self) -> bool:
        """Whether nobody holds it right now."""
        if not self.path.exists():
            return True
        with Lock(self.path) as probe:
            return probe.acquire()

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
