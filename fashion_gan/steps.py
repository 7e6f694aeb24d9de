"""One training step: the discriminator's, the generator's, the moving average."""

from __future__ import annotations

import torch

from fashion_gan import data, features, metrics, objectives
from fashion_gan.augment import augment
from fashion_gan.params import Params
from fashion_gan.state import FakeMoments, TrainingState, draw_latents


def step(state: TrainingState, real: torch.Tensor, labels: torch.Tensor, params: Params, frechet: FrechetObjective | None) -> None:
    """One step of the discriminator, then one of the generator, on one batch of real images (N, 1, 28, 28)."""
    G, D, random = state.generator, state.discriminator, state.random
    loss_d, loss_g = objectives.LOSSES[params.loss]
    z, asked = draw_latents(len(real), params, random, state.device)
    fake = G(z, asked)

    penalised = (params.r1 or params.r2) and state.position.batch % params.penalty_every == 0
    shown = augment(real, params.augment, random).requires_grad_(bool(penalised))
    made = augment(fake.detach(), params.augment, random).requires_grad_(bool(penalised))
    real_logits, fake_logits = D(shown, labels), D(made, asked)
    d = total = loss_d(real_logits, fake_logits)
    if penalised:
        total = d + params.penalty_every * penalty(real_logits, shown, fake_logits, made, params)
    state.optimizer_d.zero_grad(set_to_none=True)
    total.backward()
    state.optimizer_d.step()

    D.requires_grad_(False)
    logits = D(augment(fake, params.augment, random), asked)
    paired = D(shown.detach(), labels) if params.loss == "relativistic" else None
    g = loss_g(paired, logits)
    (gradient,) = torch.autograd.grad(g, fake)
    if frechet and state.position.images >= params.feature_from:
        gradient = objectives.blend(gradient, frechet.gradient(fake, state.moments), params.feature_loss)
    state.optimizer_g.zero_grad(set_to_none=True)
    fake.backward(gradient)
    state.optimizer_g.step()
    D.requires_grad_(True)

    right = [(real_logits > 0).float().mean(), (fake_logits <= 0).float().mean()]
    state.losses += torch.stack([d.detach(), g.detach(), *right])


def penalty(real_logits, shown, fake_logits, made, params: Params) -> torch.Tensor:
    """R1 on the real images and R2 on the fakes, weighted."""
    total = torch.zeros((), device=shown.device)
    if params.r1:
        total = total + params.r1 * objectives.gradient_penalty(real_logits, shown)
    if params.r2:
        total = total + params.r2 * objectives.gradient_penalty(fake_logits, made)
    return total


class FrechetObjective:
    """The Fréchet loss through the frozen `train` network (never `dev`, never `judge`)."""

    def __init__(self, train: data.Split, device: torch.device):
        self.network = features.load("train", str(device))
        hidden, _ = features.extract(self.network, train.images)
        self.mean = hidden.mean(dim=0).float().to(device)
        self.root = metrics.symmetric_root(torch.cov(hidden.T)).float().to(device)

    def gradient(self, fake: torch.Tensor, moments: FakeMoments) -> torch.Tensor:
        mean, cov = moments.update(self.network.features(fake))
        return torch.autograd.grad(objectives.frechet_loss(mean, cov, self.mean, self.root), fake)[0]


def average(state: TrainingState, params: Params) -> None:
    """Move the averaged generator towards the running one. The half-life is at most 5 % of the images seen.

    The ramp lets go of the first, bad generators early (Karras et al. 2020, StyleGAN2-ADA's training loop).
    """
    half_life = min(params.ema_half_life, 0.05 * state.position.images)
    keep = 0.5 ** (params.batch_size / half_life) if half_life > 0 else 0.0
    torch._foreach_lerp_(list(state.averaged.parameters()), list(state.generator.parameters()), 1 - keep)


def learning_rate_factor(images: int, params: Params) -> float:
    """1 until `decay_from`, then falling linearly to 1/20 at `decay_to`."""
    if not params.decay_to or images <= params.decay_from:
        return 1.0
    return max(0.05, 1 - (images - params.decay_from) / (params.decay_to - params.decay_from))
