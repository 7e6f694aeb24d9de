"""Sample a generator, interpolate between latents, truncate."""

from pathlib import Path

import numpy as np
import torch

from fashion_gan.data import CLASSES, class_index, to_uint8
from fashion_gan.errors import UserError
from fashion_gan.files import replacing
from fashion_gan.networks import Generator

MOST = 1_000_000  # images in one file: 784 MB before compression
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


def sample_to_file(where: str, count: int, seed: int, classes: str, truncation: float, out: Path) -> str:
    """`fashion-gan sample`: write `count` images to x.npz (images, labels) or x.png (a grid). Returns what was done.
    Raises UserError before anything is written."""
    from fashion_gan import model, plots

    most = 10_000 if out.suffix == ".png" else MOST
    for good, words in (
        (1 <= count <= most, f"--n is {count}; allowed: 1 to {most:,}"),
        (0 <= truncation <= 2, f"--truncation is {truncation}; allowed: 0 to 2"),
        (0 <= seed < 2**63, f"--seed is {seed}; allowed: 0 to 2^63 - 1"),
        (out.suffix in (".npz", ".png"), f"--out {out} ends in {out.suffix or 'nothing'}; allowed: .npz, .png"),
        (out.parent.is_dir(), f"--out {out}: there is no folder {out.parent}; make it first"),
    ):
        if not good:
            raise UserError(words)
    chosen = [class_index(name) for name in classes.split(",")] if classes else None
    found = model.find(where)
    if chosen and not found.generator.conditional:
        raise UserError(f"the model ({found.source}) is unconditional: it cannot be asked for a class; leave --classes out")
    labels = balanced_labels(count, chosen)
    images = sample(found.generator, count, seed, labels, truncation)
    with replacing(out) as temporary:
        if out.suffix == ".png":
            temporary.write_bytes(plots.grid(images, min(count, 10 if count <= 1000 else 50), "").png)
        else:
            named = {"labels": labels.numpy()} if found.generator.conditional else {}
            with temporary.open("wb") as stream:
                np.savez_compressed(stream, images=images.squeeze(1).numpy(), **named)
    return f"{count:,} images from {found.source} (seed {seed}) are in {out}"
