"""Walks and directions in the latent space; the explorer's latents."""

import math

import numpy as np
import torch
from torch import nn

from fashion_gan.data.classes import spread_classes
from fashion_gan.models.latents import balanced_labels, sample_latents
from fashion_gan.models.networks import Generator


def slerp(a: torch.Tensor, b: torch.Tensor, steps: int | float) -> torch.Tensor:
    """Latents (steps, latent_dim) from a to b (latent_dim,) along the arc (White 2016): all as
    likely as a and b. `steps` may be one share of the way, 0.0 to 1.0: (1, latent_dim)."""
    if isinstance(steps, float):
        t = torch.tensor([[steps]], dtype=a.dtype)
    else:
        t = torch.linspace(0, 1, steps, dtype=a.dtype)[:, None]
    length = (a.norm() * b.norm()).clamp(min=1e-12)
    cosine = (a @ b) / length
    angle = torch.arccos(cosine.clamp(-1, 1))
    if angle.sin() < 1e-6:
        return a + t * (b - a)
    of_a = torch.sin((1 - t) * angle)
    of_b = torch.sin(t * angle)
    return (of_a * a + of_b * b) / angle.sin()


def _hash(x: np.ndarray) -> np.ndarray:
    """lowbias32, an integer hash of uint32."""
    x = x ^ (x >> 16)
    x = x * np.uint32(0x7FEB352D)
    x = x ^ (x >> 15)
    x = x * np.uint32(0x846CA68B)
    return x ^ (x >> 16)


def latent_from_seed(seed: int, latent_dim: int, stream: int = 0) -> np.ndarray:
    """The explorer's latent (latent_dim,) float64 of a seed, 0 to 2^32 - 1, with the same bits as
    explorer.js makes, so not those of sample_latents.

    Hashes of a counter, and as a normal number the sum of 12 halves of 16 bits (Irwin-Hall: no
    value beyond 6), which no rounding touches.
    """
    start = (seed + 0x9E3779B9) % 2**32
    key = _hash(np.array([start], dtype=np.uint32))
    entries = 4096 * stream + np.arange(latent_dim, dtype=np.uint32)
    counter = 6 * entries[:, None] + np.arange(6, dtype=np.uint32)
    words = _hash(key ^ _hash(counter.astype(np.uint32)))
    low = (words & 0xFFFF).astype(np.int64)
    high = words >> 16
    sums = (low + high).sum(axis=1)
    return (sums - 393210) / 65536


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
        length = v.norm()
        residual = v / length - sum((u @ v / length) * u for u in directions)
        if residual.norm() > 0.5:  # it is no repetition of the ones before
            sign = residual[residual.abs().argmax()].sign()
            directions.append(residual / residual.norm() * sign)
    return torch.stack(directions).numpy().astype(np.float16).astype(np.float32)


def _strongest_directions(generator: Generator) -> torch.Tensor:
    """Right singular vectors (latent_dim, latent_dim) of the first layer with its batch norm."""
    scale, _ = batch_norm_affine(generator.layers[0])
    pixels = math.prod(generator.plan)
    scale = scale.repeat_interleave(pixels)
    weight = generator.project.weight[:, : generator.latent_dim]
    weight = weight * scale[:, None]
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
    hidden = generator.project(inputs)
    hidden = hidden.view(len(z), -1, *generator.plan)
    activations = generator.layers[:2](hidden).double()
    activations = activations.view(per_class, classes, -1)
    within = activations - activations.mean(dim=0)
    within = within.flatten(0, 1)
    vectors = torch.linalg.eigh(within @ within.T).eigenvectors
    strongest = vectors[:, -32:].flip(1)
    return strongest.T @ z.double()
