"""Pictures as a viewer shows them: upright, in sRGB, on one ground, of one size. The one reader of
what is packed, what is measured and the explorer's photo."""

import contextlib
import functools
import io
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps

from fashion_gan.data import limits
from fashion_gan.data.preparation import Preparation
from fashion_gan.files import check_file

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff")
# by content: Pillow knows others, some of which start programs
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


def open_image(file: Path | IO[bytes]) -> Image.Image:
    """A picture whose pixels are not read yet. Pillow raises what it will where it is none, and
    DecompressionBombError where it has too many."""
    if isinstance(file, Path):
        check_file(file, limits.MOST_IMAGE_BYTES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        picture = Image.open(file, formats=FORMATS)  # three times as many are an error of its own
    # Pillow has each pixel of a WebP in memory twice
    most = limits.MOST_PIXELS // 2 if picture.format == "WEBP" else limits.MOST_PIXELS
    if picture.width * picture.height > most:
        raise Image.DecompressionBombError(f"more than {most / 1e6:.0f} million pixels")
    if picture.format in ("JPEG", "MPO") and _scan_count(picture.fp) > limits.MOST_SCANS:
        raise ValueError("each scan of a JPEG goes over all pixels")
    return picture


def _scan_count(stream: IO[bytes]) -> int:
    position = stream.tell()
    stream.seek(0)
    count = stream.read().count(b"\xff\xda")
    stream.seek(position)
    return count


@contextlib.contextmanager
def _ignoring_damage() -> Iterator[None]:
    """A broken tag of orientation turns nothing, and is no news."""
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def seen_size(picture: Image.Image) -> tuple[int, int]:
    """Height and width of an opened picture once it stands upright; its pixels are not read."""
    orientation = 1
    with _ignoring_damage():
        # PNG's own would decode the picture
        orientation = Image.Image.getexif(picture).get(ExifTags.Base.Orientation, 1)
    width, height = picture.size
    return (width, height) if orientation in (5, 6, 7, 8) else (height, width)


def prepared(picture: Image.Image, preparation: Preparation) -> Image.Image:
    """An opened picture as an image of mode L or RGB; of a film the first picture."""
    return _on_ground(_fitted(picture, preparation), preparation.ground)


def read_pixels(file: Path | IO[bytes], preparation: Preparation) -> np.ndarray:
    """uint8 (1, H, W) of a grey picture, (3, H, W) of any other."""
    with open_image(file) as picture:
        return _pixels_of(prepared(picture, preparation))


def prepared_pixels(pixels: np.ndarray, preparation: Preparation) -> np.ndarray:
    """The same of an image (C, H, W) from an array."""
    levels = pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, 2)
    picture = Image.fromarray(np.ascontiguousarray(levels))
    return _pixels_of(prepared(picture, preparation))


def one_channel_if_grey(pixels: np.ndarray) -> np.ndarray:
    """(1, H, W) of a grey image, however many channels (C, H, W) it came with; else as it is."""
    return pixels[:1] if all(np.array_equal(pixels[0], other) for other in pixels[1:]) else pixels


def is_transparent(picture: Image.Image) -> bool:
    if not picture.has_transparency_data:
        return False
    image = picture if picture.mode == "RGBA" else picture.convert("RGBA")
    return image.getextrema()[3][0] < 250


def choose_ground(pictures: Iterable[Image.Image]) -> str:
    """Black or white, on which these opened pictures differ more; black where none is
    transparent."""
    probe = Preparation((32, 32), "squeeze")
    images = [_fitted(picture, probe) for picture in pictures if is_transparent(picture)]
    if not images:
        return "black"
    spread = {}
    for ground in ("black", "white"):
        levels = [np.asarray(_on_ground(image, ground), float) for image in images]
        spread[ground] = np.var(levels, axis=0).sum()
    return max(spread, key=spread.get)


def _pixels_of(image: Image.Image) -> np.ndarray:
    levels = np.asarray(image)
    return one_channel_if_grey(levels[None] if levels.ndim == 2 else np.moveaxis(levels, 2, 0))


def _fitted(picture: Image.Image, preparation: Preparation) -> Image.Image:
    """Of its size and of mode L, RGB or RGBA, which is left transparent."""
    if preparation.size is not None:
        largest = 2 * max(preparation.size)
        picture.draft(None, (largest, largest))  # a large JPEG is read at a fraction of its size
    picture.load()
    with _ignoring_damage():
        ImageOps.exif_transpose(picture, in_place=True)
    profile = picture.info.get("icc_profile")
    image = _in_eight_bits(picture)
    if preparation.size is None:
        return _in_srgb(image, profile)
    height, width = preparation.size
    factor = min(image.height // height, image.width // width) // 2
    image = _in_srgb(image.reduce(factor) if factor > 1 else image, profile)
    if preparation.fit == "squeeze":
        return image.resize((width, height), Image.Resampling.BICUBIC)
    if preparation.fit == "contain":
        return ImageOps.contain(image, (width, height))
    if preparation.fit == "pad":
        return ImageOps.pad(image.convert("RGBA"), (width, height), color=(0, 0, 0, 0))
    return ImageOps.fit(image, (width, height))


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """Of mode L, RGB, RGBA or CMYK; 16 bits are scaled to 8."""
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        raise ValueError("its levels have 32 bits; allowed: 8 or 16")
    if image.mode.startswith("I"):
        return Image.fromarray(np.rint(np.asarray(image) / 257).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        return image if image.mode == "RGBA" else image.convert("RGBA")  # it may be large
    if image.mode in ("L", "RGB", "CMYK"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Its colours by the profile that the file has; grey stays grey."""
    transform = _to_srgb(profile, image.mode) if profile else None
    if transform is None:
        return image.convert("RGB") if image.mode == "CMYK" else image
    is_grey = image.mode == "L" or len(_pixels_of(image)) == 1
    image = ImageCms.applyTransform(image, transform)
    return image.convert("L") if is_grey else image


@functools.lru_cache(maxsize=16)
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """None where nothing is to be done, and for a broken profile."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return None
        target = ImageCms.createProfile("sRGB")
        return ImageCms.buildTransform(source, target, mode, "RGBA" if mode == "RGBA" else "RGB")
    except Exception:  # whatever a profile makes of it
        return None


def _on_ground(image: Image.Image, ground: str) -> Image.Image:
    if image.mode != "RGBA":
        return image
    below = Image.new("RGBA", image.size, "black" if ground == "auto" else ground)
    return Image.alpha_composite(below, image).convert("RGB")
