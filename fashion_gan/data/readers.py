"""Anybody's images and labels, from files and words: read and checked. Raises UserError, in one
line, for what is none."""

import zipfile
from pathlib import Path

import numpy as np
import torch

from fashion_gan.data.batches import channels_first
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
    plain = {"".join(filter(str.isalnum, name.lower())): i for i, name in enumerate(classes)}
    key = "".join(filter(str.isalnum, text.lower()))
    plain |= {"tshirt": 0, "top": 0, "boot": 9} if classes == CLASSES else {}
    if key in plain:
        return plain[key]
    names = ", ".join(f"{i} {name}" for i, name in enumerate(classes))
    raise UserError(f"no class {text!r}; classes are: {names}")


def checked(images: np.ndarray, where: Path | str, of: DatasetInfo) -> torch.Tensor:
    """Images uint8 (N, C, H, W) as of the data set. Raises UserError for anything else, by its
    type, size, range or count."""
    if images.dtype != np.uint8:
        raise UserError(f"{where}: images are {images.dtype}; allowed: uint8, 0 to 255")
    made = channels_first(images) if images.ndim in (3, 4) else torch.empty(0)
    if made.shape[1:] != of.shape:
        colours, *size = of.shape
        shapes = (
            [("N", *size), ("N", 1, *size)] if colours == 1 else [("N", *size, 3), ("N", 3, *size)]
        )
        allowed = " or ".join(f"({', '.join(map(str, shape))})" for shape in shapes)
        raise UserError(
            f"{where}: images have the shape {images.shape}; allowed: {allowed}, as {of.name} has"
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
    return made


def checked_labels(
    labels: np.ndarray, count: int, where: Path | str, of: DatasetInfo
) -> torch.Tensor:
    if labels.ndim != 1 or len(labels) != count:
        raise UserError(
            f"{where}: labels have the shape {labels.shape}; allowed: one for each of the {count:,}"
            " images"
        )
    if labels.dtype.kind in "US":
        labels = np.array([class_index(str(label), of.classes) for label in labels])
    most = len(of.classes) - 1
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() > most:
        raise UserError(
            f"{where}: labels are {labels.dtype} from {labels.min()} to {labels.max()}; allowed:"
            f" integers 0 to {most}, or names"
        )
    return torch.from_numpy(labels.astype(np.int64))


def from_npz(path: Path, of: DatasetInfo) -> tuple[torch.Tensor, torch.Tensor | None]:
    try:
        file = np.load(path, allow_pickle=False)
        held = getattr(file, "files", ["one array"])
        if "images" not in held:
            raise UserError(
                f"{path} holds {', '.join(held[:5])}; it must hold `images`, and may hold `labels`"
            )
        with file:
            images = checked(file["images"], path, of)
            return images, (
                checked_labels(file["labels"], len(images), path, of)
                if "labels" in file.files
                else None
            )
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} is no .npz of images, or it is damaged ({str(error).splitlines()[0][:80]})"
        ) from None


def from_folder(folder: Path, of: DatasetInfo) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Every PNG of a folder, by name; those in sub-folders that are named after classes have these
    as labels."""
    from PIL import Image, UnidentifiedImageError

    paths = sorted(folder.rglob("*.png"))
    if not paths:
        raise UserError(
            f"{folder} holds no .png; give a folder of PNGs, an .npz, a run, or"
            " models:/fashion-gan@champion"
        )
    colours, height, width = of.shape
    mode, name, known = (
        ("L", "grey (mode L)", ("L", "1", "P"))
        if colours == 1
        else ("RGB", "colour (mode RGB)", ("RGB", "P"))
    )
    images = np.zeros((len(paths), height, width, colours), np.uint8)
    for i, path in enumerate(paths):
        try:
            with Image.open(path) as picture:
                if picture.size != (width, height) or picture.mode not in known:
                    raise UserError(
                        f"{path} is {picture.size[0]}×{picture.size[1]} {picture.mode}; allowed:"
                        f" {width}×{height}, {name}"
                    )
                images[i] = np.asarray(picture.convert(mode)).reshape(images[i].shape)
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise UserError(
                f"{path} is no PNG, or it is damaged ({type(error).__name__})"
            ) from None
    named = {path.parent for path in paths}
    labels = None if named == {folder} else np.array([path.parent.name for path in paths])
    return checked(images, folder, of), (
        None if labels is None else checked_labels(labels, len(paths), folder, of)
    )


def labels_from(path: Path, count: int, of: DatasetInfo) -> torch.Tensor:
    """One label a line, or an .npy."""
    try:
        labels = (
            np.load(path, allow_pickle=False)
            if path.suffix == ".npy"
            else np.array(path.read_text(encoding="utf-8").split("\n"))
        )
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise UserError(
            f"--labels {path} cannot be read ({str(error).splitlines()[0][:80]}); allowed: a text"
            " with a label a line, or .npy"
        ) from None
    labels = labels[labels != ""] if labels.dtype.kind == "U" else labels
    return checked_labels(labels, count, f"--labels {path}", of)
