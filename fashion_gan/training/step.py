"""One step of the discriminator, then one of the generator, as in Goodfellow et al. 2014, and what
goes with it: the Fréchet objective, the moving average, the learning rates."""

from functools import partial
from pathlib import Path

import torch

from fashion_gan.config.params import Params
from fashion_gan.data.augment import ADAPTIVE, augment
from fashion_gan.data.batches import make_transform
from fashion_gan.data.datasets import Split
from fashion_gan.distributed.collectives import all_reduce_mean, shard
from fashion_gan.metrics.distances import symmetric_root
from fashion_gan.models.feature_network import (
    FEATURE_COUNT,
    HALFWAY_COUNT,
    TOTAL_VARIANCE,
    WEIGHTS,
    load_feature_network,
)
from fashion_gan.models.latents import class_shares, sample_inputs
from fashion_gan.models.losses import LOSSES, balance_gradients, frechet_loss, gradient_penalty
from fashion_gan.training.state import Batch, RunningMoments, TrainingState, class_codes


class FrechetObjective:
    """The Fréchet loss through the frozen `train` network (never `dev`, never `judge`): on its
    features, on channel means of a layer halfway, and, where the generator is conditional, on the
    label beside them, so that image and class must go together as they do in real images (the
    joint distance of DeVries et al. 2019)."""

    def __init__(
        self, train: Split, conditional: bool, device: torch.device, folder: Path = WEIGHTS
    ):
        self.network = load_feature_network("train", str(device), folder)
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
        self.mean = mean.float().to(device)
        self.root = symmetric_root(torch.cov(features.T, aweights=weights)).float().to(device)

    @torch.no_grad()
    def _embed_split(self, split: Split, device: torch.device) -> torch.Tensor:
        transform = make_transform()
        parts = []
        for images, labels in zip(split.images.split(1000), split.labels.split(1000), strict=True):
            parts.append(self.embed(transform(images.to(device)), labels.to(device)))
        return torch.cat(parts).double().cpu()

    def embed(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Images (N, C, H, W) and their classes (N,) to (N, width)."""
        features, halfway = self.network.features_and_halfway(images)
        parts = [features, self.halfway_scale * halfway]
        if self.codes is not None:
            parts.append(self.codes[labels])
        return torch.cat(parts, dim=1)

    def gradient(
        self, fake: torch.Tensor, labels: torch.Tensor, moments: RunningMoments
    ) -> torch.Tensor:
        """The loss's gradient (N, C, H, W) at fakes of these labels; `moments` take them in."""
        mean, cov = moments.update(self.embed(fake, labels))
        loss = frechet_loss(mean, cov, self.mean, self.root)
        return torch.autograd.grad(loss, fake)[0]


def discriminator_loss(
    state: TrainingState, real: Batch, fake: Batch, params: Params
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The adversarial loss with the gradient penalties that are due, and for the record: the
    adversarial loss alone, and the shares of right verdicts on real and on fake."""
    D = state.ddp_discriminator
    loss_d, _ = LOSSES[params.loss]
    # penalties are taken every `interval` batches, and weigh as much as that many
    interval = params.penalty_interval
    due = interval if state.position.batch % interval == 0 else 0
    r1 = due * params.r1
    r2 = due * params.r2
    for images, _ in (real, fake):
        images.requires_grad_(bool(r1 or r2))
    real_logits = D(*real)
    fake_logits = D(*fake)
    loss = adversarial = loss_d(real_logits, fake_logits)
    if r1:
        loss = loss + r1 * gradient_penalty(real_logits, real[0])
    if r2:
        loss = loss + r2 * gradient_penalty(fake_logits, fake[0])
    right_real = (real_logits > 0).float().mean()
    right_fake = (fake_logits <= 0).float().mean()
    return loss, [adversarial.detach(), right_real, right_fake]


def step(
    state: TrainingState,
    real: torch.Tensor,
    labels: torch.Tensor,
    params: Params,
    frechet: FrechetObjective | None,
) -> None:
    """One step of D, then one of G, on a batch of real images (N, C, H, W) and labels (N,)."""
    rng = state.rng
    z, fake_labels = sample_inputs(len(real), state.generator, rng, state.device)
    z, fake_labels, real, labels = map(shard, (z, fake_labels, real, labels))
    fake = state.ddp_generator(z, fake_labels)

    # the discriminator: tell real from fake
    probability = state.augment_probability.value
    changed = partial(augment, policy=params.augment, generator=rng, probability=probability)
    real_aug = changed(real)
    fake_aug = changed(fake.detach())
    loss, record_d = discriminator_loss(state, (real_aug, labels), (fake_aug, fake_labels), params)
    state.optimizer_d.zero_grad()
    loss.backward()
    state.optimizer_d.step()

    # the generator: be taken for real, and have the features of real images
    D = state.discriminator.requires_grad_(False)
    logits = D(changed(fake), fake_labels)
    real_logits = D(real_aug.detach(), labels) if params.loss == "relativistic" else None
    _, loss_g = LOSSES[params.loss]
    adversarial_g = loss_g(real_logits, logits)
    (gradient,) = torch.autograd.grad(adversarial_g, fake)
    if frechet and state.position.images >= params.frechet_start:
        frechet_gradient = frechet.gradient(fake, fake_labels, state.moments)
        gradient = balance_gradients(gradient, frechet_gradient, params.frechet_weight)
    state.optimizer_g.zero_grad()
    fake.backward(gradient)
    state.optimizer_g.step()
    D.requires_grad_(True)

    adversarial_d, right_real, right_fake = record_d
    values = [adversarial_d, adversarial_g.detach(), right_real, right_fake]
    values = all_reduce_mean(torch.stack(values))
    state.losses += values
    if params.augment == ADAPTIVE:
        # counted over all epochs: these need not hold a multiple of its interval
        batch = state.position.images // params.batch_size
        state.augment_probability.update(values[2], batch, params.batch_size)


def update_ema(state: TrainingState, params: Params) -> None:
    """Move the averaged generator towards the running one. The half-life is at most 5 % of the
    images seen: a ramp that soon forgets the first, bad generators (StyleGAN2-ADA, 2020)."""
    half_life = min(params.ema_half_life, 0.05 * state.position.images)
    decay = 0.5 ** (params.batch_size / half_life) if half_life > 0 else 0.0
    average = list(state.ema_generator.parameters())
    torch._foreach_lerp_(average, list(state.generator.parameters()), 1 - decay)


def learning_rate_factor(images: int, params: Params) -> float:
    """1 until `lr_decay_start`, then falling linearly to 1/20 at `lr_decay_end`."""
    start, end = params.lr_decay_start, params.lr_decay_end
    if not end or images <= start:
        return 1.0
    return max(0.05, 1 - (images - start) / (end - start))
