"""Sample a generator, interpolate between latents, truncate."""

import torch

from fashion_gan.data import CLASSES, to_uint8
from fashion_gan.networks import Generator

CHUNK = 500  # images made at once; always the same, so that how many are asked for changes no bit of the first ones


def balanced_labels(count: int, classes: list[int] | None = None) -> torch.Tensor:
    """Labels (count,) that go round through `classes` (default: all ten), so each is equally often there."""
    chosen = torch.tensor(classes if classes else range(len(CLASSES)))
    return chosen[torch.arange(count) % len(chosen)]


def draw(count: int, latent_dim: int, seed: int, truncation: float = 1.0) -> torch.Tensor:
    """Latents (count, latent_dim) from N(0, truncation^2). Smaller is nearer to the mean garment: safer, less varied."""
    rows = -(-count // 16) * 16  # torch draws a tail that is no multiple of 16 anew
    return truncation * torch.randn(rows, latent_dim, generator=torch.Generator().manual_seed(seed))[:count]


@torch.no_grad()
def generate(generator: Generator, latents: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Images uint8 (N, 1, 28, 28), on CPU, of latents (N, latent_dim) and labels (N,)."""
    place = next(generator.parameters()).device
    parts = zip(latents.split(CHUNK), labels.split(CHUNK), strict=True)
    return torch.cat([to_uint8(generator(z.to(place), y.to(place))).cpu() for z, y in parts])


def sample(generator: Generator, count: int, seed: int, labels: torch.Tensor, truncation: float = 1.0) -> torch.Tensor:
    """Images uint8 (count, 1, 28, 28) of labels (count,); the same seed gives the same images."""
    return generate(generator, draw(count, generator.latent_dim, seed, truncation), labels)


def spherical(a: torch.Tensor, b: torch.Tensor, steps: int) -> torch.Tensor:
    """Latents (steps, latent_dim) from a to b (latent_dim,) along the arc (White 2016): all as likely as a and b."""
    t = torch.linspace(0, 1, steps, dtype=a.dtype)[:, None]
    cosine = (a @ b) / (a.norm() * b.norm()).clamp(min=1e-12)
    angle = torch.arccos(cosine.clamp(-1, 1))
    if angle.sin() < 1e-6:
        return a + t * (b - a)
    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / angle.sin()
