"""Distances between sets of images in feature space, and the discriminator's threshold."""

import torch

FIGURES = {  # by its name among the scores: what it is called; 1: higher is better, -1: lower
    "distance": ("Fréchet distance", -1),
    "kernel_distance": ("kernel distance", -1),
    "precision": ("precision", 1),
    "recall": ("recall", 1),
    "density": ("density", 1),
    "coverage": ("coverage", 1),
    "label_accuracy": ("label accuracy", 1),
    "unevenness": ("unevenness of classes", -1),
}


def frechet_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^1/2) of features (N, d) and (M, d), in float64.

    Heusel et al. 2017, equation 6. The root by eigenvalues of a symmetric product: stable where a
    covariance is singular.
    """
    a, b = a.double(), b.double()
    root = symmetric_root(torch.cov(a.T))
    product = root @ torch.cov(b.T) @ root
    eigenvalues = torch.linalg.eigvalsh((product + product.T) / 2)
    cross = eigenvalues.clamp(min=0).sqrt().sum()
    spread = a.var(dim=0).sum() + b.var(dim=0).sum() - 2 * cross
    shift = (a.mean(dim=0) - b.mean(dim=0)).square().sum()
    return (shift + spread).clamp(min=0).item()


def symmetric_root(matrix: torch.Tensor) -> torch.Tensor:
    """The root (d, d) of a symmetric, positive semidefinite matrix (d, d).

    Eigenvalues that rounding has made negative count as 0.
    """
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T


def wilson_interval(hits: torch.Tensor) -> list[float]:
    """The share of true values in (N,), and its 95 % interval: [share, low, high].

    Wilson 1927: unlike the normal interval it holds for shares near 0 and for few images.
    """
    n = len(hits)
    p = hits.double().mean().item()
    z = 1.96
    middle = p + z * z / (2 * n)
    variance = p * (1 - p) / n + z * z / (4 * n * n)
    reach = z * variance**0.5
    scale = 1 + z * z / n
    low = (middle - reach) / scale
    high = (middle + reach) / scale
    return [p, max(low, 0.0), max(high, 0.0)]


def youden_threshold(real_logits: torch.Tensor, fake_logits: torch.Tensor) -> float:
    """The threshold with the highest balanced accuracy (Youden 1950), of logits (N,) and (M,).

    For losses where a logit's sign says nothing. Choose it on validation, use it on test. Ties go
    to the lowest; it lies half-way between two logits.
    """
    logits, order = torch.cat([real_logits, fake_logits]).double().sort()
    is_real = (torch.arange(len(order)) < len(real_logits))[order].double()
    # with the threshold just above logit i all up to i are called fake: reals lost, fakes caught
    lost = is_real.cumsum(0) / len(real_logits)
    caught = (1 - is_real).cumsum(0) / len(fake_logits)
    i = int((caught - lost).argmax())
    above = min(i + 1, len(logits) - 1)
    return float((logits[i] + logits[above]) / 2)
