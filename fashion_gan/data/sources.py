"""What is packed: images in a fixed order, read a batch at a time, so that their number does not
matter; a folder of image files. Raises UserError, in one line, for what is none."""

import contextlib
import hashlib
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from fashion_gan.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
# by content: Pillow knows others, some of which start programs
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
SMALLEST, LARGEST, STEP = 16, 64, 4  # pixels
FEWEST, MOST_CLASSES = 256, 16
BATCH = 1000  # images in memory at once


@dataclass(frozen=True)
class Source:
    """Images in a fixed order. `batches(first)` gives those from `first` on, a batch at a time:
    each uint8 (1 or 3, H, W), or a text that says why it cannot be read."""

    name: str
    origin: str  # absolute path, or the name
    size: tuple[int, int]  # height, width
    classes: tuple[str, ...]
    labels: np.ndarray  # int64 (N,), 0 where there are no classes
    batches: Callable[[int], Iterator[Sequence[np.ndarray | str]]]
    channels: int = 1  # at least
    splits: np.ndarray | None = None  # (N,): 0 train, 1 validation, 2 test; None: by content
    files: Sequence[str] = ()  # a name an image, where each is a file


def check_classes(counts: dict[str, int], total: int, where: Path | str) -> None:
    """Raise UserError where there are too few images, or classes with which no network can be
    trained."""
    if len(counts) == 1:
        raise UserError(
            f"{where} has one class only ({next(iter(counts))}); allowed: 2 to {MOST_CLASSES}, or"
            " images without classes"
        )
    if len(counts) > MOST_CLASSES:
        raise UserError(
            f"{where} has {len(counts)} classes; allowed: 2 to {MOST_CLASSES}; leave some out or"
            " put some together"
        )
    if empty := [name for name, count in counts.items() if not count]:
        raise UserError(
            f"{where}: no image of class {', '.join(empty)}; each class needs images; add some, or"
            " remove the class"
        )
    if total < FEWEST:
        raise UserError(
            f"{where} holds {total} images that can be used; allowed: {FEWEST} or more; add some"
        )


def check_size(height: int, width: int, where: Path | str) -> None:
    if not all(SMALLEST <= side <= LARGEST and side % STEP == 0 for side in (height, width)):
        raise UserError(
            f"{where} is {width}×{height} pixels; allowed: width and height each from {SMALLEST} to"
            f" {LARGEST} and a multiple of {STEP}; resize or crop the images"
        )


@contextlib.contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Whatever goes wrong inside is told as damage of that file."""
    try:
        yield
    except (
        OSError,
        EOFError,
        ValueError,
        KeyError,
        IndexError,
        RuntimeError,
        MemoryError,
        zlib.error,
        zipfile.BadZipFile,
    ) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:80]
        raise UserError(
            f"{path} is no {what}, or it is damaged ({reason}); make or fetch it again"
        ) from None


def _stamp(path: str) -> str:
    with contextlib.suppress(OSError):  # a link to nothing: reading it will say so
        status = os.stat(path)
        return f"{status.st_size} {status.st_mtime_ns}"
    return "gone"


def source_fingerprint(path: Path, names: Sequence[str] = ("",)) -> str:
    """A path's stem with 8 hex digits of it and of name, size and time of each file, so that a
    changed source has another name."""
    listing = hashlib.sha256(os.fsencode(path) + b"\0")
    for name in names:
        listing.update(
            os.fsencode(f"{name}\0{_stamp(os.path.join(path, name) if name else str(path))}\n")
        )
    return f"{path.stem}-{listing.hexdigest()[:8]}"


def _within(folder: Path) -> tuple[list[str], list[str]]:
    """The images and the sub-folders directly in a folder, by name. Hidden ones do not count:
    .ipynb_checkpoints, ._cat.png, __MACOSX."""
    images, folders = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith((".", "__MACOSX")):
                continue
            if entry.is_dir():
                folders.append(entry.name)
            elif entry.name.lower().endswith(SUFFIXES):
                images.append(entry.name)
    return sorted(images), sorted(folders)


def from_folder(folder: Path) -> Source:
    """Sub-folders are classes, by name; images directly in the folder have none."""
    try:
        direct, inner = _within(folder)
        held = {name: _within(folder / name)[0] for name in inner}
    except OSError as error:
        raise UserError(f"{folder} cannot be listed ({error.strerror}); allow to read it") from None
    if not direct and not any(held.values()):
        raise UserError(
            f"{folder} holds no images; allowed: {' '.join(SUFFIXES)}, directly in it or in a"
            " sub-folder for each class"
        )
    if direct and held:
        raise UserError(
            f"{folder} holds both images ({direct[0]}) and sub-folders ({inner[0]}), so it is not"
            " clear whether there are classes; allowed: either; move the images into sub-folders,"
            " or the sub-folders away"
        )
    files = direct or [f"{name}/{file}" for name, names in held.items() for file in names]
    check_classes({name: len(names) for name, names in held.items()}, len(files), folder)
    labels = (
        np.repeat(np.arange(len(held)), [len(names) for names in held.values()])
        if held
        else np.zeros(len(files), np.int64)
    )
    file, size = next(
        ((file, size) for file in files if (size := _size_of(folder / file))), (files[0], None)
    )
    if size is None:
        raise UserError(
            f"{folder}: not one of {len(files):,} images can be read ({file} first); allowed:"
            f" {', '.join(FORMATS)}"
        )
    check_size(*size, folder / file)
    return Source(
        source_fingerprint(folder, files),
        str(folder),
        size,
        tuple(held),
        labels,
        partial(_decoded, folder, files, size),
        files=files,
    )


def _size_of(path: Path) -> tuple[int, int] | None:
    """Height and width from an image's first bytes; None where it has none."""
    try:
        with Image.open(path, formats=FORMATS) as picture:
            return picture.height, picture.width
    except Exception:  # whatever a decoder says
        return None


def _decoded(
    folder: Path, files: list[str], size: tuple[int, int], first: int
) -> Iterator[list[np.ndarray | str]]:
    # One after another: two threads were slower (5,400 images a second, one 6,400), since opening
    # so small a file is mostly Python.
    for start in range(first, len(files), BATCH):
        batch = []
        for file in files[start : start + BATCH]:
            try:
                with Image.open(folder / file, formats=FORMATS) as picture:
                    batch.append(
                        pixels_of(picture) if (picture.height, picture.width) == size else None
                    )
            except Exception as error:  # whatever a decoder says
                batch.append((str(error) or type(error).__name__).splitlines()[0][:80])
            if batch[-1] is None:
                raise UserError(_mixed(folder, files))
        yield batch


def pixels_of(picture: Image.Image) -> np.ndarray:
    """uint8 (1, H, W) of a grey image, (3, H, W) of any other. 16 bits are scaled to 8; what is
    transparent stands on black ground; of a film the first picture is taken."""
    if picture.mode.startswith("I"):
        return np.rint(np.asarray(picture) / 257).clip(0, 255).astype(np.uint8)[None]
    if picture.has_transparency_data:
        ground = Image.new("RGBA", picture.size, "black")
        picture = Image.alpha_composite(ground, picture.convert("RGBA"))
    if picture.mode in ("1", "L"):
        return np.asarray(picture.convert("L"))[None]
    return np.moveaxis(np.asarray(picture.convert("RGB")), 2, 0)


def _mixed(folder: Path, files: list[str]) -> str:
    """What to say of images that differ in size."""
    found = [(size, file) for file in files if (size := _size_of(folder / file))]
    counts, first = Counter(size for size, _ in found), found[0]
    other = next((pair for pair in found if pair[0] != first[0]), first)
    told = ", ".join(f"{count:,} of {w}×{h}" for (h, w), count in counts.most_common(3)) + (
        ", …" if len(counts) > 3 else ""
    )
    (h, w), (other_h, other_w) = first[0], other[0]
    return (
        f"{folder}: images differ in size: {first[1]} is {w}×{h}, {other[1]} is {other_w}×{other_h}"
        f" ({told}); allowed: one size; resize them, or move the others away"
    )
