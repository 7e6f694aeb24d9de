"""Anybody's images and labels, to be measured against a data set. Raises UserError, in one line,
for what cannot be."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from fashion_gan.data import formats, inspection, limits, listing, pictures
from fashion_gan.data.datasets import CLASSES, DatasetInfo
from fashion_gan.data.preparation import Preparation
from fashion_gan.errors import UserError
from fashion_gan.files import check_file, reading, short_reason
from fashion_gan.text import listed, writable_text

# images: below, no figure means much; above, there are no more real ones to compare with
FEWEST, MOST = 1000, 10_000
CHUNK = 1000  # images in memory beside those that are kept


@dataclass(frozen=True)
class Held:
    """Images to be measured: those that were chosen of all."""

    images: torch.Tensor
    labels: torch.Tensor | None
    count: int  # of all
    summary: str  # what there is and what was left out, in words


def class_index(value: int | str, classes: tuple[str, ...] = CLASSES) -> int:
    """A class from its name. Where no class has exactly this name: from its number, if no class is
    named by a number, or from a name that differs in case and punctuation alone. Raises UserError
    for anything else, and where more than one class could be meant."""
    text = writable_text(str(value))
    for name in (text, text.strip()):
        if name in classes:
            return classes.index(name)
    text = text.strip()
    # Python refuses to read thousands of digits
    is_number = text.isascii() and text.isdecimal() and len(text) < 5
    are_numbers = any(map(str.isdecimal, classes))
    if is_number and int(text) < len(classes) and not are_numbers:
        return int(text)
    spoken = {**dict.fromkeys(("tshirt", "top"), 0), "boot": 9} if classes == CLASSES else {}
    plain = _plain(text)
    matches = [i for i, name in enumerate(classes) if plain and _plain(name) == plain]
    if not matches and plain in spoken:
        matches = [spoken[plain]]
    if len(matches) == 1:
        return matches[0]
    if matches:
        similar = ", ".join(repr(classes[i]) for i in matches)
        raise UserError(f"class {text[:80]!r} could be {similar}; write one of these")
    names = [name if are_numbers else f"{i} {name}" for i, name in enumerate(classes)]
    raise UserError(f"no class {text[:80]!r}; the {len(names)} classes are: {listed(names)}")


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
    inspection.check_levels(int(images.max()), where)
    if images.min() == images.max():
        raise UserError(f"{where}: every pixel is {images.max()}; there is nothing to measure")
    return formats.image_tensor(images)


def _check_labels(
    labels: np.ndarray, count: int, where: Path | str, info: DatasetInfo
) -> torch.Tensor:
    index_of = partial(class_index, classes=info.classes)
    indices = formats.label_indices(labels, count, len(info.classes) - 1, index_of, where)
    return torch.from_numpy(indices)


def choose(
    count: int, most: int, labels: torch.Tensor | None = None, names: Sequence[str] = ()
) -> np.ndarray:
    """Which of `count` images are measured, where no more than `most` can be: a random choice,
    always the same, of each class in proportion and at least one; where images have names, it does
    not depend on their order."""
    order = np.random.default_rng(0).permutation(count)
    if names:
        order = np.array(sorted(range(count), key=names.__getitem__))[order]
    classes = np.zeros(count) if labels is None else labels.numpy()[order]
    turn = np.zeros(count)
    for label in np.unique(classes):
        members = np.flatnonzero(classes == label)
        turn[members] = np.arange(len(members)) / len(members)
    return np.sort(order[np.argsort(turn, kind="stable")[:most]])


def from_npz(path: Path, info: DatasetInfo, labels_file: str = "", most: int = MOST) -> Held:
    """`images`, and `labels` where it holds them."""
    preparation = info.preparation
    if preparation and preparation.size is None:
        preparation = None
    with formats.open_npz(path) as archive, formats.open_array(archive, "images") as stored:
        shape = stored.shape
        if preparation and len(shape) in (3, 4):
            empty = formats.channels_first(np.empty((0, *shape[1:])))
            shape = (shape[0], empty.shape[1], *preparation.size)
        _check_header(shape, stored.dtype, path, info)
        count = shape[0]
        labels = formats.read_npz(path, "labels").get("labels")
        if labels is not None:
            labels = _check_labels(labels, count, path, info)
        if labels_file:
            labels = labels_from(Path(labels_file), count, info)
        rows = choose(count, most, labels)
        images = _stored_rows(stored, rows, info, preparation)
    return Held(
        _check_levels(images, path),
        None if labels is None else labels[rows],
        count,
        f"{count:,} images",
    )


def _stored_rows(
    stored: formats.StoredArray,
    rows: np.ndarray,
    info: DatasetInfo,
    preparation: Preparation | None,
) -> np.ndarray:
    """These rows of an array, in order; not much more is in memory than they are."""
    kept = []
    for start, images in stored.batches(0, CHUNK):
        end = start + len(images)
        inside = (rows >= start) & (rows < end)
        images = images[rows[inside] - start]
        if preparation:
            images = _prepared(images, preparation, info)
        kept.append(images)
        if end > rows[-1]:
            break
    return np.concatenate(kept)


def _prepared(images: np.ndarray, preparation: Preparation, info: DatasetInfo) -> np.ndarray:
    result = np.zeros((len(images), *info.shape), np.uint8)
    for i, pixels in enumerate(formats.channels_first(images)):
        result[i] = pictures.prepared_pixels(pixels, preparation)
    return result


def from_images(path: Path, info: DatasetInfo, labels_file: str = "", most: int = MOST) -> Held:
    """The image files of a folder or an archive, read as those that are packed; those in
    sub-folders, which are named after classes, have these as labels."""
    files = listing.list_images(path)
    count = len(files.names)
    if not count:
        raise UserError(
            f"{path} holds {files.summary}; give a folder, a zip or a tar of"
            f" {' '.join(pictures.SUFFIXES)}, an .npz, a run, or models:/fashion-gan@champion"
        )
    labels = None
    if labels_file:
        labels = labels_from(Path(labels_file), count, info)
    elif files.classes:
        names = np.array(files.classes)
        labels = _check_labels(names, len(names), path, info)[files.labels]
    rows = choose(count, most, labels, files.names)
    images = np.zeros((len(rows), *info.shape), np.uint8)
    with listing.opened(path) as read:
        for i, row in enumerate(rows.tolist()):
            images[i] = _read_image(read, path, files.names[row], info)
    _check_header((count, *info.shape), images.dtype, path, info)
    return Held(
        _check_levels(images, path), None if labels is None else labels[rows], count, files.summary
    )


def _read_image(read: listing.Read, folder: Path, name: str, info: DatasetInfo) -> np.ndarray:
    """uint8 of the data set's shape (C, H, W), or (1, H, W) of a grey one."""
    colours, height, width = info.shape
    path = folder / name
    with reading(path, f"picture ({', '.join(pictures.FORMATS)})"):
        pixels = pictures.read_pixels(read(name), info.preparation or Preparation(ground="black"))
    if pixels.shape[1:] != (height, width) or len(pixels) > colours:
        kind = {1: "grey", 3: "colour"}
        raise UserError(
            f"{path} is {pixels.shape[2]}×{pixels.shape[1]} in {kind[len(pixels)]}; allowed:"
            f" {width}×{height} in {kind[colours]}, as {info.name} has"
        )
    return pixels


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
