"""Which images lie in a folder, a zip or a tar, in which class and split, and what is left out.
Nothing of an archive is unpacked to disk."""

import contextlib
import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from fashion_gan.data import limits
from fashion_gan.data.pictures import SUFFIXES
from fashion_gan.errors import UserError
from fashion_gan.files import open_zip, reading, short_reason

# what systems leave beside a person's files; and whatever begins with a dot
SYSTEM = {"__macosx", "@eadir", "thumbs.db", "desktop.ini", "$recycle.bin", "#recycle"}
SYSTEM |= {"system volume information", "lost+found", "ehthumbs.db"}
SPLIT_NAMES = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1}
SPLIT_NAMES |= {"test": 2, "testing": 2}

LeftOut = dict[str, tuple[int, str]]  # by reason: how many, and one of them
Children = dict[str, list[str]]  # the images in each sub-folder
Read = Callable[[str], Path | IO[bytes]]


@dataclass(frozen=True)
class ImageFiles:
    """The images in a folder or an archive, sorted by class and name; those of a compressed tar in
    its order, as it is read from its start."""

    path: Path
    names: list[str]  # relative to it
    classes: tuple[str, ...]  # its sub-folders; () where the images are directly in it
    labels: np.ndarray  # int64 (N,), 0 where there are no classes
    splits: np.ndarray | None = None  # 0, 1, 2 where it has train/, val/, test/
    left_out: LeftOut = field(default_factory=dict)

    @property
    def summary(self) -> str:
        return summary(len(self.names), self.classes if self.names else (), self.left_out)


def summary(count: int, classes: tuple[str, ...], left_out: LeftOut) -> str:
    """What was read and what was not, in words."""
    words = f"{count:,} images" if count else "no images"
    words += f" in {len(classes)} classes" if classes else ""
    reasons = [f"{n:,} {reason} ({example})" for reason, (n, example) in left_out.items()]
    return f"{words}; left out: {', '.join(reasons)}" if reasons else words


def is_archive(path: Path) -> bool:
    """Whether it is a zip or a tar, and no .npz by another name."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return path.is_file() and tarfile.is_tarfile(path)
    with path.open("rb") as file, contextlib.suppress(Exception):
        return "images.npy" not in open_zip(file).namelist()
    return True


def list_images(path: Path) -> ImageFiles:
    """Sub-folders are classes, with all that is in them; images directly in it have none. A folder
    that holds nothing but one folder is entered; train/, val/ and test/ are splits."""
    if not path.is_dir() and not path.is_file():
        raise UserError(f"{path} is no folder, zip or tar; name one")
    is_stream = _is_compressed_tar(path)
    entries = _entries(path) if is_stream else sorted(_entries(path))
    left_out, names, folders = {}, [], []
    for name in entries:
        reason = _reason(name)
        if reason and not name.endswith("/"):
            count, example = left_out.get(reason, (0, name))
            # bytes that are no text could not be printed
            left_out[reason] = count + 1, os.fsencode(example).decode(errors="backslashreplace")
        elif not reason:
            (folders if name.endswith("/") else names).append(name)
    parts = _parts(path, names, folders)
    rows = []  # class, name, split
    for split, folder in parts:
        rows += [(c, name, split) for c, name in _by_class(path, folder, names, folders)]
    if not is_stream:
        rows.sort()
    classes = tuple(sorted({c for c, _, _ in rows} - {""}))
    rows = [row for row in rows if row[1]]  # without those that stand for an empty class
    if classes and (bare := next((name for c, name, _ in rows if not c), "")):
        raise UserError(
            f"{path} holds images with a class and {bare} without; allowed: either; move those"
            " without a class away"
        )
    numbers = {c: i for i, c in enumerate(classes)}
    labels = np.array([numbers.get(c, 0) for c, _, _ in rows], np.int64)
    splits = np.array([split for _, _, split in rows]) if len(parts) > 1 else None
    return ImageFiles(path, [name for _, name, _ in rows], classes, labels, splits, left_out)


def _parts(path: Path, names: list[str], folders: list[str]) -> list[tuple[int, str]]:
    """The folders where the classes begin, each with its split; -1 where there are no splits."""
    root, direct, by_folder = _entered(path, names, folders)
    given = {name: SPLIT_NAMES.get(name.lower(), -1) for name, some in by_folder.items() if some}
    if direct or 0 not in given.values() or not {1, 2} & set(given.values()):
        return [(-1, root)]
    if other := next((name for name, split in given.items() if split < 0), ""):
        raise UserError(
            f"{path} holds train/, others like it, and {root}{other}, so it is not clear whether"
            " they are splits or classes; allowed: either; move some away"
        )
    return [(split, f"{root}{name}/") for name, split in given.items()]


def _reason(name: str) -> str:
    """Why a file or a folder is left out; nothing where it is an image, or may hold some."""
    parts = PurePosixPath(name).parts
    if any(part.startswith(".") or part.lower() in SYSTEM for part in parts):
        return "hidden"
    if name.endswith("/"):
        return ""
    suffix = PurePosixPath(name).suffix.lower()
    return "" if suffix in SUFFIXES else suffix or "without suffix"


def _children(root: str, names: list[str], folders: list[str]) -> tuple[list[str], Children]:
    """The images directly in a folder, and those in each of its sub-folders."""
    direct, by_folder = [], {}
    for name in folders + names:
        if name.startswith(root) and name != root:
            first, slash, _ = name[len(root) :].partition("/")
            some = by_folder.setdefault(first, []) if slash else direct
            some += [] if name.endswith("/") else [name]
    return direct, by_folder


def _entered(path: Path, names: list[str], folders: list[str]) -> tuple[str, list[str], Children]:
    """The folder where the classes begin. One with images directly in it is entered only where it
    can be no class: its name is the whole's or a split's, or nobody could name it."""
    root = ""
    direct, by_folder = _children(root, names, folders)
    while not direct and len(by_folder) == 1:
        (name,) = by_folder
        deeper = f"{root}{name}/"
        images, others = _children(deeper, names, folders)
        is_wrapper = name.lower() in {path.absolute().name.lower(), *SPLIT_NAMES}
        if (images and path.is_dir() and not is_wrapper) or not (images or others):
            break
        root, direct, by_folder = deeper, images, others
    return root, direct, by_folder


def _by_class(
    path: Path, root: str, names: list[str], folders: list[str]
) -> Iterator[tuple[str, str]]:
    """Class and name of each image; an empty name for a class without images."""
    direct, by_folder = _children(root, names, folders)
    if direct and (other := next((name for name, some in by_folder.items() if some), "")):
        raise UserError(
            f"{path} holds both images ({direct[0]}) and sub-folders ({root}{other}), so it is"
            " not clear whether there are classes; allowed: either; move the images into"
            " sub-folders, or the sub-folders away"
        )
    yield from (("", name) for name in direct)
    for name, some in by_folder.items():
        if not direct:
            yield from ((name, image) for image in some or [""])


def _entries(path: Path) -> list[str]:
    """All files, and the folders with a slash behind."""
    if path.is_dir():
        try:
            return list(_walk(str(path)))
        except (OSError, RecursionError) as error:
            reason = short_reason(error)
            raise UserError(f"{path} cannot be listed ({reason}); allow to read it") from None
    with _members(path) as members:
        return list(members)


def _walk(path: str) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise error

    known = {os.path.realpath(path)}  # a link may lead back
    for folder, folders, files in os.walk(path, onerror=refuse, followlinks=True):
        inside = os.path.join(folder, "")[len(os.path.join(path, "")) :]
        yield from (f"{inside}{name}" for name in files)
        entered = []
        for name in folders:
            real = os.path.realpath(os.path.join(folder, name))
            if _reason(f"{name}/") or real in known:
                yield f"{inside}{name}"
            else:
                known.add(real)
                entered.append(name)
                yield f"{inside}{name}/"
        folders[:] = entered


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Read]:
    """What gives the file of each name, one after another."""
    if path.is_dir():
        yield path.joinpath
        return
    with _members(path) as members:

        def read(name: str) -> IO[bytes]:
            with members[name]() as stream:
                content = stream.read(limits.MOST_IMAGE_BYTES + 1)
            if len(content) > limits.MOST_IMAGE_BYTES:
                raise OSError(f"it is larger than {limits.MOST_IMAGE_BYTES:,} bytes")
            return io.BytesIO(content)

        yield read


@contextlib.contextmanager
def _members(path: Path) -> Iterator[dict[str, Callable[[], IO[bytes]]]]:
    """What opens each member of a zip or a tar, folders among them. Raises UserError for one that
    climbs out, is encrypted, or unpacks to far more than it is."""
    with contextlib.ExitStack() as stack:
        with reading(path, "zip or tar of images"):
            listed = _zip_members if zipfile.is_zipfile(path) else _tar_members
            members = dict(listed(path, stack))
        for name in members:
            parts = name.split("/")
            if ".." in parts or not parts[0] or parts[0][1:] == ":":
                raise UserError(
                    f"{path}: {name} climbs out of the archive; allowed: names inside it; make it"
                    " again"
                )
        yield members


def _zip_members(path: Path, stack: contextlib.ExitStack) -> Iterator[tuple[str, Callable]]:
    file = stack.enter_context(path.open("rb"))
    archive = stack.enter_context(open_zip(file, limits.MOST_LISTED_BYTES))
    for member in archive.infolist():
        if member.flag_bits & 1:
            raise UserError(
                f"{path}: {member.filename} is encrypted; allowed: no password; pack it without"
            )
        # old programs on Windows write backslashes
        yield member.filename.replace("\\", "/"), lambda member=member: archive.open(member)


def _tar_members(path: Path, stack: contextlib.ExitStack) -> Iterator[tuple[str, Callable]]:
    archive = stack.enter_context(tarfile.open(path))  # noqa: SIM115, the stack closes it
    most = max(limits.MOST_ARRAY_BYTES, limits.MOST_UNPACKED * path.stat().st_size)
    for count, member in enumerate(archive):
        if member.offset_data + member.size > most or count > limits.MOST_MEMBERS:
            raise UserError(
                f"{path}: {member.name} is behind more than {most:,} bytes, or too many members;"
                " allowed: an archive of images; unpack it"
            )
        name = member.name.removeprefix("./")
        if member.isdir() and name != ".":
            yield f"{name}/", io.BytesIO
        elif (member.isreg() or member.islnk()) and not member.issparse():
            yield name, lambda member=member: archive.extractfile(member)
        elif name != ".":
            yield f"{name} (link)", io.BytesIO


def _is_compressed_tar(path: Path) -> bool:
    if path.is_dir() or zipfile.is_zipfile(path):
        return False
    try:
        with tarfile.open(path, "r:"):
            return False
    except tarfile.ReadError:
        return True
