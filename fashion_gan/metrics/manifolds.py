"""How two sets of features lie in each other: precision, recall, density, coverage."""

import torch

from fashion_gan.metrics.neighbours import knn


def radius(features: torch.Tensor, k: int = 5, chunk: int = 200) -> torch.Tensor:
    """How far it is from each of features (N, d) to its k-th nearest other one, (N,)."""
    # k + 1, since the nearest is itself
    return knn(features, features, k + 1, chunk)[0][:, k]


def prdc(
    real: torch.Tensor,
    fake: torch.Tensor,
    k: int = 5,
    chunk: int = 200,
    real_radius: torch.Tensor | None = None,
) -> dict[str, float]:
    """Precision, recall, density and coverage: how two sets of features (N, d) and (M, d) lie in
    each other.

    A set's manifold is the union of balls that reach to each point's k-th nearest neighbour.
    precision: share of fakes inside the real one; recall: share of reals inside the fake one
    (Kynkäänniemi et al. 2019). density: real balls that hold a fake, over k; coverage: share of
    real balls that hold a fake (Naeem et al. 2020). Worked in chunks: 10,000 x 10,000 distances
    never stand in memory at once. `real_radius`: the real balls', (N,), where they are known.
    """
    if real_radius is None:
        real_radius = radius(real, k, chunk)
    fake_radius = radius(fake, k, chunk)
    precise, pairs = 0, 0
    covered = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    recalled = covered.clone()
    for part, reach in zip(fake.split(chunk), fake_radius.split(chunk), strict=True):
        distance = torch.cdist(part, real)
        inside = distance <= real_radius
        precise += int(inside.any(dim=1).sum())
        pairs += int(inside.sum())
        covered |= inside.any(dim=0)
        recalled |= (distance <= reach[:, None]).any(dim=0)
    return {
        "precision": precise / len(fake),
        "recall": recalled.double().mean().item(),
        "density": pairs / (k * len(fake)),
        "coverage": covered.double().mean().item(),
    }
