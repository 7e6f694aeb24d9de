"""Nearest neighbours, in feature space and in grey levels."""

import itertools

import torch
from torch.nn import functional as F


def knn(
    queries: torch.Tensor,
    references: torch.Tensor,
    count: int = 1,
    chunk: int = 500,
    block: int = 20_000,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The `count` nearest of (M, d) for each row of (N, d): distances and indices, both (N, count).

    Euclidean distances, nearest first; `chunk` queries against `block` references at once, since
    `cdist` copies both.
    """
    distances, indices = [], []
    for part in queries.split(chunk):
        values = []
        rows = []
        for number, candidates in enumerate(references.split(block)):
            distance = torch.cdist(part, candidates)
            nearest = distance.topk(min(count, len(candidates)), largest=False)
            values.append(nearest.values)
            rows.append(nearest.indices + number * block)
        best, order = torch.cat(values, dim=1).topk(count, largest=False)
        distances.append(best)
        indices.append(torch.cat(rows, dim=1).gather(1, order))
    return torch.cat(distances), torch.cat(indices)


def centred_thumbnails(images: torch.Tensor) -> torch.Tensor:
    """Images uint8 (N, C, H, W) as rows of floats (N, d), by which copies are looked for.

    Each is moved so that the middle of what is bright is the middle of the image, then shrunk to a
    quarter of its sides, to an eighth where they are over 32.
    """
    height, width = images.shape[2:]
    bright = (images > 64).float().mean(dim=1, keepdim=True) + 1e-6
    weights = bright / bright.sum(dim=(1, 2, 3), keepdim=True)
    across = _offset(weights.sum(dim=2), width)
    down = _offset(weights.sum(dim=3), height)
    identity = torch.eye(2, device=images.device).expand(len(images), 2, 2)
    maps = torch.cat([identity, torch.stack([across, down], dim=1)[:, :, None]], dim=2)
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    moved = F.grid_sample(images.float(), grid, align_corners=False)
    size = 4 if max(height, width) <= 32 else 8
    return F.avg_pool2d(moved, size, ceil_mode=True).flatten(1)


def _offset(weights: torch.Tensor, side: int) -> torch.Tensor:
    """How far the mean place under weights (N, 1, side) is from the middle, in half sides (N,)."""
    columns = torch.arange(float(side), device=weights.device)
    mean = (weights.flatten(1) * columns).sum(dim=1)
    return (2 * mean - (side - 1)) / side


def nearest_images(
    images: torch.Tensor, pools: list[torch.Tensor], count: int = 12
) -> tuple[torch.Tensor, torch.Tensor]:
    """For each image (N, C, H, W) the distances to, and the indices of, its nearest ones of one or
    two pools, too large to be copied into one, both (N, 2 count): `count` as it is, `count`
    mirrored.

    Distance: root mean square of grey levels at the best of moves by up to a pixel. A copy is often
    moved or mirrored, so they are looked for among centred thumbnails: light noise and the move
    change those little. Large images are worked on in smaller parts.
    """
    size = images[0].numel()
    thumbnails = _all_thumbnails(pools, 7_840_000 // size)
    count = min(count, len(thumbnails))
    chunk = min(250, 1_250_000 // size)
    distances = []
    indices = []
    for part in images.split(chunk):
        for version in (part, part.flip(-1)):
            _, index = knn(centred_thumbnails(version), thumbnails, count)
            candidates = _picked(pools, index)
            distances.append(_moved_distances(version, candidates))
            indices.append(index)
    return _side_by_side(distances), _side_by_side(indices)


def _side_by_side(parts: list[torch.Tensor]) -> torch.Tensor:
    """Parts (n, count), of images as they are and mirrored in turn, as (N, 2 count)."""
    plain = torch.cat(parts[0::2])
    mirrored = torch.cat(parts[1::2])
    return torch.cat([plain, mirrored], dim=1)


def _all_thumbnails(pools: list[torch.Tensor], chunk: int) -> torch.Tensor:
    """The thumbnails of all pools, one after the other, made `chunk` images at a time."""
    parts = []
    for pool in pools:
        parts += pool.split(chunk)
    width = centred_thumbnails(parts[0][:1]).shape[1]
    count = sum(map(len, parts))
    rows = torch.empty(count, width, device=parts[0].device)
    # written in place: put together, they stood there twice
    for part, target in zip(parts, rows.split([*map(len, parts)]), strict=True):
        target.copy_(centred_thumbnails(part))
    return rows


def _picked(pools: list[torch.Tensor], index: torch.Tensor) -> torch.Tensor:
    """The images of the pools, one after the other, at indices (N, count): floats
    (N, count, C H W)."""
    flat = index.flatten()
    shape = pools[0].shape[1:]
    picked = pools[0].new_empty(len(flat), *shape)
    first = 0
    for pool in pools:
        row = flat - first
        is_here = (row >= 0) & (row < len(pool))
        picked[is_here] = pool[row[is_here]]
        first += len(pool)
    return picked.view(*index.shape, -1).float()


def _moved_distances(images: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """Root mean squares (N, count) between images (N, C, H, W) and their candidates
    (N, count, C H W), at the best of moves by up to a pixel."""
    height, width = images.shape[2:]
    wide = F.pad(images.float(), (1, 1, 1, 1))
    squares = candidates.square().sum(dim=2)
    best = torch.full_like(squares, torch.inf)
    for y, x in itertools.product(range(3), range(3)):
        moved = wide[:, :, y : y + height, x : x + width].flatten(1)
        products = torch.bmm(candidates, moved[:, :, None]).squeeze(2)
        norms = moved.square().sum(dim=1, keepdim=True)
        best = torch.minimum(best, squares - 2 * products + norms)
    return (best.clamp(min=0) / images[0].numel()).sqrt()
