"""Get Fashion-MNIST: from the data folder itself, a system copy, torchvision's download."""

import gzip
import os
import socket
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fashion_gan.data.datasets import DIGESTS, raw_folder
from fashion_gan.errors import UserError
from fashion_gan.files import digest, replacing

SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # Debian's package


def problem_of(path: Path, name: str) -> str | None:
    """What is wrong with a data file, or None. It may be compressed."""
    try:
        content = content_of(path)
    except (OSError, EOFError, zlib.error) as error:
        return f"cannot be unpacked ({error})"
    return (
        None
        if digest(content, "md5") == DIGESTS[name]
        else "has the wrong content (its digest differs)"
    )


def content_of(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


def _from_copy(source: Path, raw: Path, say: Callable[[str], None]) -> str | None:
    """Fill `raw` from a folder that may hold the files, compressed or not. Returns why not, or
    None."""
    for name in DIGESTS:
        if (raw / name).exists():
            continue
        found = next((p for p in (source / name, source / f"{name}.gz") if p.is_file()), None)
        if found is None:
            return "not there"
        if problem := problem_of(found, name):
            say(f"{found} {problem}; not used")
            return f"{found.name} is damaged"
        with replacing(raw / name) as temporary:
            temporary.write_bytes(content_of(found))
    return None


def _from_torchvision(folder: Path) -> str | None:
    """torchvision's own download. Returns why not, or None."""
    from torchvision.datasets import FashionMNIST

    return hindrance(lambda: FashionMNIST(folder, download=True))


def hindrance(download: Callable[[], Any]) -> str | None:
    """Call a download that then has 10 s to connect. Returns what hindered it, or None."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(10)
    try:
        download()
    except Exception as error:  # whatever a mirror answers: the next source is tried
        return " ".join(str(error).split())[:200] or type(error).__name__
    finally:
        socket.setdefaulttimeout(before)
    return None


def _set_damaged_aside(raw: Path, say: Callable[[str], None]) -> None:
    for name in DIGESTS:
        path = raw / name
        if path.exists() and (problem := problem_of(path, name)):
            aside = path.with_name(name + ".damaged")
            os.replace(path, aside)
            say(f"{path} {problem}; set aside as {aside.name}, fetched again")
    # a torn download of torchvision's would be unpacked as it is
    for archive in raw.glob("*-ubyte.gz"):
        if archive.name[:-3] in DIGESTS and problem_of(archive, archive.name[:-3]):
            archive.unlink()


def fetch(folder: Path, say: Callable[[str], None] = print) -> Path:
    """Make sure that the four files are in `folder`, each with the known digest; returns their
    folder. Sources in order: `folder` itself, a system copy, torchvision's download. Raises
    UserError naming all that was tried."""
    raw = raw_folder(folder)
    try:
        raw.mkdir(parents=True, exist_ok=True)
        if not os.access(raw, os.W_OK):
            raise PermissionError("no permission to write")
        _set_damaged_aside(raw, say)
        if all((raw / name).exists() for name in DIGESTS):
            return raw
        tried = {}
        for source, get in (
            (str(SYSTEM_FOLDER), lambda: _from_copy(SYSTEM_FOLDER, raw, say)),
            ("torchvision's download", lambda: _from_torchvision(folder)),
        ):
            tried[source] = get()
            _set_damaged_aside(raw, say)
            if all((raw / name).exists() for name in DIGESTS):
                return raw
    except OSError as error:
        raise UserError(
            f"data folder {folder} cannot be used: {error}; name another one with data_dir"
        ) from None
    reasons = "; ".join(f"{source}: {why}" for source, why in tried.items())
    raise UserError(
        f"no source of Fashion-MNIST is reachable (tried {folder}: not there; {reasons}); run: make"
        " data"
    )
