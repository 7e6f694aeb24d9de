"""Images that others have put into one file: an .npz, the IDX files of MNIST and its kin. Streamed,
so that their number does not matter."""

import contextlib
import gzip
import io
import os
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from fashion_gan.data import sources
from fashion_gan.errors import UserError

DIGITS = tuple("0123456789")
# by name: torchvision's class, which also names its folder; what its files begin with; the classes
NAMED = {
    "fashion-mnist": ("FashionMNIST", ("train", "t10k"), ()),
    "mnist": ("MNIST", ("train", "t10k"), DIGITS),
    "kmnist": (
        "KMNIST",
        ("train", "t10k"),
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    ),
    "qmnist": ("QMNIST", ("qmnist-train", "qmnist-test"), DIGITS),
}


def _slices(
    opened: Callable[[], IO[bytes]], shape: tuple[int, ...], where: Path, first: int
) -> Iterator[np.ndarray]:
    """Arrays of up to BATCH images, from `first` on, out of a stream that holds nothing but their
    bytes from where it stands."""
    size = int(np.prod(shape[1:]))
    with sources.reading(where, "file of images"), opened() as stream:
        stream.seek(first * size, os.SEEK_CUR)
        for start in range(first, shape[0], sources.BATCH):
            content = stream.read(min(sources.BATCH, shape[0] - start) * size)
            yield np.frombuffer(content, np.uint8).reshape(
                min(sources.BATCH, shape[0] - start), *shape[1:]
            )
        stream.read(1)  # only at its end is a stream's checksum looked at


def from_npz(path: Path) -> sources.Source:
    """`images` uint8 (N, H, W), (N, 1, H, W), (N, 3, H, W) or (N, H, W, 3), whose shape says how
    many channels there are; `labels`, `classes` where it holds them."""
    with sources.reading(path, ".npz"):
        file = np.load(path, allow_pickle=False)
        held = getattr(file, "files", ["one array"])
        if "images" not in held:
            raise UserError(
                f"{path} holds {', '.join(held[:5]) or 'nothing'}; it must hold `images`, and may"
                " hold `labels` and `classes`"
            )
        with file:
            labels, names = (file[key] if key in held else None for key in ("labels", "classes"))
        with _images_stream(path) as stream:
            shape, in_columns, dtype = _header(stream)
    if dtype != np.uint8:
        raise UserError(
            f"{path}: images are {dtype}; allowed: uint8, 0 to 255; scale and convert them"
        )
    last = len(shape) == 4 and shape[1] not in (1, 3) and shape[3] == 3
    if not (len(shape) == 3 or (len(shape) == 4 and (shape[1] in (1, 3) or last))):
        raise UserError(
            f"{path}: images have the shape {shape}; allowed: (N, H, W), (N, 1, H, W), (N, 3, H,"
            " W), (N, H, W, 3)"
        )
    size = shape[1:3] if last else shape[-2:]
    sources.check_size(*size, f"{path}: an image")
    with sources.reading(path, ".npz"):
        classes, labels = _labelled(path, shape[0], labels, names)
    sources.check_classes(
        {name: int((labels == i).sum()) for i, name in enumerate(classes)}, shape[0], path
    )
    channels = 3 if len(shape) == 4 and shape[1] != 1 else 1
    batches = partial(_npz_batches, path, shape, in_columns, channels, last)
    return sources.Source(
        sources.source_fingerprint(path), str(path), size, classes, labels, batches, channels
    )


def _images_stream(path: Path) -> IO[bytes]:
    return zipfile.ZipFile(path).open("images.npy")


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """An array's shape, whether it lies by columns, its type; the stream then stands at its
    bytes."""
    version = np.lib.format.read_magic(stream)
    return (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )(stream)


def _npz_batches(
    path: Path, shape: tuple[int, ...], in_columns: bool, channels: int, last: bool, first: int
) -> Iterator[np.ndarray]:
    def opened() -> IO[bytes]:
        stream = _images_stream(path)
        _header(stream)
        return stream

    # rare, and the one case that has to be in memory: an image's bytes are not side by side
    if in_columns:
        with sources.reading(path, ".npz"), np.load(path, allow_pickle=False) as file:
            images = file["images"]
        parts = (
            images[start : start + sources.BATCH] for start in range(first, shape[0], sources.BATCH)
        )
    else:
        parts = _slices(opened, shape, path, first)
    for part in parts:
        yield np.moveaxis(part, 3, 1) if last else part.reshape(len(part), channels, *shape[-2:])


def _labelled(
    path: Path, count: int, labels: np.ndarray | None, names: np.ndarray | None
) -> tuple[tuple[str, ...], np.ndarray]:
    """Classes and int64 labels from what an .npz holds: integers, or texts."""
    given = () if names is None else tuple(str(name) for name in np.atleast_1d(names))
    if len(set(given)) < len(given):
        raise UserError(f"{path}: classes holds a name twice; allowed: a name for each class")
    if labels is None:
        if given:
            raise UserError(
                f"{path} holds classes but no labels; add `labels`, or leave `classes` out"
            )
        return (), np.zeros(count, np.int64)
    if labels.shape != (count,):
        raise UserError(
            f"{path}: labels have the shape {labels.shape}; allowed: ({count},), one for each image"
        )
    if labels.dtype.kind in "US":
        texts = labels.astype(str)
        given = given or tuple(np.unique(texts).tolist())
        if unknown := set(np.unique(texts).tolist()) - set(given):
            raise UserError(
                f"{path}: label {min(unknown)!r} is not in classes ({', '.join(given[:5])}, …);"
                " allowed: names that are"
            )
        return given, np.array([given.index(text) for text in texts], np.int64)
    if labels.dtype.kind not in "iu":
        raise UserError(
            f"{path}: labels are {labels.dtype}; allowed: integers from 0, or names; convert them"
        )
    least, most = (int(labels.min()), int(labels.max())) if count else (0, 0)
    if least < 0 or most >= (len(given) or sources.MOST_CLASSES):
        raise UserError(
            f"{path}: labels go from {least} to {most}; allowed: 0 to"
            f" {(len(given) or sources.MOST_CLASSES) - 1}, a number for each class"
        )
    return given or tuple(str(i) for i in range(most + 1)), labels.astype(np.int64)


def named(dataset: str, data_dir: Path, say: Callable[[str], None]) -> sources.Source:
    """torchvision's files, or others like them, of as many images as their headers say. The last
    sixth of the training file is validation, the other file is test (QMNIST's whole 60,000)."""
    kind, prefixes, classes = NAMED[dataset]
    if dataset == "fashion-mnist":
        from fashion_gan.data.datasets import CLASSES
        from fashion_gan.data.download import (
            fetch,  # brings torch along, which no other source needs
        )

        fetch(data_dir, say)
        classes = CLASSES
    raw = Path(data_dir) / kind / "raw"
    suffixes = (
        "images-idx3-ubyte",
        "labels-idx2-int" if dataset == "qmnist" else "labels-idx1-ubyte",
    )
    names = [f"{prefix}-{suffix}" for prefix in prefixes for suffix in suffixes]
    problem = None if all(_there(raw / name) for name in names) else _downloaded(kind, data_dir)
    if not all(_there(raw / name) for name in names):
        raise UserError(
            f"no source of {dataset} is reachable (tried {raw}: not all there; torchvision's"
            f" download: {problem}); put {', '.join(names)} (or .gz) into {raw}"
        )
    train, train_labels, test, test_labels = (_there(raw / name) for name in names)
    labels = [_idx_labels(path) for path in (train_labels, test_labels)]
    shapes = [_idx_shape(path) for path in (train, test)]
    for path, shape, found in zip((train, test), shapes, labels, strict=True):
        if (
            len(shape) != 3
            or shape[1:] != shapes[0][1:]
            or len(found) != shape[0]
            or found.max(initial=0) >= len(classes)
        ):
            raise UserError(
                f"{path} and its labels do not belong together, or one is damaged; remove both to"
                " have them fetched again"
            )
    sources.check_size(*shapes[0][1:], train)
    held = shapes[0][0] // 6
    splits = np.repeat([0, 1, 2], [shapes[0][0] - held, held, shapes[1][0]])
    batches = partial(_idx_batches, list(zip((train, test), shapes, strict=True)))
    return sources.Source(
        dataset,
        dataset,
        shapes[0][1:],
        tuple(classes),
        np.concatenate(labels),
        batches,
        splits=splits,
    )


def _there(path: Path) -> Path | None:
    return next((p for p in (path, path.with_name(f"{path.name}.gz")) if p.is_file()), None)


def _downloaded(kind: str, data_dir: Path) -> str | None:
    """torchvision's own download. Returns why not, or None."""
    from torchvision import datasets

    from fashion_gan.data.download import hindrance

    with contextlib.redirect_stdout(io.StringIO()):  # it tells of each mirror
        return hindrance(
            lambda: [
                getattr(datasets, kind)(data_dir, train=train, download=True)
                for train in (True, False)
            ]
        )


def _idx(path: Path) -> tuple[IO[bytes], tuple[int, ...], np.dtype]:
    """An IDX file, open where its numbers begin; its shape and their type."""
    stream = (gzip.open if path.suffix == ".gz" else open)(path, "rb")
    magic = stream.read(4)
    dtype = np.dtype({8: "u1", 12: ">i4"}[magic[2]])
    return stream, tuple(np.frombuffer(stream.read(4 * magic[3]), ">u4").tolist()), dtype


def _idx_shape(path: Path) -> tuple[int, ...]:
    with sources.reading(path, "IDX file"):
        stream, shape, _ = _idx(path)
        stream.close()
        return shape


def _idx_labels(path: Path) -> np.ndarray:
    with sources.reading(path, "IDX file"):
        stream, shape, dtype = _idx(path)
        with stream:
            # QMNIST's has 8 columns, the class first
            table = np.frombuffer(stream.read(), dtype).reshape(shape[0], -1)
        return table[:, 0].astype(np.int64)


def _idx_batches(files: list[tuple[Path, tuple[int, ...]]], first: int) -> Iterator[np.ndarray]:
    for path, shape in files:
        for part in _slices(lambda path=path: _idx(path)[0], shape, path, min(first, shape[0])):
            yield part[:, None]
        first = max(0, first - shape[0])
