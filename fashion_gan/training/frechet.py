"""The Fréchet distance as an objective: its gradient by matrix products alone, and the frozen
networks that it is taken through."""

import math
from pathlib import Path

import torch

from fashion_gan.config.params import Params
from fashion_gan.data.batches import make_transform
from fashion_gan.data.datasets import Split, dataset_info
from fashion_gan.metrics.distances import symmetric_root
from fashion_gan.models.feature_network import (
    FEATURE_COUNT,
    HALFWAY_COUNT,
    TOTAL_VARIANCE,
    WEIGHTS,
    frechet_roles,
    load_feature_network,
)
from fashion_gan.models.latents import class_shares
from fashion_gan.training.state import RunningMoments, class_codes

# added to a matrix's eigenvalues, as a share of its norm: the covariance's are 2e7 apart, and a
# share of 1e-8 changes the gradient by 3 %
RIDGE = 1e-11
SMALLEST_NORM = 1e-2  # a covariance that vanishes is noise of float64
CLOSE = 1e-6  # how near to 1 the smallest eigenvalue is brought


def newton_schulz_scales(ridge: float = RIDGE) -> list[float]:
    """The scale of each step of Newton_Schulz that brings eigenvalues from `ridge` to 1 up to 1:
    the largest that keeps them there, of which the first treble the smallest one's root (Chen &
    Chow 2014)."""
    scales = []
    low = math.sqrt(ridge)
    while 1 - low > CLOSE:
        scale = math.sqrt(3 / (1 + low + low * low))
        scales.append(scale)
        low = scale * low * (3 - (scale * low) ** 2) / 2
    return scales


def inverse_root_by_products(matrix: torch.Tensor) -> torch.Tensor:
    """matrix^(-1/2) of a symmetric, positive semidefinite one (d, d), by coupled Newton-Schulz
    steps (Higham 2008, section 6.7): no value is read on the host, as `eigh` does on a GPU."""
    identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    norm = matrix.norm() + SMALLEST_NORM
    root = matrix / norm + RIDGE * identity
    inverse = identity
    for scale in newton_schulz_scales():
        step = torch.addmm(identity, inverse, root, beta=1.5 * scale, alpha=-0.5 * scale**3)
        root = root @ step
        inverse = step @ inverse
    return inverse / norm.sqrt()


def inverse_root_by_eigenvalues(matrix: torch.Tensor) -> torch.Tensor:
    """The same by eigenvalues: a sixth of the time where the processor does it."""
    values, vectors = torch.linalg.eigh(matrix)
    ridge = RIDGE * (matrix.norm() + SMALLEST_NORM)
    return vectors @ torch.diag((values.clamp(min=0) + ridge).rsqrt()) @ vectors.T


def frechet_gradients(
    mean: torch.Tensor, cov: torch.Tensor, real_mean: torch.Tensor, real_root: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradients of the Fréchet distance |mean - real_mean|² + tr(cov + real_root²) -
    2 tr((real_root cov real_root)^(1/2)) by `mean` (d,) and by `cov` (d, d), in float64 (Mathiasen
    & Hvilshøj 2020); `real_root` is the root of the real covariance."""
    middle = real_root @ cov @ real_root
    middle = (middle + middle.T) / 2
    inverse_root = inverse_root_by_products if middle.is_cuda else inverse_root_by_eigenvalues
    identity = torch.eye(len(cov), dtype=cov.dtype, device=cov.device)
    return 2 * (mean - real_mean), identity - real_root @ inverse_root(middle) @ real_root


def frechet_objectives(
    train: Split, params: Params, device: torch.device, folder: Path = WEIGHTS
) -> list["FrechetObjective"]:
    """The Fréchet loss through one network after the other, of which steps take turns: through one
    alone, a generator learns what that one sees, and little else. None where it has no weight."""
    if not params.frechet_weight:
        return []
    roles = frechet_roles(dataset_info(folder), params.frechet_networks)
    return [
        FrechetObjective(train, params.conditional, device, folder, role, number)
        for number, role in enumerate(roles)
    ]


class FrechetObjective:
    """The Fréchet loss through a frozen `train` network (never `dev`, never `judge`): on its
    features, on channel means of a layer halfway, and, where the generator is conditional, on the
    label beside them, so that image and class must go together as they do in real images (the
    joint distance of DeVries et al. 2019)."""

    def __init__(
        self,
        train: Split,
        conditional: bool,
        device: torch.device,
        folder: Path = WEIGHTS,
        role: str = "train",
        number: int = 0,
    ):
        self.number = number  # among several, each with moments of its own
        self.network = load_feature_network(role, str(device), folder)
        self.codes = class_codes(len(train.classes)).to(device) if conditional else None
        self.halfway_scale = 1.0
        features = self._embed_split(train, device)
        halfway = slice(FEATURE_COUNT, FEATURE_COUNT + HALFWAY_COUNT)
        # the layer halfway weighs as much as the features
        variance = features[:, halfway].var(dim=0).sum()
        self.halfway_scale = (TOTAL_VARIANCE / variance).sqrt().item()
        features[:, halfway] *= self.halfway_scale
        shares = class_shares(train.labels, len(train.classes))
        weights = None
        if conditional and not (shares == shares[0]).all():
            # as the generator is given each class equally often
            weights = (1 / shares)[train.labels]
        mean = features.mean(dim=0)
        if weights is not None:
            mean = weights @ features / weights.sum()
        moments_device = RunningMoments.device_for(device)
        self.mean = mean.to(moments_device)
        self.root = symmetric_root(torch.cov(features.T, aweights=weights)).to(moments_device)

    @torch.no_grad()
    def _embed_split(self, split: Split, device: torch.device) -> torch.Tensor:
        transform = make_transform()
        parts = []
        # as many as a processor's cache holds
        chunk = 1000 if device.type == "cuda" else 100
        for images, labels in zip(
            split.images.split(chunk), split.labels.split(chunk), strict=True
        ):
            part = self.embed(transform(images.to(device)), labels.to(device))
            parts.append(part.cpu().double())
        return torch.cat(parts)

    def embed(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Images (N, C, H, W) and their classes (N,) to (N, width)."""
        features, halfway = self.network.features_and_halfway(images)
        parts = [features, self.halfway_scale * halfway]
        if self.codes is not None:
            parts.append(self.codes[labels])
        return torch.cat(parts, dim=1)

    def gradient(
        self, fake: torch.Tensor, features: torch.Tensor, moments: RunningMoments
    ) -> torch.Tensor:
        """The loss's gradient (N, C, H, W) at fakes whose features (N, width) `embed` gave;
        `moments` take them in."""
        mean, cov = moments.update(features)
        gradients = frechet_gradients(mean.detach(), cov.detach(), self.mean, self.root)
        return torch.autograd.grad((mean, cov), fake, grad_outputs=gradients)[0]
