"""What files hold: pictures in folders, .npz, the IDX files of MNIST and its kin. Whatever is wrong
with one raises UserError, in one line."""

import contextlib
import gzip
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from fashion_gan.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
# by content: Pillow knows others, some of which start programs
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
DAMAGE = (OSError, EOFError, ValueError, LookupError, RuntimeError, MemoryError, AssertionError)


def short_reason(error: Exception) -> str:
    if "Object arrays" in str(error):
        return "it holds Python objects; save labels.astype(str)"
    return (str(error) or type(error).__name__).splitlines()[0][:80]


@contextlib.contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Whatever goes wrong inside is said to be damage of that file."""
    try:
        yield
    except (*DAMAGE, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} is no {kind}, or it is damaged ({short_reason(error)}); make or fetch it again"
        ) from None


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


def open_image(path: Path) -> Image.Image:
    """A picture whose pixels are not read yet. Pillow raises what it will where it is none."""
    return Image.open(path, formats=FORMATS)


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


def read_npz(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Those of the named arrays that an .npz holds; it has to hold `images`."""
    with reading(path, ".npz of images"):
        file = np.load(path, allow_pickle=False)
        keys = getattr(file, "files", ["one array"])
        if "images" not in keys:
            raise UserError(
                f"{path} holds {', '.join(keys[:5]) or 'nothing'}; it must hold `images`, and may"
                " hold `labels` and `classes`"
            )
        with file:
            return {name: file[name] for name in names if name in keys}


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


@contextlib.contextmanager
def stream_npz(path: Path) -> Iterator[tuple[IO[bytes], tuple[int, ...], bool, np.dtype]]:
    """A stream that stands at the first byte of an .npz's `images`; their shape, whether they lie
    by columns, their type."""
    with (
        reading(path, ".npz of images"),
        zipfile.ZipFile(path) as file,
        file.open("images.npy") as stream,
    ):
        if np.lib.format.read_magic(stream) == (1, 0):
            header = np.lib.format.read_array_header_1_0(stream)
        else:
            header = np.lib.format.read_array_header_2_0(stream)
        yield stream, *header


def find_file(path: Path) -> Path | None:
    """A file, or the compressed one (.gz) beside it; None where there is neither."""
    candidates = (path, path.with_name(f"{path.name}.gz"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def read_unpacked(path: Path) -> bytes:
    """A file's content, which may be compressed (.gz)."""
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


def read_idx(path: Path) -> np.ndarray:
    """The array in an IDX file, compressed (.gz) or not."""
    from torchvision.datasets import mnist  # brings torch along, which no other file needs

    with reading(path, "IDX file"), tempfile.NamedTemporaryFile() as plain:
        plain.write(read_unpacked(path))  # torchvision reads no .gz
        plain.flush()
        return mnist.read_sn3_pascalvincent_tensor(plain.name, strict=False).numpy()
