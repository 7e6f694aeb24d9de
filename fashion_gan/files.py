"""Write files safely, read what others wrote, digest files, lock folders."""

import contextlib
import errno
import hashlib
import json
import os
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from fashion_gan.errors import UserError
from fashion_gan.text import writable_text

MOST_JSON_BYTES, MOST_LISTED_BYTES = 50_000_000, 1_000_000


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


def check_file(path: Path, most_bytes: int) -> None:
    """Raises OSError, before it is opened, for what is no regular file (a pipe would never answer)
    or is larger."""
    size = path.stat().st_size
    if not path.is_file():
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    if size > most_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {most_bytes:,} bytes", str(path))


def open_zip(file: BinaryIO, most_listed: int = MOST_LISTED_BYTES) -> zipfile.ZipFile:
    """Raises ValueError where it lists too many members, each of which would take memory."""
    # private, but all that tells before they are read
    if (end := zipfile._EndRecData(file)) and end[zipfile._ECD_SIZE] > most_listed:
        raise ValueError("it lists too many members")
    return zipfile.ZipFile(file)


def short_reason(error: Exception) -> str:
    if errors := getattr(error, "errors", None):  # pydantic's
        first = errors()[0]
        words = f"{'.'.join(map(str, first['loc'])) or 'its JSON'}: {first['msg']}"
    elif "Object arrays" in str(error):
        words = "it holds Python objects; save labels.astype(str)"
    else:
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return words.splitlines()[0][:120]


@contextlib.contextmanager
def reading(path: Path, kind: str, advice: str = "make or fetch it again") -> Iterator[None]:
    """Whatever goes wrong inside is said to be damage of that file, in one line that names it."""
    try:
        yield
    except Exception as error:  # a decoder raises what it will
        if isinstance(error, UserError) and str(path) in str(error):
            raise
        raise UserError(
            f"{path} is no {kind}, or it is damaged ({short_reason(error)}); {advice}"
        ) from None


class DamagedError(UserError, ValueError):
    """A file does not hold what its name says."""


def _writable(value: Any) -> Any:
    """A value from JSON whose texts are all such as UTF-8 can hold."""
    if isinstance(value, str):
        return writable_text(value)
    if isinstance(value, list):
        return [_writable(item) for item in value]
    if isinstance(value, dict):
        return {writable_text(key): _writable(item) for key, item in value.items()}
    return value


def read_json(path: Path) -> Any:
    """Raises DamagedError, FileNotFoundError."""
    try:
        check_file(path, MOST_JSON_BYTES)
        text = path.read_text(encoding="utf-8")
        value = json.loads(text)
        # a name of a file that is no UTF-8: no page, notebook or tracker could take it
        return _writable(value) if "\\ud" in text else value
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(
            f"{path} is damaged ({short_reason(error)}); bring it back, or remove it and make it"
            " again"
        ) from None


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
