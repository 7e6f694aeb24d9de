"""Random, differentiable changes of a batch: `f(batch, generator) -> batch`, one draw an image.

After DiffAugment (Zhao et al. 2020): shown to the discriminator on real and fake alike, never
learned by the generator.
"""

from functools import partial

import torch
from torch.nn import functional as F

from fashion_gan.distributed import collectives


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


AUGMENTATIONS = {
    "none": (),
    "flip": (flip,),
    "translate": (translate,),
    "translate+cutout": (translate, cutout),
}


def augment(images: torch.Tensor, policy: str, generator: torch.Generator) -> torch.Tensor:
    """Apply a policy of AUGMENTATIONS to a batch in -1..1."""
    for change in AUGMENTATIONS[policy]:
        images = change(images, generator)
    return images
