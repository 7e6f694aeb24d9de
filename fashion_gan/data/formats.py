"""What files hold: pictures in folders, .npz, the IDX files of MNIST and its kin. Whatever is wrong
with one raises UserError, in one line."""

import contextlib
import gzip
import io
import math
import os
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from fashion_gan.data import limits
from fashion_gan.errors import UserError
from fashion_gan.files import check_file, open_zip, reading

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
# by content: Pillow knows others, some of which start programs
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")


@dataclass(frozen=True)
class ImageFiles:
    """The image files of a folder, by name."""

    names: list[str]  # relative to the folder
    classes: tuple[str, ...]  # its sub-folders; () where the images are directly in it
    labels: np.ndarray  # int64 (N,), 0 where there are no classes


def list_images(folder: Path, suffixes: Sequence[str] = SUFFIXES) -> ImageFiles:
    """Sub-folders are classes; images directly in the folder have none."""
    try:
        direct, subfolders = _entries(folder, "", suffixes)
        by_class = {name: _entries(folder, name, suffixes)[0] for name in subfolders}
    except OSError as error:
        raise UserError(f"{folder} cannot be listed ({error.strerror}); allow to read it") from None
    if direct and by_class:
        raise UserError(
            f"{folder} holds both images ({direct[0]}) and sub-folders ({subfolders[0]}), so it is"
            " not clear whether there are classes; allowed: either; move the images into"
            " sub-folders, or the sub-folders away"
        )
    by_class = by_class or {"": direct}
    counts = [len(names) for names in by_class.values()]
    labels = np.repeat(np.arange(len(by_class)), counts)
    return ImageFiles(list(chain.from_iterable(by_class.values())), tuple(subfolders), labels)


def _entries(folder: Path, subfolder: str, suffixes: Sequence[str]) -> tuple[list[str], list[str]]:
    """The images and the folders directly in a sub-folder, by name. Hidden ones do not count:
    .ipynb_checkpoints, ._cat.png, __MACOSX."""
    images, folders = [], []
    with os.scandir(folder / subfolder) as entries:
        for entry in entries:
            if entry.name.startswith((".", "__MACOSX")):
                continue
            if entry.is_dir():
                folders.append(entry.name)
            elif entry.name.lower().endswith(tuple(suffixes)):
                images.append(os.path.join(subfolder, entry.name))
    return sorted(images), sorted(folders)


def open_image(file: Path | IO[bytes], kinds: Sequence[str] = FORMATS) -> Image.Image:
    """A picture whose pixels are not read yet. Pillow raises what it will where it is none, and
    DecompressionBombError where it has too many."""
    if isinstance(file, Path):
        check_file(file, limits.MOST_IMAGE_BYTES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        picture = Image.open(file, formats=kinds)  # three times as many are an error of its own
    # Pillow has each pixel of a WebP in memory twice
    most = limits.MOST_PIXELS // 2 if picture.format == "WEBP" else limits.MOST_PIXELS
    if picture.width * picture.height > most:
        raise Image.DecompressionBombError(f"more than {most / 1e6:.0f} million pixels")
    return picture


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


def channels_first(images: np.ndarray) -> np.ndarray:
    """A view (N, C, H, W) of images (N, H, W), (N, H, W, C) or (N, C, H, W), of 1 or 3 colours and
    more pixels."""
    images = images[:, None] if images.ndim == 3 else images
    return np.moveaxis(images, 3, 1) if images.shape[3] in (1, 3) else images


@dataclass(frozen=True)
class StoredArray:
    """An array in an .npz, of which only the header was read."""

    name: str  # the file's and its own
    stream: IO[bytes]  # stands at the first byte that follows
    shape: tuple[int, ...]
    by_columns: bool
    dtype: np.dtype

    def read(self, most: int) -> np.ndarray:
        """The next rows, `most` at most; all of them where they lie by columns."""
        rows = [n if self.by_columns else min(n, most) for n in self.shape[:1]]
        shape = (*rows, *self.shape[1:])
        size = math.prod(shape) * self.dtype.itemsize
        most_bytes = limits.MOST_ARRAY_BYTES
        if self.dtype.kind in "US":  # they are sorted, which takes seven times as much
            most_bytes //= 4
        if size > most_bytes:
            raise UserError(
                f"{self.name} take {size:,} bytes; allowed: {most_bytes:,}; save"
                " images row by row (np.ascontiguousarray), labels as uint8"
            )
        order = "F" if self.by_columns else "C"
        return np.ndarray(shape, self.dtype, bytearray(self.stream.read(size)), order=order)


@contextlib.contextmanager
def open_npz(path: Path) -> Iterator[zipfile.ZipFile]:
    """An .npz that holds `images`; nothing of it is unpacked."""
    with reading(path, ".npz of images"):
        check_file(path, sys.maxsize)
        with path.open("rb") as file:
            if file.read(6) == np.lib.format.MAGIC_PREFIX:
                raise _without_images(path, ["one array"])
            with open_zip(file) as archive:
                names = [name.removesuffix(".npy") for name in archive.namelist()]
                if "images" not in names:
                    raise _without_images(path, names)
                yield archive


def _without_images(path: Path, names: Sequence[str]) -> UserError:
    return UserError(
        f"{path} holds {', '.join(names[:5]) or 'nothing'}; it must hold `images`, and may hold"
        " `labels` and `classes`"
    )


@contextlib.contextmanager
def open_array(archive: zipfile.ZipFile, name: str) -> Iterator[StoredArray]:
    """One of an .npz's arrays. Raises ValueError where its header and its size do not agree."""
    with archive.open(f"{name}.npy") as stream:
        start = io.BytesIO(stream.read(limits.MOST_HEADER_BYTES))
        if np.lib.format.read_magic(start) == (1, 0):
            header = np.lib.format.read_array_header_1_0(start)
        else:
            header = np.lib.format.read_array_header_2_0(start)
        stored = StoredArray(f"{archive.filename}: {name}", stream, *header)
        size = start.tell() + math.prod(stored.shape) * stored.dtype.itemsize
        if stored.dtype.hasobject:
            raise ValueError(
                f"its {name} are Python objects; save {name}.astype(str), or as numbers"
            )
        if archive.getinfo(f"{name}.npy").file_size != size:
            raise ValueError(f"its {name} are not what their header says")
        stream.seek(start.tell())
        yield stored
        stream.read(1)  # only at its end is a stream's checksum looked at


def read_npz(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Those of the named arrays that an .npz holds."""
    arrays = {}
    with open_npz(path) as archive:
        for name in names:
            if f"{name}.npy" in archive.namelist():
                with open_array(archive, name) as stored:
                    arrays[name] = stored.read(sys.maxsize)
    return arrays


def label_indices(
    labels: np.ndarray, count: int, most: int, index_of: Callable[[str], int], where: Path | str
) -> np.ndarray:
    """int64 (count,), 0 to `most`, from integers, or from names by `index_of`. Raises UserError for
    other labels."""
    if labels.shape != (count,):
        raise UserError(
            f"{where}: labels have the shape {labels.shape}; allowed: ({count},), one for each of"
            f" the {count:,} images"
        )
    if labels.dtype.kind in "US":
        names, positions = np.unique(labels, return_inverse=True)
        indices = [index_of(os.fsdecode(name)) for name in names.tolist()]
        labels = np.array(indices, np.int64)[positions]
    if labels.dtype.kind not in "iu":
        raise UserError(
            f"{where}: labels are {labels.dtype}; allowed: integers from 0, or names; convert them"
        )
    if count and (labels.min() < 0 or labels.max() > most):
        raise UserError(
            f"{where}: labels go from {labels.min()} to {labels.max()}; allowed: integers 0 to"
            f" {most}, or names"
        )
    return labels.astype(np.int64)


def find_file(path: Path) -> Path | None:
    """A file, or the compressed one (.gz) beside it; None where there is neither."""
    candidates = (path, path.with_name(f"{path.name}.gz"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def read_unpacked(path: Path) -> bytes:
    """A file's content, which may be compressed (.gz)."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as stream:
        content = stream.read(limits.MOST_ARRAY_BYTES + 1)
    if len(content) > limits.MOST_ARRAY_BYTES:
        raise OSError(f"it unpacks to more than {limits.MOST_ARRAY_BYTES:,} bytes")
    return content


def read_idx(path: Path) -> np.ndarray:
    """The array in an IDX file, compressed (.gz) or not."""
    from torchvision.datasets import mnist  # brings torch along, which no other file needs

    with reading(path, "IDX file"), tempfile.NamedTemporaryFile() as plain:
        plain.write(read_unpacked(path))  # torchvision reads no .gz
        plain.flush()
        return mnist.read_sn3_pascalvincent_tensor(plain.name, strict=False).numpy()
