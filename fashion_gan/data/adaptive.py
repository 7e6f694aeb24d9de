"""The changes of the adaptive augmentation."""

import math

import torch
from torch.nn import functional as F


def change(
    images: torch.Tensor, uniforms: torch.Tensor, probability: torch.Tensor | float
) -> torch.Tensor:
    """Each image (N, C, H, W) mirrored, moved, scaled and turned a little, made brighter, of more
    contrast and of more colour, each with this probability (): Karras et al. 2020, appendix B,
    without the turns that make another picture of most things. As long as the probability stays
    below 1, the generator does not learn the changes (section 3). `uniforms` (N, 16): eight
    choices, eight amounts."""
    colours = images.shape[1]
    # as normal numbers; 0 would be minus infinity
    normals = math.sqrt(2) * torch.erfinv(2 * uniforms[:, 8:].clamp(min=2**-25) - 1)
    amounts = normals * (uniforms[:, :8] < probability)
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
