"""Distances between sets of images, in feature space and in grey levels, and the discriminator's threshold."""

import itertools

import torch
from torch.nn import functional as F


def frechet_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^1/2) of features (N, d) and (M, d), in float64. Heusel et al. 2017, eq.
    6. The root by eigenvalues of a symmetric product: stable where a covariance is singular."""
    a, b = a.double(), b.double()
    root = symmetric_root(torch.cov(a.T))
    middle = root @ torch.cov(b.T) @ root
    cross = torch.linalg.eigvalsh((middle + middle.T) / 2).clamp(min=0).sqrt().sum()
    spread = a.var(dim=0).sum() + b.var(dim=0).sum() - 2 * cross
    return ((a.mean(dim=0) - b.mean(dim=0)).square().sum() + spread).clamp(min=0).item()


def symmetric_root(matrix: torch.Tensor) -> torch.Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T


def kernel_distance(a: torch.Tensor, b: torch.Tensor, chunk: int = 1000) -> tuple[float, float]:
    """Unbiased squared maximum mean discrepancy of features (N, d) and (M, d) under the kernel (x·y / d + 1)^3, after
    Bińkowski et al. 2018, and its standard error to first order (of the two-sample U-statistic's projections). It may fall
    below 0, since its mean over draws of one distribution is 0."""

    def kernel(products: torch.Tensor) -> torch.Tensor:
        root = products / a.shape[1] + 1
        return root * root * root

    def means(
        x: torch.Tensor, y: torch.Tensor, same: bool
    ) -> torch.Tensor:  # of k(x_i, y_j) over j, without j = i
        sums = torch.cat([kernel(part @ y.T).sum(dim=1) for part in x.split(chunk)])
        return (sums - kernel(x.square().sum(dim=1)) * same) / (len(y) - same)

    a, b = a.double(), b.double()
    across_a, across_b = means(a, b, False), means(b, a, False)
    ours, theirs = means(a, a, True) - across_a, means(b, b, True) - across_b
    error = 2 * (ours.var() / len(a) + theirs.var() / len(b)).sqrt()
    return (ours.mean() + theirs.mean()).item(), error.item()


def manifolds(
    real: torch.Tensor, fake: torch.Tensor, k: int = 5, chunk: int = 1000
) -> dict[str, float]:
    """How two sets of features (N, d) and (M, d) lie in each other; a set's manifold is the union of balls that reach to each
    point's k-th nearest neighbour. precision: share of fakes inside the real one; recall: share of reals inside the fake one
    (Kynkäänniemi et al. 2019). density: real balls that hold a fake, over k; coverage: share of real balls that hold a fake
    (Naeem et al. 2020). Worked in chunks: 10,000 x 10,000 distances never stand in memory at once."""
    real_radius, fake_radius = (
        nearest(points, points, k + 1, chunk)[0][:, k] for points in (real, fake)
    )  # the nearest is itself
    precise = dense = 0
    covered, recalled = (
        torch.zeros(len(real), dtype=torch.bool, device=real.device) for _ in range(2)
    )
    for part, radius in zip(fake.split(chunk), fake_radius.split(chunk), strict=True):
        distance = torch.cdist(part, real)
        inside = distance <= real_radius
        precise, dense = precise + int(inside.any(dim=1).sum()), dense + int(inside.sum())
        covered |= inside.any(dim=0)
        recalled |= (distance <= radius[:, None]).any(dim=0)
    shares = {"precision": precise / len(fake), "recall": recalled.double().mean().item()}
    return shares | {"density": dense / (k * len(fake)), "coverage": covered.double().mean().item()}


def nearest(
    queries: torch.Tensor,
    references: torch.Tensor,
    count: int = 1,
    chunk: int = 500,
    block: int = 20_000,
) -> tuple[torch.Tensor, torch.Tensor]:
    """For each row of (N, d) the distances to, and indices of, the `count` nearest of (M, d): both (N, count). Blocks: `cdist` copies them."""
    found = []
    for part in queries.split(chunk):
        near = [
            torch.cdist(part, some).topk(min(count, len(some)), largest=False)
            for some in references.split(block)
        ]
        values, order = torch.cat([each.values for each in near], dim=1).topk(count, largest=False)
        found.append(
            (
                values,
                torch.cat([each.indices + block * i for i, each in enumerate(near)], dim=1).gather(
                    1, order
                ),
            )
        )
    return tuple(torch.cat(parts) for parts in zip(*found, strict=True))


def shrunk(images: torch.Tensor) -> torch.Tensor:
    """Images uint8 (N, C, H, W) as rows of floats: moved so that the middle of what is bright is the middle of the image, and at a quarter
    of the size, an eighth of large ones."""
    bright = (images > 64).float().mean(dim=1, keepdim=True) + 1e-6
    shares, sides = (
        bright / bright.sum(dim=(1, 2, 3), keepdim=True),
        images.shape[:1:-1],
    )  # width, height
    middles = [
        (shares.sum(dim=axis).flatten(1) * torch.arange(float(side))).sum(dim=1)
        for axis, side in zip((2, 3), sides, strict=True)
    ]
    moves = torch.stack(
        [(2 * middle - (side - 1)) / side for middle, side in zip(middles, sides, strict=True)],
        dim=1,
    )  # x, y
    maps = torch.cat([torch.eye(2).expand(len(images), 2, 2), moves[:, :, None]], dim=2)
    moved = F.grid_sample(
        images.float(), F.affine_grid(maps, list(images.shape), False), align_corners=False
    )
    return F.avg_pool2d(moved, 4 if max(sides) <= 32 else 8, ceil_mode=True).flatten(1)


def nearest_pixels(
    images: torch.Tensor, pools: list[torch.Tensor], count: int = 12
) -> tuple[torch.Tensor, torch.Tensor]:
    """For each image (N, C, H, W) the distances to, and the indices of, its nearest ones of one or two pools, too large to be copied into one,
    both (N, 2 count): `count` as it is, `count` mirrored. Distance: root mean square of grey levels at the best of moves by up to a pixel.
    A copy is often moved or mirrored, so they are looked for among shrunk images: light noise and the move change those little."""
    found, (height, width), first, each = [], images.shape[2:], len(pools[0]), images[0].numel()
    parts = [part for pool in pools for part in pool.split(7_840_000 // each)]
    coarse = torch.empty(sum(map(len, parts)), shrunk(images[:1]).shape[1])
    for part, rows in zip(
        parts, coarse.split([*map(len, parts)]), strict=True
    ):  # written in place: put together, they stood there twice
        rows.copy_(shrunk(part))
    for part in (
        part for some in images.split(min(250, 1_250_000 // each)) for part in (some, some.flip(-1))
    ):
        index = nearest(shrunk(part), coarse, min(count, len(coarse)))[1]
        there = torch.stack(
            [pools[i >= first][i - first * (i >= first)] for i in index.flatten().tolist()]
        )
        there, wide = there.view(*index.shape, -1).float(), F.pad(part.float(), (1, 1, 1, 1))
        best, squares = torch.full(index.shape, torch.inf), there.square().sum(dim=2)
        for y, x in itertools.product(range(3), range(3)):
            moved = wide[:, :, y : y + height, x : x + width].flatten(1)[:, :, None]
            best = torch.minimum(
                best, squares - 2 * torch.bmm(there, moved).squeeze(2) + moved.square().sum(dim=1)
            )
        found.append(torch.stack([(best.clamp(min=0) / each).sqrt(), index.float()]))
    plain, mirrored = torch.cat(found[::2], dim=1), torch.cat(found[1::2], dim=1)
    distance, index = torch.cat([plain, mirrored], dim=2)
    return distance, index.long()


def share(hits: torch.Tensor) -> list[float]:
    """The share of true values in (N,), and its 95 % interval (Wilson 1927)."""
    n, p, z = len(hits), hits.double().mean().item(), 1.96
    middle, reach = p + z * z / (2 * n), z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    return [p, *(max((middle + sign * reach) / (1 + z * z / n), 0.0) for sign in (-1, 1))]


def best_threshold(real_logits: torch.Tensor, fake_logits: torch.Tensor) -> float:
    """The threshold with the highest balanced accuracy, for losses where a logit's sign says nothing. Choose it on
    validation, use it on test. Ties go to the lowest; it lies half-way between two logits."""
    logits, order = torch.cat([real_logits, fake_logits]).double().sort()
    is_real = (torch.arange(len(order)) < len(real_logits))[order].double()
    # With the threshold just above logit i: reals up to i are called fake, fakes up to i are called fake.
    lost = is_real.cumsum(0) / len(real_logits)
    caught = (1 - is_real).cumsum(0) / len(fake_logits)
    i = int((caught - lost).argmax())
    return float((logits[i] + logits[min(i + 1, len(logits) - 1)]) / 2)
