"""GAN losses, of logits of real and fake images (N,), and gradient penalties, all to minimise."""

import torch
from torch.nn.functional import relu, softplus

from fashion_gan.distributed.collectives import global_norm


def non_saturating_d(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """-log D(x) - log(1 - D(G(z))) (Goodfellow et al. 2014, section 3), on logits."""
    return softplus(-real).mean() + softplus(fake).mean()


def non_saturating_g(real: torch.Tensor | None, fake: torch.Tensor) -> torch.Tensor:
    """-log D(G(z)): strong gradients while D wins (Goodfellow et al. 2014, section 3)."""
    return softplus(-fake).mean()


def hinge_d(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """max(0, 1 - D(x)) + max(0, 1 + D(G(z))) (Lim & Ye 2017; Miyato et al. 2018, eq. 16)."""
    return relu(1 - real).mean() + relu(1 + fake).mean()


def hinge_g(real: torch.Tensor | None, fake: torch.Tensor) -> torch.Tensor:
    """-D(G(z)) (Miyato et al. 2018, eq. 17)."""
    return -fake.mean()


def relativistic_d(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """softplus(-(D(x) - D(G(z)))) over pairs (Jolicoeur-Martineau 2019; Huang et al. 2024, eq. 2).
    Only differences count, so a logit's sign says nothing: verdicts need a threshold chosen on
    validation."""
    return softplus(fake - real).mean()


def relativistic_g(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """The same with real and fake exchanged; needs the real logits too."""
    return softplus(real - fake).mean()


LOSSES = {
    "non-saturating": (non_saturating_d, non_saturating_g),
    "hinge": (hinge_d, hinge_g),
    "relativistic": (relativistic_d, relativistic_g),
}


def gradient_penalty(logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """E |dD/dx|^2 / 2 at `images`, which must require gradients: R1 on real, R2 on fake (Mescheder
    et al. 2018, eq. 9). Batch norm in D ties the images of a batch together; the penalty is then
    that of the batch, not of each image."""
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean() / 2


def balance_gradients(first: torch.Tensor, second: torch.Tensor, weight: float) -> torch.Tensor:
    """Two gradients at the same images, the second scaled to `weight` times the first's norm."""
    scale = weight * global_norm(first) / global_norm(second).clamp(min=1e-12)
    return first + second * scale
