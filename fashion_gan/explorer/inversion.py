"""An own photo: made as the data is, then found in a generator's latent space."""

import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from fashion_gan.errors import UserError
from fashion_gan.models.feature_network import FeatureNetwork
from fashion_gan.models.latents import sample_latents
from fashion_gan.models.networks import IMAGE, Generator

MOST_BYTES, MOST_PIXELS = 8_000_000, 60_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
GRID = 32  # a found latent is kept in 1/32 sigma, a byte an entry, so that a code can hold it


@dataclass(frozen=True)
class Photo:
    """The steps from a photo to `image`, uint8 (H, W), or (H, W, 3) in colour: words and levels of
    each, most larger; whether it was turned to its negative; what there is to say about the
    file."""

    steps: list[tuple[str, np.ndarray]]
    negative: bool
    said: str

    @property
    def image(self) -> np.ndarray:
        return self.steps[-1][1]


def _opened(content: bytes, mode: str) -> tuple[Image.Image, str]:
    """The first picture of a file on white ground, grey (mode L) or RGB, and what there is to say
    about it. Raises UserError."""
    if not content:
        raise UserError("this file is empty; choose a picture")
    if len(content) > MOST_BYTES:
        raise UserError(
            f"this file has {len(content) / 1e6:.0f} MB; at most {MOST_BYTES / 1e6:.0f} MB are read"
        )
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        if image.width * image.height > MOST_PIXELS:
            raise Image.DecompressionBombError
        said = (
            ["It moves: its first picture is taken."]
            if getattr(image, "is_animated", False)
            else []
        )
        if image.mode == "CMYK":
            said.append(
                f"It is in printing colours (CMYK): its {'greys' if mode == 'L' else 'colours'} are"
                " about right."
            )
        image.draft(mode, (512, 512))  # a large JPEG is read at a fraction of its size
        rgba = ImageOps.contain(ImageOps.exif_transpose(image).convert("RGBA"), (512, 512))
    except Image.DecompressionBombError:  # Pillow's own limit is three times as large
        raise UserError(
            f"this picture has more than {MOST_PIXELS / 1e6:.0f} million pixels; make it smaller"
        ) from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        raise UserError(
            f"this file is no picture that can be read, or it is damaged; {', '.join(FORMATS)}"
            " can be"
        ) from None
    said += (
        ["What is transparent is taken for white ground."] if rgba.getextrema()[3][0] < 250 else []
    )
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert(
        mode
    ), " ".join(said)


def _padded(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(ImageOps.pad(image, size, color=0))


def prepare_photo(
    content: bytes, negative: bool | None = None, shape: tuple[int, int, int] = IMAGE
) -> Photo:
    """A photo's file as the data is, of this shape (C, H, W): its longer side fills the picture; a
    grey one is cut out, light on black, one in colour stays on its own ground. `negative`: it is
    dark on light; None: its border decides. Raises UserError, one sentence, for a file that is no
    picture, or shows nothing."""
    colours, height, width = shape
    words = f"{height}×{width} pixels"
    small = (width, height)
    large = tuple(112 * side // max(height, width) for side in (width, height))
    if colours > 1:
        image, said = _opened(content, "RGB")
        steps = [
            ("as it is", np.asarray(ImageOps.contain(image, (112, 112)))),
            ("fitted in, black around", _padded(image, large)),
        ]
        return Photo([*steps, (words, _padded(image, small))], False, said)
    grey, said = _opened(content, "L")
    levels = np.asarray(grey, dtype=np.float64)
    ground = float(np.median(np.concatenate([levels[0], levels[-1], levels[:, 0], levels[:, -1]])))
    negative = ground > 127 if negative is None else negative
    # what differs little from the ground is ground
    lifted = (ground - levels if negative else levels - ground) - 12
    high = float(np.quantile(lifted, 0.995))
    if high < 20:
        raise UserError(
            f"nothing in this picture is {'darker' if negative else 'lighter'} than its ground; try"
            " the other way round"
        )
    light = Image.fromarray((lifted * 255 / high).clip(0, 255).astype(np.uint8))
    cut = light.crop(light.point(lambda level: 255 * (level > 40)).getbbox())
    steps = [
        ("as it is", _padded(grey, large)),
        ("light on black", _padded(light, large)),
        ("cut out", _padded(cut, large)),
    ]
    return Photo([*steps, (words, _padded(cut, small))], negative, said)


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
    on the distance in those features and in levels (Zhu et al. 2016)."""
    x = image[None].float() / 127.5 - 1
    wanted = network.features(x)

    def apart(z: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        made = generator(z, y)
        return (network.features(made) - wanted).square().sum(dim=1), (made - x).square().mean(
            dim=(1, 2, 3)
        )

    classes = (
        network(x)[0].topk(min(2, generator.class_count)).indices.tolist()
        if generator.conditional
        else [0]
    )
    z = sample_latents(400, generator.latent_dim, 0).repeat(len(classes), 1)
    y = torch.tensor(classes).repeat_interleave(400)
    with torch.no_grad():
        first = (
            sum(apart(z, y)).view(len(classes), -1).argsort(dim=1)[:, :starts]
            + 400 * torch.arange(len(classes))[:, None]
        )
    z, y = z[first.flatten()].clone().requires_grad_(True), y[first.flatten()]
    optimiser = torch.optim.Adam([z], lr=0.1)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 0.1 * (1 - step / steps)
        seen, grey = apart(z, y)
        optimiser.zero_grad()
        (seen + 20 * grey + 0.002 * z.square().sum(dim=1)).sum().backward()
        optimiser.step()
    kept = (z.detach() * GRID).round().clamp(-127, 127)
    with torch.no_grad():
        seen, grey = apart(kept / GRID, y)
    best = int((seen + 20 * grey).argmin())
    return int(y[best]), tuple(int(v) for v in kept[best]), float(seen[best].sqrt())
