"""Draw latents and labels, sample a generator."""

import math

import torch

from fashion_gan.data.batches import to_uint8
from fashion_gan.device import full_precision
from fashion_gan.models.networks import Generator

# images made at once, on a processor as many as its cache holds; always the same, so that the count
# changes no bit of the first
CHUNK = {"cpu": 100, "cuda": 500, "mps": 500}


def balanced_labels(count: int, classes: list[int] | range = range(10)) -> torch.Tensor:
    """Labels (count,) that go round through `classes`, so each is equally often there."""
    chosen = torch.tensor(classes)
    return chosen[torch.arange(count) % len(chosen)]


def class_shares(labels: torch.Tensor, class_count: int) -> torch.Tensor:
    """The classes' shares of labels (N,), float64 (C,): equal ones where they differ as random
    parts of equal classes do (chi-squared, which needs five of each)."""
    counts = torch.bincount(labels, minlength=class_count).double()
    expected = len(labels) / class_count
    freedom = class_count - 1
    chance = freedom + 5 * math.sqrt(2 * freedom)
    statistic = (counts - expected).square().sum() / expected
    if statistic <= chance and (expected >= 5 or not statistic):
        return torch.full_like(counts, 1 / class_count)
    return counts / counts.sum()


def proportional_labels(count: int, shares: torch.Tensor) -> torch.Tensor:
    """Labels (count,) with these shares of the classes (C,), wherever one stops; equal shares go
    round as balanced_labels."""
    # a class with a share s is due at (k + 0.5) / s; so many are due up to `count`, and some more
    counts = (shares * (count + 1)).ceil().long()
    due = [(torch.arange(n) + 0.5) / share for n, share in zip(counts, shares, strict=True) if n]
    labels = torch.arange(len(shares)).repeat_interleave(counts)
    return labels[torch.cat(due).argsort(stable=True)[:count]]


def sample_latents(
    count: int, latent_dim: int, source: int | torch.Generator, truncation: float = 1.0
) -> torch.Tensor:
    """Latents (count, latent_dim) from N(0, truncation^2): smaller is safer and less varied.

    `source`: a seed, whose first latents are the same whatever the count; or a generator, whose
    next numbers they are.
    """
    rows = count
    if not isinstance(source, torch.Generator):
        rows = -(-count // 16) * 16  # torch draws a tail that is no multiple of 16 anew
        source = torch.Generator().manual_seed(source)
    return truncation * torch.randn(rows, latent_dim, generator=source)[:count]


def sample_inputs(
    count: int, generator: Generator, rng: torch.Generator, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a training gives a generator: latents (count, latent_dim), and labels (count,), each
    class equally likely."""
    latents = sample_latents(count, generator.latent_dim, rng)
    labels = torch.randint(0, generator.class_count, (count,), generator=rng)
    return latents.to(device), labels.to(device)


@torch.no_grad()
def generate_images(
    generator: Generator, latents: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Images uint8 (N, C, H, W), on CPU, of latents (N, latent_dim) and labels (N,)."""
    device = next(generator.parameters()).device
    chunk = CHUNK[device.type]
    parts = zip(latents.split(chunk), labels.split(chunk), strict=True)
    with full_precision():
        made = [to_uint8(generator(z.to(device), y.to(device))).cpu() for z, y in parts]
    return torch.cat(made)


def sample_images(
    generator: Generator, count: int, seed: int, labels: torch.Tensor, truncation: float = 1.0
) -> torch.Tensor:
    """Images uint8 (count, C, H, W) of labels (count,); the same seed gives the same images."""
    latents = sample_latents(count, generator.latent_dim, seed, truncation)
    return generate_images(generator, latents, labels)
