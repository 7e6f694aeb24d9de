"""A look at a packed data set before anything is trained on it: what was read, what looks wrong, a
sheet of its images."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fashion_gan.data import listing
from fashion_gan.errors import UserError
from fashion_gan.files import replacing

SHEET = "sheet.png"
CHUNK = 1000  # images in memory at once
COLUMNS, MOST_ROWS, GAP = 12, 16, 2  # of the sheet
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


def warnings_of(folder: Path, record: dict[str, Any]) -> list[str]:
    """What looks wrong in packed images, a line each. Raises UserError where nothing can be
    seen."""
    columns = zip(*_measures(folder, record), strict=True)
    low, high, border, content, labels = map(np.concatenate, columns)
    check_levels(int(high.max()), record["source"])
    warnings = []
    if int(high.max()) - int(low.min()) < NARROW:
        warnings.append(f"levels go from {low.min()} to {high.max()} only, of 0 to 255")
    if constant := int((low == high).sum()):
        black = int((high == 0).sum())
        warnings.append(f"{constant:,} images have one level only ({black:,} are wholly black)")
    for label, name in enumerate(record["classes"] or ["images"]):
        members = content[labels == label]
        copies = len(members) - len(np.unique(members))
        if copies > FEW * len(members):
            warnings.append(f"{name}: {copies:,} of {len(members):,} images are copies of others")
        if record["classes"] and len(members) > NEARLY_ALL * len(labels):
            warnings.append(f"{name}: {len(members):,} of {len(labels):,} images are of this class")
    train = record["counts"]["train"]
    if again := int(np.isin(content[train:], content[:train]).sum()):
        warnings.append(
            f"{again:,} images of validation and test lie among the training images too"
        )
    ends = {"dark": int((border < 64).sum()), "light": int((border > 191).sum())}
    few, many = sorted(ends, key=ends.get)
    if 0 < ends[few] < 0.2 * len(labels) and ends[many] > 0.7 * len(labels):
        warnings.append(
            f"{ends[few]:,} images stand on {few} ground, {ends[many]:,} on {many}: they may be"
            " inverted"
        )
    return warnings


def _images_of(folder: Path, record: dict[str, Any], split: str, rows: range) -> np.ndarray:
    """Read, since a memory map would count as memory taken."""
    size = math.prod(record["shape"])
    with (folder / f"{split}-images.u8").open("rb") as file:
        file.seek(rows.start * size)
        content = file.read(len(rows) * size)
    return np.frombuffer(content, np.uint8).reshape(-1, *record["shape"])


def _measures(folder: Path, record: dict[str, Any]) -> Iterator[tuple[np.ndarray, ...]]:
    """Lowest and highest level, level of the border, a number for the content, and label of each
    image, some at a time."""
    for split, count in record["counts"].items():
        labels = np.fromfile(folder / f"{split}-labels.i64", "<i8")
        for start in range(0, count, CHUNK):
            rows = range(start, min(count, start + CHUNK))
            images = _images_of(folder, record, split, rows)
            sides = (images[:, :, 0], images[:, :, -1], images[..., 0], images[..., -1])
            border = np.median(np.concatenate(sides, axis=2).mean(axis=1), axis=1)
            content = np.array([hash(image.tobytes()) for image in images])
            axes = (1, 2, 3)
            yield images.min(axes), images.max(axes), border, content, labels[start:][: len(rows)]


def _draw_sheet(folder: Path, record: dict[str, Any]) -> None:
    """Training images, a row a class; of a set without classes some rows."""
    labels = np.fromfile(folder / "train-labels.i64", "<i8")
    rows = [np.flatnonzero(labels == label)[:COLUMNS] for label in range(len(record["classes"]))]
    rows = rows or np.array_split(np.arange(min(len(labels), 4 * COLUMNS)), 4)
    _, height, width = record["shape"]
    step_down, step_right = height + GAP, width + GAP
    sheet = Image.new("RGB", (COLUMNS * step_right, len(rows) * step_down), "gray")
    for i, indices in enumerate(rows[:MOST_ROWS]):
        for j, index in enumerate(indices.tolist()):
            (image,) = _images_of(folder, record, "train", range(index, index + 1))
            levels = np.broadcast_to(np.moveaxis(image, 0, 2), (height, width, 3))
            picture = Image.fromarray(np.ascontiguousarray(levels))
            sheet.paste(picture, (j * step_right, i * step_down))
    larger = max(1, 1000 // sheet.width)
    with replacing(folder / SHEET) as temporary:
        sheet.resize((sheet.width * larger, sheet.height * larger), 0).save(temporary, "PNG")
