"""Draw latents, sample a generator, interpolate; the explorer's latents; directions."""

import math

import numpy as np
import torch
from torch import nn

from fashion_gan.data.batches import to_uint8
from fashion_gan.data.classes import spread_classes
from fashion_gan.device import full_precision
from fashion_gan.models.networks import Generator

CHUNK = 500  # images made at once; always the same, so that the count changes no bit of the first


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
    parts = zip(latents.split(CHUNK), labels.split(CHUNK), strict=True)
    with full_precision():
        made = [to_uint8(generator(z.to(device), y.to(device))).cpu() for z, y in parts]
    return torch.cat(made)


def sample_images(
    generator: Generator, count: int, seed: int, labels: torch.Tensor, truncation: float = 1.0
) -> torch.Tensor:
    """Images uint8 (count, C, H, W) of labels (count,); the same seed gives the same images."""
    latents = sample_latents(count, generator.latent_dim, seed, truncation)
    return generate_images(generator, latents, labels)


def slerp(a: torch.Tensor, b: torch.Tensor, steps: int | float) -> torch.Tensor:
    """Latents (steps, latent_dim) from a to b (latent_dim,) along the arc (White 2016): all as
    likely as a and b. `steps` may be one share of the way, 0.0 to 1.0: (1, latent_dim)."""
    if isinstance(steps, float):
        t = torch.tensor([[steps]], dtype=a.dtype)
    else:
        t = torch.linspace(0, 1, steps, dtype=a.dtype)[:, None]
    cosine = (a @ b) / (a.norm() * b.norm()).clamp(min=1e-12)
    angle = torch.arccos(cosine.clamp(-1, 1))
    if angle.sin() < 1e-6:
        return a + t * (b - a)
    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / angle.sin()


def _hash(x: np.ndarray) -> np.ndarray:
    """lowbias32, an integer hash of uint32."""
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)


def latent_from_seed(seed: int, latent_dim: int, stream: int = 0) -> np.ndarray:
    """The explorer's latent (latent_dim,) float64 of a seed, 0 to 2^32 - 1, with the same bits as
    explorer.js makes, so not those of sample_latents.

    Hashes of a counter, and as a normal number the sum of 12 halves of 16 bits (Irwin-Hall: no
    value beyond 6), which no rounding touches.
    """
    key = _hash(np.array([(seed + 0x9E3779B9) % 2**32], dtype=np.uint32))
    entries = 4096 * stream + np.arange(latent_dim, dtype=np.uint32)
    counter = 6 * entries[:, None] + np.arange(6, dtype=np.uint32)
    words = _hash(key ^ _hash(counter.astype(np.uint32)))
    halves = (words & 0xFFFF).astype(np.int64) + (words >> 16)
    return (halves.sum(axis=1) - 393210) / 65536


def batch_norm_affine(norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and shift (C,) that a batch norm in evaluation mode amounts to."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return scale, norm.bias - norm.running_mean * scale


@torch.no_grad()
def find_directions(generator: Generator, factors: int = 4, count: int = 8) -> np.ndarray:
    """Directions in the latent space, (up to `count`, latent_dim), of length 1 and at right angles.

    The first layer's strongest `factors` (closed-form factorisation, Shen & Zhou 2021), then the
    latents' side of its activations' principal components within a class (after Härkönen et al.
    2020). The largest entry is positive; rounded to float16, as the page has them.
    """
    strongest = _strongest_directions(generator)
    principal = _principal_directions(generator)
    directions: list[torch.Tensor] = []
    for v in [*strongest[:factors], *principal, *strongest[factors:]]:
        if len(directions) == count:
            break
        residual = v / v.norm() - sum((u @ v / v.norm()) * u for u in directions)
        if residual.norm() > 0.5:  # it is no repetition of the ones before
            sign = residual[residual.abs().argmax()].sign()
            directions.append(residual / residual.norm() * sign)
    return torch.stack(directions).numpy().astype(np.float16).astype(np.float32)


def _strongest_directions(generator: Generator) -> torch.Tensor:
    """Right singular vectors (latent_dim, latent_dim) of the first layer with its batch norm."""
    scale, _ = batch_norm_affine(generator.layers[0])
    scale = scale.repeat_interleave(math.prod(generator.plan))
    weight = generator.project.weight[:, : generator.latent_dim] * scale[:, None]
    return torch.linalg.svd(weight.double(), full_matrices=False).Vh


def _principal_directions(generator: Generator, samples: int = 1000) -> torch.Tensor:
    """Latents (32, latent_dim), not of length 1, that go with the principal components of the first
    layer's activations, the strongest first."""
    measured = spread_classes(generator.class_count, 50)
    classes = len(measured)
    per_class = samples // classes
    z = sample_latents(per_class * classes, generator.latent_dim, 0)
    inputs = z
    if generator.conditional:
        labels = balanced_labels(len(z), measured)
        inputs = torch.cat([z, torch.eye(generator.class_count)[labels]], dim=1)
    hidden = generator.project(inputs).view(len(z), -1, *generator.plan)
    activations = generator.layers[:2](hidden).double().view(per_class, classes, -1)
    within = (activations - activations.mean(dim=0)).flatten(0, 1)
    components = torch.linalg.eigh(within @ within.T).eigenvectors[:, -32:].flip(1)
    return components.T @ z.double()
