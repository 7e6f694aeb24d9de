"""Random, differentiable changes of a batch, by random numbers that are given, a row an image.

After DiffAugment (Zhao et al. 2020) and ADA (Karras et al. 2020): shown to the discriminator on
real and fake alike, never learned by the generator.
"""

from functools import partial

import torch
from torch.nn import functional as F

ADAPTIVE = "adaptive"  # the policy whose probability follows the training
REACH = 3  # pixels that an image is moved by at most


def flip(images: torch.Tensor, is_flipped: torch.Tensor) -> torch.Tensor:
    """Images (N, C, H, W), those of `is_flipped` (N,) mirrored left to right."""
    return torch.where(is_flipped[:, None, None, None], images.flip(-1), images)


def translate(
    images: torch.Tensor, down: torch.Tensor, right: torch.Tensor, reach: int = REACH
) -> torch.Tensor:
    """Images (N, C, H, W), each moved by down - reach and right - reach pixels, with `down` and
    `right` (N,) of 0 to 2 reach; black (-1) comes in from the edge."""
    n, colours, height, width = images.shape
    padded = F.pad(images, (reach,) * 4, value=-1.0)
    index = partial(torch.arange, device=images.device)
    rows = down[:, None, None, None] + index(height)[:, None]
    columns = right[:, None, None, None] + index(width)
    return padded[index(n)[:, None, None, None], index(colours)[:, None, None], rows, columns]


def cutout(images: torch.Tensor, y: torch.Tensor, x: torch.Tensor, size: int = 14) -> torch.Tensor:
    """Images (N, C, H, W), in each a square of at most size x size pixels around y, x (N,) black
    (-1)."""
    rows = torch.arange(images.shape[2], device=images.device)[:, None]
    columns = torch.arange(images.shape[3], device=images.device)
    near_y = (rows - y[:, None, None]).abs() * 2 < size
    near_x = (columns - x[:, None, None]).abs() * 2 < size
    return torch.where((near_y & near_x).unsqueeze(1), -1.0, images)


def _flip(images: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    return flip(images, uniforms[:, 0] < 0.5)


def _translate(images: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    return translate(images, *_integers(uniforms, 2 * REACH + 1, 2 * REACH + 1))


def _cutout(images: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    return cutout(images, *_integers(uniforms, *images.shape[2:]))


def _integers(uniforms: torch.Tensor, *counts: int) -> list[torch.Tensor]:
    """Columns (N,) of uniform numbers (N, k) as integers from 0 below each count."""
    columns = uniforms.unbind(dim=1)
    return [(column * n).long() for column, n in zip(columns, counts, strict=True)]


# by policy: each change with how many uniform numbers an image it takes
AUGMENTATIONS = {
    "none": (),
    "flip": ((_flip, 1),),
    "translate": ((_translate, 2),),
    "translate+cutout": ((_translate, 2), (_cutout, 2)),
}


def uniform_count(policy: str) -> int:
    """How many uniform numbers from 0 below 1 a policy takes for an image."""
    return 16 if policy == ADAPTIVE else sum(count for _, count in AUGMENTATIONS[policy])


def augment(
    images: torch.Tensor,
    policy: str,
    uniforms: torch.Tensor,
    probability: torch.Tensor | float = 0.0,
) -> torch.Tensor:
    """Apply a policy of AUGMENTATIONS to a batch in -1..1, by uniform numbers (N, uniform_count);
    `probability`: of each change of the adaptive one."""
    if policy == ADAPTIVE:
        from fashion_gan.data.adaptive import change

        return change(images, uniforms, probability)
    first = 0
    for function, count in AUGMENTATIONS[policy]:
        images = function(images, uniforms[:, first : first + count])
        first += count
    return images
