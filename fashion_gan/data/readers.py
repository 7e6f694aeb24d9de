"""Anybody's images and labels, to be measured against a data set. Raises UserError, in one line,
for what cannot be."""

from functools import partial
from pathlib import Path

import numpy as np
import torch

from fashion_gan.data import batches, formats
from fashion_gan.data.datasets import CLASSES, DatasetInfo
from fashion_gan.errors import UserError

# images: below, no figure means much; above, there are no more real ones to compare with
FEWEST, MOST = 1000, 10_000


def class_index(value: int | str, classes: tuple[str, ...] = CLASSES) -> int:
    """A class from its number or its name (case and punctuation do not count). Raises UserError for
    anything else."""
    text = str(value).strip()
    if text.isdecimal() and int(text) < len(classes):
        return int(text)
    indices = {_plain(name): i for i, name in enumerate(classes)}
    if classes == CLASSES:
        indices |= {"tshirt": 0, "top": 0, "boot": 9}
    if (index := indices.get(_plain(text))) is not None:
        return index
    names = ", ".join(f"{i} {name}" for i, name in enumerate(classes))
    raise UserError(f"no class {text!r}; classes are: {names}")


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))


def _check_images(images: np.ndarray, where: Path, info: DatasetInfo) -> torch.Tensor:
    """Images uint8 (N, C, H, W) as of the data set. Raises UserError for anything else, by its
    type, size, range or count."""
    if images.dtype != np.uint8:
        raise UserError(f"{where}: images are {images.dtype}; allowed: uint8, 0 to 255")
    tensor = batches.channels_first(images) if images.ndim in (3, 4) else torch.empty(0)
    if tensor.shape[1:] != info.shape:
        colours, height, width = info.shape
        shapes = f"(N, {height}, {width}) or (N, 1, {height}, {width})"
        if colours == 3:
            shapes = f"(N, {height}, {width}, 3) or (N, 3, {height}, {width})"
        raise UserError(
            f"{where}: images have the shape {images.shape}; allowed: {shapes}, as {info.name} has"
        )
    if len(images) < FEWEST:
        raise UserError(
            f"{where}: {len(images)} images; allowed: {FEWEST:,} or more, 10,000 are best"
        )
    if images.max() <= 1:
        raise UserError(
            f"{where}: no grey level is over {images.max()}; allowed: uint8 from 0 (black) to 255"
            " (white)"
        )
    if images.min() == images.max():
        raise UserError(f"{where}: every pixel is {images.max()}; there is nothing to measure")
    return tensor


def _check_labels(
    labels: np.ndarray, count: int, where: Path | str, info: DatasetInfo
) -> torch.Tensor:
    index_of = partial(class_index, classes=info.classes)
    indices = formats.label_indices(labels, count, len(info.classes) - 1, index_of, where)
    return torch.from_numpy(indices)


def from_npz(path: Path, info: DatasetInfo) -> tuple[torch.Tensor, torch.Tensor | None]:
    """`images`, and `labels` where it holds them."""
    arrays = formats.read_npz(path, "images", "labels")
    images = _check_images(arrays["images"], path, info)
    if "labels" not in arrays:
        return images, None
    return images, _check_labels(arrays["labels"], len(images), path, info)


def from_folder(folder: Path, info: DatasetInfo) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A folder's PNGs (other kinds lose detail), by name; those in sub-folders, which are named
    after classes, have these as labels."""
    files = formats.list_images(folder, (".png",))
    if not files.names:
        raise UserError(
            f"{folder} holds no .png; give a folder of PNGs, an .npz, a run, or"
            " models:/fashion-gan@champion"
        )
    images = np.zeros((len(files.names), *info.shape), np.uint8)
    for i, name in enumerate(files.names):
        images[i] = _read_png(folder / name, info.shape)
    images = _check_images(images, folder, info)
    if not files.classes:
        return images, None
    labels = np.array(files.classes)[files.labels]
    return images, _check_labels(labels, len(images), folder, info)


def _read_png(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """uint8 of that shape (C, H, W)."""
    colours, height, width = shape
    mode, kind, allowed = "L", "grey (mode L)", ("L", "1", "P")
    if colours == 3:
        mode, kind, allowed = "RGB", "colour (mode RGB)", ("RGB", "P")
    try:
        with formats.open_image(path) as picture:
            if picture.size != (width, height) or picture.mode not in allowed:
                raise UserError(
                    f"{path} is {picture.width}×{picture.height} {picture.mode}; allowed:"
                    f" {width}×{height}, {kind}"
                )
            return formats.pixels_of(picture.convert(mode))
    except UserError:
        raise
    except Exception as error:  # whatever a decoder says
        raise UserError(f"{path} is no PNG, or it is damaged ({type(error).__name__})") from None


def labels_from(path: Path, count: int, info: DatasetInfo) -> torch.Tensor:
    """One label a line, or an .npy."""
    try:
        if path.suffix == ".npy":
            labels = np.load(path, allow_pickle=False)
        else:
            labels = np.array(path.read_text(encoding="utf-8").split("\n"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"--labels {path} cannot be read ({formats.short_reason(error)}); allowed: a text"
            " with a label a line, or .npy"
        ) from None
    labels = labels[labels != ""] if labels.dtype.kind == "U" else labels
    return _check_labels(labels, count, f"--labels {path}", info)
