"""Get Fashion-MNIST: from the data folder itself, a system copy, torchvision's download."""

import contextlib
import io
import os
import socket
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fashion_gan.data.datasets import DIGESTS, raw_folder
from fashion_gan.data.formats import find_file, read_unpacked
from fashion_gan.errors import UserError
from fashion_gan.files import digest, replacing

SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # Debian's package


def _from_copy(source: Path, raw: Path, log: Callable[[str], None]) -> str | None:
    """Fill `raw` from a folder that may hold the files, compressed or not. Returns why not, or
    None."""
    for name in DIGESTS:
        if (raw / name).exists():
            continue
        if (path := find_file(source / name)) is None:
            return "not there"
        try:
            content = read_unpacked(path)
        except (OSError, EOFError, zlib.error):
            content = b""
        if digest(content, "md5") != DIGESTS[name]:
            log(f"{path} is damaged (its digest differs); not used")
            return f"{path.name} is damaged"
        with replacing(raw / name) as temporary:
            temporary.write_bytes(content)
    return None


def from_torchvision(kind: str, folder: Path) -> str | None:
    """torchvision's own download of one of its data sets, with 10 s to connect. Returns why not, or
    None."""
    from torchvision import datasets

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(10)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it tells of each mirror
            for train in (True, False):
                getattr(datasets, kind)(folder, train=train, download=True)
    except Exception as error:  # whatever a mirror answers: the next source is tried
        return " ".join(str(error).split())[:200] or type(error).__name__
    finally:
        socket.setdefaulttimeout(before)
    return None


def _is_whole(raw: Path, log: Callable[[str], None]) -> bool:
    """Whether all files are there; a damaged one is set aside first."""
    for name in DIGESTS:
        path = raw / name
        if path.exists() and digest(path, "md5") != DIGESTS[name]:
            os.replace(path, path.with_name(f"{name}.damaged"))
            log(
                f"{path} has the wrong content (its digest differs); set aside as {name}.damaged,"
                " fetched again"
            )
    return all((raw / name).exists() for name in DIGESTS)


def fetch(folder: Path, log: Callable[[str], None] = print) -> Path:
    """Make sure that the four files are in `folder`, each with the known digest; returns their
    folder. Sources in order: `folder` itself, a system copy, torchvision's download. Raises
    UserError naming all that was tried."""
    raw = raw_folder(folder)
    sources = {
        f"{raw}, compressed or with a dot": partial(_from_copy, raw, raw, log),
        SYSTEM_FOLDER: partial(_from_copy, SYSTEM_FOLDER, raw, log),
        "torchvision's download": partial(from_torchvision, "FashionMNIST", folder),
    }
    reasons = [f"{folder}: not there"]
    try:
        raw.mkdir(parents=True, exist_ok=True)
        if not os.access(raw, os.W_OK):
            raise PermissionError("no permission to write")
        if _is_whole(raw, log):
            return raw
        for source, fill in sources.items():
            reasons.append(f"{source}: {fill()}")
            if _is_whole(raw, log):
                return raw
    except OSError as error:
        raise UserError(
            f"data folder {folder} cannot be used: {error}; name another one with data_dir"
        ) from None
    raise UserError(
        f"no source of Fashion-MNIST is reachable (tried {'; '.join(reasons)}); run: make data"
    )
