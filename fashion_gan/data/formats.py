"""What files of arrays hold: .npz, the IDX files of MNIST and its kin. Whatever is wrong with one
raises UserError, in one line."""

import contextlib
import gzip
import io
import math
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from fashion_gan.data import limits
from fashion_gan.errors import UserError
from fashion_gan.files import check_file, open_zip, reading

if TYPE_CHECKING:
    import torch


def channels_first(images: np.ndarray) -> np.ndarray:
    """A view (N, C, H, W) of images (N, H, W), (N, H, W, C) or (N, C, H, W), of 1 or 3 colours and
    more pixels."""
    images = images[:, None] if images.ndim == 3 else images
    return np.moveaxis(images, 3, 1) if images.shape[3] in (1, 3) else images


def image_tensor(images: np.ndarray) -> "torch.Tensor":
    """The same, (N, C, H, W), as a tensor of its own."""
    import torch  # a tenth of a gigabyte, which packing does without

    tensor = torch.from_numpy(channels_first(images))
    # PyTorch takes another path, to other last bits, by strides alone
    return tensor.clone(memory_format=torch.contiguous_format)


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

    def batches(self, first: int, most: int) -> Iterator[tuple[int, np.ndarray]]:
        """The rows from `first` on, `most` at a time or fewer large ones, each with the number of
        its first."""
        count, size = self.shape[0], max(1, math.prod(self.shape[1:]))
        most = max(1, min(most, limits.MOST_ARRAY_BYTES // size // self.dtype.itemsize))
        # rare, and the one case that has to be in memory: an image's bytes are not side by side
        whole = self.read(count) if self.by_columns else None
        if whole is None:
            self.stream.seek(first * size * self.dtype.itemsize, os.SEEK_CUR)
        for start in range(first, count, most):
            end = min(count, start + most)
            yield start, self.read(end - start) if whole is None else whole[start:end]


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
        if stored.dtype.hasobject and name != "images":
            raise UserError(
                f"{archive.filename}: {name} are Python objects; allowed: numbers or text; save"
                f" {name}.astype(str), or int"
            )
        if stored.dtype.hasobject:
            raise ValueError(f"its {name} are Python objects; save them as numbers")
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
        hint = "; they begin at 1: save labels - 1" if labels.min() == 1 else ""
        raise UserError(
            f"{where}: labels go from {labels.min()} to {labels.max()}; allowed: integers 0 to"
            f" {most}, or names{hint}"
        )
    return labels.astype(np.int64)


def find_file(path: Path) -> Path | None:
    """A file, or the compressed one (.gz) beside it, or either with a dot before idx, as some
    programs write it; None where there is none."""
    names = (path.name, path.name.replace("-idx", ".idx"))
    candidates = [path.with_name(name + end) for name in names for end in ("", ".gz")]
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
