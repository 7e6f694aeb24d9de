"""Distances between sets of images in feature space, and the discriminator's verdicts."""

from dataclasses import asdict, dataclass
from typing import Any

import torch

from fashion_gan import features
from fashion_gan.data import CLASSES, Split


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


def _neighbour_radius(features: torch.Tensor, k: int, chunk: int) -> torch.Tensor:
    """Distance of each row to its k-th nearest other row, (N,)."""
    radii = [torch.cdist(part, features).kthvalue(k + 1, dim=1).values for part in features.split(chunk)]
    return torch.cat(radii)


def precision_recall(real: torch.Tensor, fake: torch.Tensor, k: int = 5, chunk: int = 1000) -> tuple[float, float]:
    """Share of fakes inside the real manifold, share of reals inside the fake one (Kynkäänniemi et al. 2019). Features
    (N, d) and (M, d). A manifold is the union of balls that reach to each point's k-th nearest neighbour. Worked in
    chunks: 10,000 x 10,000 distances never stand in memory at once."""

    def inside(points: torch.Tensor, manifold: torch.Tensor) -> float:
        radius = _neighbour_radius(manifold, k, chunk)
        hits = [(torch.cdist(part, manifold) <= radius).any(dim=1) for part in points.split(chunk)]
        return torch.cat(hits).double().mean().item()

    return inside(fake, real), inside(real, fake)


def nearest(queries: torch.Tensor, references: torch.Tensor, chunk: int = 1000) -> tuple[torch.Tensor, torch.Tensor]:
    """For each row of (N, d) the distance to, and the index of, the nearest row of (M, d): both (N,)."""
    found = [torch.cdist(part, references).min(dim=1) for part in queries.split(chunk)]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])


def _accuracy_by_class(seen: torch.Tensor, labels: torch.Tensor) -> list[float]:
    return [(seen[labels == c] == c).double().mean().nan_to_num().item() for c in range(len(CLASSES))]


def score(images: torch.Tensor, labels: torch.Tensor | None, validation: Split, test: Split, role: str = "judge") -> dict[str, Any]:
    """Score images uint8 (N, 1, 28, 28), with the labels they were asked for if any, against the test split. Beside each
    figure stands real images' own (validation against test, the same count); `measure` names the feature network and the
    count: scores compare only where it is equal."""
    network, n = features.load(role), len(images)
    real, seen_real = features.extract(network, test.images[:n])
    fresh, _ = features.extract(network, validation.images[:n])
    fake, seen = features.extract(network, images)
    precision, recall = precision_recall(real, fake)
    real_precision, real_recall = precision_recall(real, fresh)
    return {
        "measure": f"frechet-{features.identity(role)}-{n}",
        "samples": n,
        "distance": frechet_distance(real, fake),
        "floor": frechet_distance(real, fresh),
        "precision": precision,
        "recall": recall,
        "real_precision": real_precision,
        "real_recall": real_recall,
        "label_accuracy": None if labels is None else (seen == labels).double().mean().item(),
        "real_label_accuracy": (seen_real == test.labels[:n]).double().mean().item(),
        "class_accuracy": None if labels is None else _accuracy_by_class(seen, labels),
        "real_class_accuracy": _accuracy_by_class(seen_real, test.labels[:n]),
        "class_share": (torch.bincount(seen, minlength=len(CLASSES)).double() / n).tolist(),
    }


@torch.no_grad()
def judge_logits(discriminator: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, chunk: int = 500) -> torch.Tensor:
    """The discriminator's logits (N,), on CPU, of images (N, 1, 28, 28) in -1..1 and their labels (N,)."""
    parts = zip(images.split(chunk), labels.split(chunk), strict=True)
    return torch.cat([discriminator(x, y).cpu() for x, y in parts])


@dataclass(frozen=True)
class Verdicts:
    """How a discriminator judged images: `counts` in rows real, fake, columns judged real, judged fake. A logit over
    `threshold` is the verdict "real"."""

    threshold: float
    counts: list[list[int]]

    @property
    def count(self) -> int:
        return sum(map(sum, self.counts))

    @property
    def accuracy(self) -> float:
        """Share of right verdicts, 0..1. A generator that fools the discriminator fully brings it to 0.5."""
        return (self.counts[0][0] + self.counts[1][1]) / self.count

    def percent(self) -> list[list[float]]:
        """The confusion matrix in per cent of each true class."""
        return [[100 * value / max(sum(row), 1) for value in row] for row in self.counts]

    def as_dict(self) -> dict:
        return asdict(self) | {"accuracy": self.accuracy, "confusion_percent": self.percent()}


def verdicts(real_logits: torch.Tensor, fake_logits: torch.Tensor, threshold: float = 0.0) -> Verdicts:
    """Count the verdicts on logits (N,) of real and (M,) of fake images."""
    taken = [int((logits > threshold).sum()) for logits in (real_logits, fake_logits)]
    return Verdicts(float(threshold), [[taken[0], len(real_logits) - taken[0]], [taken[1], len(fake_logits) - taken[1]]])


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
