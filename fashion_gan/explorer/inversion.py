"""An own photo: made as the data is, then found in a generator's latent space."""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image, ImageOps

from fashion_gan.data.limits import MOST_PIXELS, MOST_UPLOAD_BYTES
from fashion_gan.data.pictures import FORMATS, is_transparent, open_image, prepared
from fashion_gan.data.preparation import Preparation
from fashion_gan.errors import UserError
from fashion_gan.models.feature_network import FeatureNetwork
from fashion_gan.models.latents import sample_latents
from fashion_gan.models.networks import IMAGE, Generator

GRID = 32  # a found latent is kept in 1/32 sigma, a byte an entry, so that a code can hold it


@dataclass(frozen=True)
class Photo:
    """A photo as a picture of the data's kind."""

    steps: list[tuple[str, np.ndarray]]  # words and levels (H, W) or (H, W, 3), most larger
    negative: bool  # whether it was turned to its negative
    notes: str  # what there is to say about the file

    @property
    def image(self) -> np.ndarray:
        """uint8 (H, W), or (H, W, 3) in colour."""
        return self.steps[-1][1]


def _open(content: bytes, mode: str, preparation: Preparation) -> tuple[Image.Image, str]:
    """The first picture of a file, made so, of mode L or RGB, and notes about the file."""
    if not content:
        raise UserError("this file is empty; choose a picture")
    if len(content) > MOST_UPLOAD_BYTES:
        size = f"{len(content) / 1e6:.0f} MB; at most {MOST_UPLOAD_BYTES / 1e6:.0f} MB are read"
        raise UserError(f"this file has {size}")
    notes = []
    try:
        image = open_image(io.BytesIO(content))
        if getattr(image, "is_animated", False):
            notes.append("It moves: its first picture is taken.")
        if image.mode == "CMYK":
            levels = "greys" if mode == "L" else "colours"
            notes.append(f"It is in printing colours (CMYK): its {levels} are about right.")
        if is_transparent(image):
            notes.append(f"What is transparent is taken for {preparation.ground} ground.")
        return prepared(image, preparation).convert(mode), " ".join(notes)
    except Image.DecompressionBombError:
        most = f"{MOST_PIXELS / 1e6:.0f} million pixels are read, of a WebP half as many"
        raise UserError(f"this picture is too large; at most {most}; make it smaller") from None
    except Exception:  # whatever a decoder says
        problem = "this file is no picture that can be read, or it is damaged"
        raise UserError(f"{problem}; {', '.join(FORMATS)} can be") from None


def _pad(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(ImageOps.pad(image, size, color=0))


def prepare_photo(
    content: bytes,
    negative: bool | None = None,
    shape: tuple[int, int, int] = IMAGE,
    preparation: Preparation | None = None,
) -> Photo:
    """A photo's file as the data is, of this shape (C, H, W): by the `preparation` of its files
    where it was made of some. Else its longer side fills the picture; a grey one is cut out, light
    on black, one in colour stays on its own ground. `negative`: it is dark on light; None: its
    border decides. Raises UserError, one sentence, for a file that is no picture, or shows
    nothing."""
    colours, height, width = shape
    final = f"{height}×{width} pixels"
    large = tuple(112 * side // max(height, width) for side in (width, height))
    if preparation is not None:
        return _prepared_photo(content, bool(negative), shape, preparation)
    whole = Preparation((512, 512), "contain", "white")
    if colours > 1:
        image, notes = _open(content, "RGB", whole)
        steps = [
            ("as it is", np.asarray(ImageOps.contain(image, (112, 112)))),
            ("fitted in, black around", _pad(image, large)),
            (final, _pad(image, (width, height))),
        ]
        return Photo(steps, False, notes)
    grey, notes = _open(content, "L", whole)
    light, negative = _light_on_black(np.asarray(grey, dtype=np.float64), negative)
    cut = light.crop(light.point(lambda level: 255 * (level > 40)).getbbox())
    steps = [
        ("as it is", _pad(grey, large)),
        ("light on black", _pad(light, large)),
        ("cut out", _pad(cut, large)),
        (final, _pad(cut, (width, height))),
    ]
    return Photo(steps, negative, notes)


def _prepared_photo(
    content: bytes, negative: bool, shape: tuple[int, int, int], preparation: Preparation
) -> Photo:
    colours, height, width = shape
    mode = "L" if colours == 1 else "RGB"
    whole = replace(preparation, size=(112, 112), fit="contain")
    steps = []
    for words, each in (
        ("as it is", whole),
        (f"{height}×{width} pixels", replace(preparation, size=(height, width))),
    ):
        image, notes = _open(content, mode, each)
        steps.append((words, np.asarray(ImageOps.invert(image) if negative else image)))
    return Photo(steps, negative, notes)


def _light_on_black(levels: np.ndarray, negative: bool | None) -> tuple[Image.Image, bool]:
    """Grey levels (H, W) with their ground at black, and whether that is their negative."""
    border = np.concatenate([levels[0], levels[-1], levels[:, 0], levels[:, -1]])
    ground = float(np.median(border))
    negative = ground > 127 if negative is None else negative
    # what differs little from the ground is ground
    lifted = (ground - levels if negative else levels - ground) - 12
    high = float(np.quantile(lifted, 0.995))
    if high < 20:
        kind = "darker" if negative else "lighter"
        problem = f"nothing in this picture is {kind} than its ground"
        raise UserError(f"{problem}; try the other way round")
    return Image.fromarray((lifted * 255 / high).clip(0, 255).astype(np.uint8)), negative


def invert(
    generator: Generator,
    image: torch.Tensor,
    network: FeatureNetwork,
    starts: int = 6,
    steps: int = 120,
) -> tuple[int, tuple[int, ...], float]:
    """The class, the latent (in 1/32 sigma) and the distance (in the network's features, dev's) of
    the picture that is most like an image uint8 (C, H, W): of 400 latents in each of the two
    classes that the network finds likeliest the `starts` nearest, improved by Adam in `steps` steps
    on the distance in those features and in levels (Zhu et al. 2016). Generator and network are on
    one device, where this is computed."""
    device = network.scale.device
    target = image[None].to(device).float() / 127.5 - 1
    target_features = network.features(target)

    def distances(z: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        fake = generator(z, labels)
        in_features = (network.features(fake) - target_features).square().sum(dim=1)
        return in_features, (fake - target).square().mean(dim=(1, 2, 3))

    classes = torch.zeros(1, dtype=torch.int64, device=device)
    if generator.conditional:
        classes = network(target)[0].topk(min(2, generator.class_count)).indices
    latents = sample_latents(400, generator.latent_dim, 0).to(device)
    z, labels = _nearest_starts(latents, classes, starts, distances)
    z.requires_grad_(True)
    optimizer = torch.optim.Adam([z], lr=0.1)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / steps)
        in_features, in_levels = distances(z, labels)
        optimizer.zero_grad()
        (in_features + 20 * in_levels + 0.002 * z.square().sum(dim=1)).sum().backward()
        optimizer.step()
    rounded = (z.detach() * GRID).round().clamp(-127, 127)
    with torch.no_grad():
        in_features, in_levels = distances(rounded / GRID, labels)
    best = int((in_features + 20 * in_levels).argmin())
    latent = tuple(int(value) for value in rounded[best])
    return int(labels[best]), latent, float(in_features[best].sqrt())


@torch.no_grad()
def _nearest_starts(
    latents: torch.Tensor, classes: torch.Tensor, starts: int, distances: Callable
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each class the latents that come nearest to the picture, and their labels."""
    z = latents.repeat(len(classes), 1)
    labels = classes.repeat_interleave(len(latents))
    by_class = sum(distances(z, labels)).view(len(classes), -1)
    nearest = by_class.argsort(dim=1)[:, :starts]
    first = len(latents) * torch.arange(len(classes), device=latents.device)
    rows = (nearest + first[:, None]).flatten()
    return z[rows], labels[rows]
