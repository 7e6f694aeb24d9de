"""What is packed: images in a fixed order, read a batch at a time, so that their number does not
matter; from image files in a folder or an archive, an .npz, a data set with a name. Raises
UserError, in one line, for what is none."""

import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from fashion_gan.data import formats, listing, pictures
from fashion_gan.data.limits import LARGEST, MOST_CLASSES, SMALLEST, STEP
from fashion_gan.data.listing import ImageFiles
from fashion_gan.data.preparation import Preparation
from fashion_gan.errors import UserError
from fashion_gan.files import short_reason
from fashion_gan.text import listed

FEWEST = 256
BATCH = 1000  # images in memory at once
GROUND_SAMPLE = 256  # pictures that the ground is chosen by

DIGITS = tuple("0123456789")
KUZUSHIJI = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
# by name: torchvision's class, which also names its folder; what its files are called; the classes
NAMED = {
    "fashion-mnist": ("FashionMNIST", ("train", "t10k", "idx1-ubyte"), ()),
    "mnist": ("MNIST", ("train", "t10k", "idx1-ubyte"), DIGITS),
    "kmnist": ("KMNIST", ("train", "t10k", "idx1-ubyte"), KUZUSHIJI),
    "qmnist": ("QMNIST", ("qmnist-train", "qmnist-test", "idx2-int"), DIGITS),
}


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
    is_official: bool = False  # its order and its splits are kept as they are
    left_out: listing.LeftOut = field(default_factory=dict)
    preparation: Preparation | None = None  # of files; None: the arrays are taken as they are


def check_classes(classes: Sequence[str], labels: np.ndarray, where: Path | str) -> None:
    """Raise UserError where there are too few images, or classes with which no network can be
    trained."""
    if len(classes) == 1:
        raise UserError(
            f"{where} has one class only ({classes[0]}); allowed: 2 to {MOST_CLASSES}, or"
            " images without classes"
        )
    _check_class_count(classes, where)
    _check_present(classes, labels, where)
    if len(labels) < FEWEST:
        raise UserError(
            f"{where} holds {len(labels)} images that can be used; allowed: {FEWEST} or more; add"
            " some"
        )


def _check_present(classes: Sequence[str], labels: np.ndarray, where: Path | str) -> None:
    if empty := [name for i, name in enumerate(classes) if not (labels == i).any()]:
        raise UserError(
            f"{where}: no image of class {listed(empty)}; each class needs images; add some, or"
            " remove the class"
        )


def _check_class_count(classes: Sequence[str], where: Path | str) -> None:
    if len(classes) > MOST_CLASSES:
        raise UserError(
            f"{where} has {len(classes)} classes; allowed: 2 to {MOST_CLASSES}; leave some out or"
            " put some together"
        )


def check_size(height: int, width: int, where: Path | str) -> None:
    if not all(SMALLEST <= side <= LARGEST and side % STEP == 0 for side in (height, width)):
        raise UserError(
            f"{where} is {width}×{height} pixels; allowed: width and height each from {SMALLEST} to"
            f" {LARGEST} and a multiple of {STEP}; {_resizing([(height, width)])}"
        )


def _resizing(sizes: Sequence[tuple[int, int]]) -> str:
    """The call that would make images of these sizes fit."""
    side = min(LARGEST, max(SMALLEST, min(map(min, sizes)) // STEP * STEP))
    return f"have them resized with -p image_size={side} (and -p fit=crop, pad or squeeze)"


def source_fingerprint(
    path: Path, names: Sequence[str] = ("",), preparation: Preparation | None = None
) -> str:
    """A path's stem with 8 hex digits of it, of name, size and time of each file, and of how they
    are prepared, so that a changed source has another name."""
    content = hashlib.sha256(os.fsencode(path) + b"\0")
    if preparation:
        content.update(f"{preparation}\0".encode())
    for name in names:
        stamp = "gone"
        with contextlib.suppress(OSError):  # a link to nothing: reading it will say so
            status = os.stat(os.path.join(path, name) if name else path)
            stamp = f"{status.st_size} {status.st_mtime_ns}"
        content.update(os.fsencode(f"{name}\0{stamp}\n"))
    return f"{path.stem}-{content.hexdigest()[:8]}"


def from_images(path: Path, preparation: Preparation) -> Source:
    """Image files in a folder or an archive: sub-folders are classes, by name; images directly in
    it have none."""
    files = listing.list_images(path)
    names = files.names
    if not names:
        raise UserError(
            f"{path} holds {files.summary}; allowed: {' '.join(pictures.SUFFIXES)},"
            " directly in it or in a sub-folder for each class"
        )
    check_classes(files.classes, files.labels, path)
    if files.splits is not None:
        _check_present(files.classes, files.labels[files.splits == 0], f"{path}: train")
    with listing.opened(path) as read:
        sizes = ((name, _size_of(read, name)) for name in names)
        first, size = next((pair for pair in sizes if pair[1]), (names[0], None))
    if size is None:
        raise UserError(
            f"{path}: not one of {len(names):,} images can be read ({first} first); allowed:"
            f" {', '.join(pictures.FORMATS)}"
        )
    size = preparation.size or size
    check_size(*size, path / first)
    return Source(
        source_fingerprint(path, names if path.is_dir() else ("",), preparation),
        str(path),
        size,
        files.classes,
        files.labels,
        partial(_decoded, files, preparation, size),
        splits=files.splits,
        files=names,
        left_out=files.left_out,
        preparation=preparation,
    )


def on_chosen_ground(source: Source) -> Source:
    """The source with its ground chosen, where it is of files and their ground is auto."""
    if source.preparation is None or source.preparation.ground != "auto":
        return source
    files, preparation, size = source.batches.args
    sample = files.names[:: max(1, len(files.names) // GROUND_SAMPLE)]
    with listing.opened(files.path) as read:
        ground = pictures.choose_ground(_opened(read, sample))
    preparation = replace(preparation, ground=ground)
    batches = partial(_decoded, files, preparation, size)
    return replace(source, preparation=preparation, batches=batches)


def _opened(read: listing.Read, names: Sequence[str]) -> Iterator[pictures.Image.Image]:
    """Those that are transparent and can be read."""
    for name in names:
        with contextlib.suppress(Exception), pictures.open_image(read(name)) as picture:
            if picture.has_transparency_data:
                picture.load()
                yield picture


def _size_of(read: listing.Read, name: str) -> tuple[int, int] | None:
    """Height and width from an image's first bytes; None where it has none."""
    try:
        with pictures.open_image(read(name)) as picture:
            return pictures.seen_size(picture)
    except Exception:  # whatever a decoder says
        return None


def _decoded(
    files: ImageFiles, preparation: Preparation, size: tuple[int, int], first: int
) -> Iterator[list[np.ndarray | str]]:
    # One after another: two threads were slower (5,400 images a second, one 6,400), since opening
    # so small a file is mostly Python.
    with listing.opened(files.path) as read:
        for start in range(first, len(files.names), BATCH):
            batch = []
            for name in files.names[start : start + BATCH]:
                try:
                    pixels = pictures.read_pixels(read(name), preparation)
                except Exception as error:  # whatever a decoder says
                    pixels = short_reason(error)
                if not isinstance(pixels, str) and pixels.shape[1:] != size:
                    raise _mixed_sizes(files, read)
                batch.append(pixels)
            yield batch


def _mixed_sizes(files: ImageFiles, read: listing.Read) -> UserError:
    counts, examples = Counter(), {}
    for name in files.names:
        if size := _size_of(read, name):
            counts[size] += 1
            examples.setdefault(size, f"{name} is {size[1]}×{size[0]}")
    summary = [f"{n:,} of {width}×{height}" for (height, width), n in counts.most_common(3)]
    if len(counts) > 3:
        summary.append("…")
    return UserError(
        f"{files.path}: images differ in size: {', '.join(list(examples.values())[:2])}"
        f" ({', '.join(summary)}); allowed: one size; {_resizing(list(counts))}, or move the others"
        " away"
    )


def from_npz(path: Path, preparation: Preparation) -> Source:
    """`images` uint8 (N, H, W), (N, 1, H, W), (N, 3, H, W) or (N, H, W, 3), whose shape says how
    many channels there are; `labels`, `classes` where it holds them."""
    arrays = formats.read_npz(path, "labels", "classes")
    with formats.open_npz(path) as archive, formats.open_array(archive, "images") as stored:
        shape = stored.shape
        if stored.dtype != np.uint8:
            raise UserError(
                f"{path}: images are {stored.dtype}; allowed: uint8, 0 to 255; scale and convert"
                " them"
            )
        empty = np.empty((0, *shape[1:]))
        channels, *size = formats.channels_first(empty).shape[1:] if empty.ndim in (3, 4) else (0,)
        if channels not in (1, 3):
            raise UserError(
                f"{path}: images have the shape {shape}; allowed: (N, H, W), (N, 1, H, W),"
                " (N, 3, H, W), (N, H, W, 3)"
            )
        size = preparation.size or tuple(size)
        check_size(*size, f"{path}: an image")
        classes, labels = _classes_and_labels(path, shape[0], **arrays)
        check_classes(classes, labels, path)
    # nothing in an array is transparent
    resizing = replace(preparation, ground="black") if preparation.size else None
    name = source_fingerprint(path, preparation=resizing)
    batches = partial(_npz_batches, path, resizing)
    return Source(name, str(path), size, classes, labels, batches, channels, preparation=resizing)


def _npz_batches(
    path: Path, preparation: Preparation | None, first: int
) -> Iterator[Sequence[np.ndarray]]:
    with formats.open_npz(path) as archive, formats.open_array(archive, "images") as stored:
        for _, images in stored.batches(first, BATCH):
            batch = formats.channels_first(images)
            if preparation:
                batch = [pictures.prepared_pixels(pixels, preparation) for pixels in batch]
            yield batch


def _array_batches(images: np.ndarray, first: int) -> Iterator[np.ndarray]:
    for start in range(first, len(images), BATCH):
        yield formats.channels_first(images[start : start + BATCH])


def _classes_and_labels(
    path: Path, count: int, labels: np.ndarray | None = None, classes: np.ndarray | None = None
) -> tuple[tuple[str, ...], np.ndarray]:
    """Classes and int64 labels from what an .npz holds: integers, or texts."""
    classes = np.atleast_1d([] if classes is None else classes)
    _check_class_count(classes, path)
    names = tuple(str(name) for name in classes)
    if len(set(names)) < len(names):
        raise UserError(f"{path}: classes holds a name twice; allowed: a name for each class")
    if labels is None:
        if names:
            raise UserError(
                f"{path} holds classes but no labels; add `labels`, or leave `classes` out"
            )
        return (), np.zeros(count, np.int64)
    if labels.dtype.kind in "US" and not names:
        names = tuple(np.unique(labels.astype(str)).tolist())
        _check_class_count(names, path)

    def index_of(name: str) -> int:
        if name in names:
            return names.index(name)
        raise UserError(
            f"{path}: label {name!r} is not in classes ({', '.join(names[:5])}, …); allowed: names"
            " that are"
        )

    most = (len(names) or MOST_CLASSES) - 1
    labels = formats.label_indices(labels, count, most, index_of, path)
    if count and labels.min() == 1 and not names:
        raise UserError(
            f"{path}: labels go from 1 to {labels.max()}, so they begin at 1; allowed: integers"
            " from 0; save labels - 1"
        )
    return names or tuple(str(i) for i in range(labels.max(initial=0) + 1)), labels


def from_name(dataset: str, data_dir: Path, log: Callable[[str], None]) -> Source:
    """torchvision's files, or others like them, of as many images as their headers say. The last
    sixth of the training file is validation, the other file is test (QMNIST's whole 60,000)."""
    kind, _, classes = NAMED[dataset]
    if dataset == "fashion-mnist":
        from fashion_gan.data.datasets import CLASSES
        from fashion_gan.data.download import fetch

        fetch(data_dir, log)
        classes = CLASSES
    paths = _idx_files(dataset, data_dir / kind / "raw")
    arrays = [formats.read_idx(path) for path in paths]
    # QMNIST's labels are a table, the class first
    arrays = [table[:, 0] if table.ndim == 2 else table for table in arrays]
    train, train_labels, test, test_labels = arrays
    for path, images, labels in ((paths[0], train, train_labels), (paths[2], test, test_labels)):
        if (
            images.dtype != np.uint8
            or images.ndim != 3
            or images.shape[1:] != train.shape[1:]
            or labels.shape != images.shape[:1]
            or labels.max(initial=0) >= len(classes)
        ):
            raise UserError(
                f"{path} and its labels do not belong together, or one is damaged; remove both to"
                " have them fetched again"
            )
    check_size(*train.shape[1:], paths[0])
    validation = len(train) // 6
    return Source(
        dataset,
        dataset,
        train.shape[1:],
        classes,
        np.concatenate((train_labels, test_labels)).astype(np.int64),
        partial(_array_batches, np.concatenate((train, test))),
        splits=np.repeat([0, 1, 2], [len(train) - validation, validation, len(test)]),
        is_official=True,
    )


def _idx_files(dataset: str, raw: Path) -> list[Path]:
    """The four files of a data set with a name, which may be compressed; downloaded where one is
    missing."""
    kind, (train, test, labels), _ = NAMED[dataset]
    names = [
        f"{train}-images-idx3-ubyte",
        f"{train}-labels-{labels}",
        f"{test}-images-idx3-ubyte",
        f"{test}-labels-{labels}",
    ]
    problem = None
    if not all(formats.find_file(raw / name) for name in names):
        from fashion_gan.data.download import from_torchvision

        problem = from_torchvision(kind, raw.parents[1])
    paths = [formats.find_file(raw / name) for name in names]
    if not all(paths):
        raise UserError(
            f"no source of {dataset} is reachable (tried {raw}: not all there; torchvision's"
            f" download: {problem}); put {', '.join(names)} (or .gz) into {raw}"
        )
    return paths
