"""Random, differentiable changes of a batch: `f(batch, generator) -> batch`, one draw an image.

After DiffAugment (Zhao et al. 2020) and ADA (Karras et al. 2020): shown to the discriminator on
real and fake alike, never learned by the generator.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch.nn import functional as F

from fashion_gan.distributed import collectives

ADAPTIVE = "adaptive"  # the policy whose probability follows the training


def _integers(
    low: int, high: int, count: int, images: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """`count` integers in low..high, drawn where the generator lives, moved to where the images
    are."""
    size = (count * collectives.world_size(),)
    drawn = torch.randint(low, high + 1, size, generator=generator, device=generator.device)
    return collectives.shard(drawn).to(images.device)


def flip(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror each image (N, 1, H, W) left to right with probability 1/2."""
    chosen = _integers(0, 1, len(images), images, generator).bool()
    return torch.where(chosen[:, None, None, None], images.flip(-1), images)


def translate(images: torch.Tensor, generator: torch.Generator, reach: int = 3) -> torch.Tensor:
    """Move each image (N, C, H, W) by -reach..reach pixels in both directions; black (-1) comes in
    from the edge."""
    n, colours, height, width = images.shape
    padded = F.pad(images, (reach,) * 4, value=-1.0)
    down = _integers(0, 2 * reach, n, images, generator)[:, None, None, None]
    right = _integers(0, 2 * reach, n, images, generator)[:, None, None, None]
    index = partial(torch.arange, device=images.device)
    rows = down + index(height)[:, None]
    columns = right + index(width)
    return padded[index(n)[:, None, None, None], index(colours)[:, None, None], rows, columns]


def cutout(images: torch.Tensor, generator: torch.Generator, size: int = 14) -> torch.Tensor:
    """Blacken (-1) a square of at most size x size pixels, its centre anywhere in the image."""
    n, _, height, width = images.shape
    y = _integers(0, height - 1, n, images, generator)[:, None, None]
    x = _integers(0, width - 1, n, images, generator)[:, None, None]
    rows = torch.arange(height, device=images.device)[None, :, None]
    columns = torch.arange(width, device=images.device)[None, None, :]
    inside = ((rows - y).abs() * 2 < size) & ((columns - x).abs() * 2 < size)
    return torch.where(inside.unsqueeze(1), -1.0, images)


def _drawn(
    draw: Callable, shape: tuple[int, ...], images: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """What torch.rand or torch.randn gives, (N, ...), moved to where the images are."""
    count = shape[0] * collectives.world_size()
    drawn = draw(count, *shape[1:], generator=generator, device=generator.device)
    return collectives.shard(drawn).to(images.device)


def adaptive(
    images: torch.Tensor, generator: torch.Generator, probability: torch.Tensor | float
) -> torch.Tensor:
    """Each image (N, C, H, W) mirrored, moved, scaled and turned a little, made brighter, of more
    contrast and of more colour, each with this probability (): Karras et al. 2020, appendix B,
    without the turns that make another picture of most things. As long as the probability stays
    below 1, the generator does not learn the changes (section 3)."""
    n, colours = images.shape[:2]
    chosen = _drawn(torch.rand, (n, 8), images, generator) < probability
    amounts = _drawn(torch.randn, (n, 8), images, generator) * chosen
    mirror, across, down, scale, turn, light, contrast, saturation = amounts.T
    images = _moved(images, mirror > 0, across / 8, down / 8, 0.2 * scale, turn)
    images = images * torch.exp2(0.5 * contrast)[:, None, None, None]
    images = images + 0.2 * light[:, None, None, None]
    if colours > 1:
        grey = images.mean(dim=1, keepdim=True)
        images = grey + torch.exp2(saturation)[:, None, None, None] * (images - grey)
    return images


def _moved(
    images: torch.Tensor,
    is_mirrored: torch.Tensor,
    across: torch.Tensor,
    down: torch.Tensor,
    scale: torch.Tensor,
    turn: torch.Tensor,
) -> torch.Tensor:
    """Images (N, C, H, W) moved by shares of half their sides, scaled by powers of two, turned by
    tens of degrees; what comes in from the edge is reflected."""
    size = torch.exp2(scale)
    width = torch.where(is_mirrored, -size, size)
    angle = math.radians(10) * turn
    cosine, sine = angle.cos(), angle.sin()
    top = torch.stack([width * cosine, -size * sine, across], dim=1)
    bottom = torch.stack([width * sine, size * cosine, down], dim=1)
    matrix = torch.stack([top, bottom], dim=1)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


AUGMENTATIONS = {
    "none": (),
    "flip": (flip,),
    "translate": (translate,),
    "translate+cutout": (translate, cutout),
}


def augment(
    images: torch.Tensor,
    policy: str,
    generator: torch.Generator,
    probability: torch.Tensor | float = 0.0,
) -> torch.Tensor:
    """Apply a policy of AUGMENTATIONS to a batch in -1..1; `probability`: of each change of the
    adaptive one."""
    if policy == ADAPTIVE:
        return adaptive(images, generator, probability)
    for change in AUGMENTATIONS[policy]:
        images = change(images, generator)
    return images
