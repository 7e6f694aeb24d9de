"""A look at a packed data set before anything is trained on it: what was read, what looks wrong, a
sheet of its images."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fashion_gan.data import listing
from fashion_gan.data.classes import spread_classes
from fashion_gan.data.packed import RECORD, SPLITS
from fashion_gan.errors import UserError
from fashion_gan.files import read_json, replacing

SHEET = "sheet.png"
CHUNK = 1000  # images in memory at once
COLUMNS, GAP = 12, 2  # of the sheet
NARROW = 64  # levels
FEW, NEARLY_ALL = 0.05, 0.9  # shares


def report(folder: Path, record: dict[str, Any], log: Callable[[str], None]) -> None:
    """Says what was read, what was left out and what looks wrong, and where the sheet is, which is
    made where it is not there."""
    left_out = {reason: tuple(some) for reason, some in record.get("left_out", {}).items()}
    if skipped := record.get("skipped"):
        left_out["unreadable"] = len(skipped), skipped[0]
    count = sum(record["counts"].values())
    log(f"{record['name']}: {listing.summary(count, record['classes'], left_out)}")
    for words in record.get("warnings", ()):
        log(f"warning: {words}")
    if not (folder / SHEET).exists():
        _draw_sheet(folder, record)
    log(f"look at {folder / SHEET}")


def check_levels(high: int, where: Path | str) -> None:
    """Raises UserError for images that were cast to integers without being scaled."""
    if high <= 1:
        raise UserError(
            f"{where}: no grey level is over {high}; allowed: uint8 from 0 (black) to 255 (white);"
            " multiply them by 255 first"
        )


@dataclass(frozen=True)
class _Measures:
    """Of each packed image, the training images first."""

    low: np.ndarray  # its lowest level
    high: np.ndarray
    border: np.ndarray  # the median level of its border
    content: np.ndarray  # a number for all of its pixels
    labels: np.ndarray
    train: int  # how many are for training


def warnings_of(folder: Path, record: dict[str, Any]) -> list[str]:
    """What looks wrong in packed images, a line each. Raises UserError where nothing can be
    seen."""
    rows = list(_measured(folder, record))
    columns = [np.concatenate(parts) for parts in zip(*rows, strict=True)]
    measures = _Measures(*columns, train=record["counts"]["train"])
    check_levels(int(measures.high.max()), record["source"])
    names = record["classes"] or ["images"]
    return [
        *_about_levels(measures),
        *_about_classes(measures, names),
        *_about_splits(measures),
        *_about_grounds(measures),
    ]


def kept_warnings(folder: Path) -> list[str]:
    """What looked wrong when the data set in this folder was packed."""
    record = read_json(folder / RECORD)
    return record.get("warnings", [])


def _about_levels(measures: _Measures) -> Iterator[str]:
    low = int(measures.low.min())
    high = int(measures.high.max())
    if high - low < NARROW:
        yield f"levels go from {low} to {high} only, of 0 to 255"
    constant = int((measures.low == measures.high).sum())
    black = int((measures.high == 0).sum())
    if constant:
        yield f"{constant:,} images have one level only ({black:,} are wholly black)"


def _about_classes(measures: _Measures, names: Sequence[str]) -> Iterator[str]:
    every = len(measures.labels)
    for label, name in enumerate(names):
        members = measures.content[measures.labels == label]
        count = len(members)
        copies = count - len(np.unique(members))
        if copies > FEW * count:
            yield f"{name}: {copies:,} of {count:,} images are copies of others"
        if len(names) > 1 and count > NEARLY_ALL * every:
            yield f"{name}: {count:,} of {every:,} images are of this class"


def _about_splits(measures: _Measures) -> Iterator[str]:
    train = measures.content[: measures.train]
    others = measures.content[measures.train :]
    again = int(np.isin(others, train).sum())
    if again:
        yield f"{again:,} images of validation and test lie among the training images too"


def _about_grounds(measures: _Measures) -> Iterator[str]:
    counts = {
        "dark": int((measures.border < 64).sum()),
        "light": int((measures.border > 191).sum()),
    }
    few, many = sorted(counts, key=counts.get)
    every = len(measures.border)
    is_usual = counts[many] > 0.7 * every
    if is_usual and 0 < counts[few] < 0.2 * every:
        yield (
            f"{counts[few]:,} images stand on {few} ground, {counts[many]:,} on {many}: they may"
            " be inverted"
        )


def _measured(folder: Path, record: dict[str, Any]) -> Iterator[tuple[np.ndarray, ...]]:
    """The columns of _Measures, some images at a time."""
    for split in SPLITS:
        count = record["counts"][split]
        labels = np.fromfile(folder / f"{split}-labels.i64", "<i8")
        for start in range(0, count, CHUNK):
            end = min(count, start + CHUNK)
            images = _read_images(folder, record, split, start, end)
            axes = (1, 2, 3)
            yield (
                images.min(axes),
                images.max(axes),
                _border_levels(images),
                np.array([hash(image.tobytes()) for image in images]),
                labels[start:end],
            )


def _border_levels(images: np.ndarray) -> np.ndarray:
    """The median along the four sides of each image (C, H, W)."""
    sides = (images[:, :, 0], images[:, :, -1], images[:, :, :, 0], images[:, :, :, -1])
    levels = np.concatenate(sides, axis=2).mean(axis=1)
    return np.median(levels, axis=1)


def _read_images(
    folder: Path, record: dict[str, Any], split: str, start: int, end: int
) -> np.ndarray:
    """Read, since a memory map would count as memory taken."""
    shape = record["shape"]
    size = math.prod(shape)
    with (folder / f"{split}-images.u8").open("rb") as file:
        file.seek(start * size)
        content = file.read((end - start) * size)
    return np.frombuffer(content, np.uint8).reshape(-1, *shape)


def _draw_sheet(folder: Path, record: dict[str, Any]) -> None:
    """Training images, a row a class of 20 at most; of a set without classes some rows."""
    labels = np.fromfile(folder / "train-labels.i64", "<i8")
    if shown := spread_classes(len(record["classes"])):
        rows = [np.flatnonzero(labels == label)[:COLUMNS] for label in shown]
    else:
        rows = np.array_split(np.arange(len(labels))[: 4 * COLUMNS], 4)
    _, height, width = record["shape"]
    down, right = height + GAP, width + GAP
    sheet = Image.new("RGB", (COLUMNS * right, len(rows) * down), "gray")
    for i, row in enumerate(rows):
        for j, index in enumerate(row.tolist()):
            (image,) = _read_images(folder, record, "train", index, index + 1)
            colours = np.broadcast_to(image, (3, height, width))
            picture = Image.fromarray(np.moveaxis(colours, 0, 2).copy())
            sheet.paste(picture, (j * right, i * down))
    factor = max(1, 1000 // sheet.width)
    sheet = sheet.resize((sheet.width * factor, sheet.height * factor), 0)
    with replacing(folder / SHEET) as temporary:
        sheet.save(temporary, "PNG")
