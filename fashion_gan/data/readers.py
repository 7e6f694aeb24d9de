"""Anybody's images and labels, to be measured against a data set. Raises UserError, in one line,
for what cannot be."""

import csv
from functools import partial
from pathlib import Path

import numpy as np
import torch

from fashion_gan.data import batches, formats, limits
from fashion_gan.data.datasets import CLASSES, DatasetInfo
from fashion_gan.errors import UserError
from fashion_gan.files import check_file, reading, short_reason

# images: below, no figure means much; above, there are no more real ones to compare with
FEWEST, MOST = 1000, 10_000
# images (at most MOST), the labels of all, how many there are
Held = tuple[torch.Tensor, torch.Tensor | None, int]


def class_index(value: int | str, classes: tuple[str, ...] = CLASSES) -> int:
    """A class from its name. Where no class has exactly this name: from its number, if no class is
    named by a number, or from a name that differs in case and punctuation alone. Raises UserError
    for anything else, and where more than one class could be meant."""
    text = str(value).strip()
    for name in (str(value), text):
        if name in classes:
            return classes.index(name)
    # Python refuses to read thousands of digits
    is_number = text.isascii() and text.isdecimal() and len(text) < 5
    are_numbers = any(map(str.isdecimal, classes))
    if is_number and int(text) < len(classes) and not are_numbers:
        return int(text)
    spoken = {**dict.fromkeys(("tshirt", "top"), 0), "boot": 9} if classes == CLASSES else {}
    plain = _plain(text)
    matches = [i for i, name in enumerate(classes) if plain and _plain(name) == plain]
    matches = matches or [spoken[plain]] if plain in spoken else matches
    if len(matches) == 1:
        return matches[0]
    if matches:
        similar = ", ".join(repr(classes[i]) for i in matches)
        raise UserError(f"class {text[:80]!r} could be {similar}; write one of these")
    names = [name if are_numbers else f"{i} {name}" for i, name in enumerate(classes)]
    listed = ", ".join(names[:20]) + ", …" * (len(names) > 20)
    raise UserError(f"no class {text[:80]!r}; the {len(names)} classes are: {listed}")


def class_indices(text: str, classes: tuple[str, ...]) -> list[int]:
    """Classes from their names, a comma between two; a name with a comma stands in double quotes,
    or alone. Raises UserError as class_index."""
    if text in classes:
        return [classes.index(text)]
    names = next(csv.reader([" ".join(text.splitlines())], skipinitialspace=True), [])
    return [class_index(name, classes) for name in names]


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))


def _check_header(shape: tuple[int, ...], dtype: np.dtype, where: Path, info: DatasetInfo) -> None:
    """Raises UserError for images of another type, size or count than the data set's."""
    if dtype != np.uint8:
        raise UserError(f"{where}: images are {dtype}; allowed: uint8, 0 to 255")
    colours, *size = info.shape
    allowed = [(colours, *size), (*size, colours), *([tuple(size)] if colours == 1 else [])]
    if shape[1:] not in allowed:
        colours, height, width = info.shape
        shapes = f"(N, {height}, {width}) or (N, 1, {height}, {width})"
        if colours == 3:
            shapes = f"(N, {height}, {width}, 3) or (N, 3, {height}, {width})"
        raise UserError(
            f"{where}: images have the shape {shape}; allowed: {shapes}, as {info.name} has"
        )
    if shape[0] < FEWEST:
        raise UserError(f"{where}: {shape[0]} images; allowed: {FEWEST:,} or more, 10,000 are best")


def _check_levels(images: np.ndarray, where: Path) -> torch.Tensor:
    """Images uint8 (N, C, H, W). Raises UserError where nothing can be seen in them."""
    if images.max() <= 1:
        raise UserError(
            f"{where}: no grey level is over {images.max()}; allowed: uint8 from 0 (black) to 255"
            " (white)"
        )
    if images.min() == images.max():
        raise UserError(f"{where}: every pixel is {images.max()}; there is nothing to measure")
    return batches.channels_first(images)


def _check_labels(
    labels: np.ndarray, count: int, where: Path | str, info: DatasetInfo
) -> torch.Tensor:
    index_of = partial(class_index, classes=info.classes)
    indices = formats.label_indices(labels, count, len(info.classes) - 1, index_of, where)
    return torch.from_numpy(indices)


def from_npz(path: Path, info: DatasetInfo) -> Held:
    """`images`, of which no more are read than are measured, and `labels` where it holds them."""
    with formats.open_npz(path) as archive, formats.open_array(archive, "images") as stored:
        _check_header(stored.shape, stored.dtype, path, info)
        count, images = stored.shape[0], _check_levels(stored.read(MOST), path)
    labels = formats.read_npz(path, "labels").get("labels")
    return images, labels if labels is None else _check_labels(labels, count, path, info), count


def from_folder(folder: Path, info: DatasetInfo) -> Held:
    """A folder's PNGs (other kinds lose detail), by name, of which no more are read than are
    measured; those in sub-folders, which are named after classes, have these as labels."""
    files = formats.list_images(folder, (".png",))
    count = len(files.names)
    if not count:
        raise UserError(
            f"{folder} holds no .png; give a folder of PNGs, an .npz, a run, or"
            " models:/fashion-gan@champion"
        )
    images = np.zeros((min(count, MOST), *info.shape), np.uint8)
    for i, name in enumerate(files.names[:MOST]):
        images[i] = _read_png(folder / name, info.shape)
    _check_header((count, *info.shape), images.dtype, folder, info)
    tensor = _check_levels(images, folder)
    if not files.classes:
        return tensor, None, count
    labels = np.array(files.classes)[files.labels]
    return tensor, _check_labels(labels, count, folder, info), count


def _read_png(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """uint8 of that shape (C, H, W)."""
    colours, height, width = shape
    mode, kind, allowed = "L", "grey (mode L)", ("L", "1", "P")
    if colours == 3:
        mode, kind, allowed = "RGB", "colour (mode RGB)", ("RGB", "P")
    with reading(path, "PNG"), formats.open_image(path) as picture:
        if picture.size != (width, height) or picture.mode not in allowed:
            raise UserError(
                f"{path} is {picture.width}×{picture.height} {picture.mode}; allowed:"
                f" {width}×{height}, {kind}"
            )
        return formats.pixels_of(picture.convert(mode))


def labels_from(path: Path, count: int, info: DatasetInfo) -> torch.Tensor:
    """One label a line, or an .npy."""
    try:
        if path.suffix == ".npy":
            check_file(path, limits.MOST_ARRAY_BYTES)
            # mapped, so that its header takes no more than the file holds
            labels = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            check_file(path, limits.MOST_TEXT_BYTES)
            lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line]
            # an array of text takes as much for each line as for the longest
            indices = {line: class_index(line, info.classes) for line in dict.fromkeys(lines)}
            labels = np.array([indices[line] for line in lines], np.int64)
    except UserError:
        raise
    except Exception as error:  # whatever numpy says
        raise UserError(
            f"--labels {path} cannot be read ({short_reason(error)}); allowed: a text"
            " with a label a line, or .npy"
        ) from None
    return _check_labels(labels, count, f"--labels {path}", info)
