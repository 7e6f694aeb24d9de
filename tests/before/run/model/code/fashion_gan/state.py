"""The training state, everything that the next step depends on, and one step of it."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import one_hot

from fashion_gan import data, features, metrics, objectives, parallel
from fashion_gan.augment import augment
from fashion_gan.errors import UserError
from fashion_gan.networks import Discriminator, Generator
from fashion_gan.params import Params


def pick_device(wanted: str = "auto") -> torch.device:
    """CUDA, else Apple's MPS, else the CPU; or the one asked for. Raises UserError where it is not there."""
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted == "auto":
        return torch.device(next(name for name, is_there in there.items() if is_there))
    if not there[wanted]:
        raise UserError(f"device {wanted} is not on this machine; say device: auto")
    return torch.device(wanted)


def draw_latents(
    count: int, network: Generator, random: torch.Generator, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents (count, latent_dim) from N(0, 1) for a network, and labels (count,), each class equally likely."""
    latents = torch.randn(count, network.latent_dim, generator=random)
    labels = torch.randint(0, network.class_count, (count,), generator=random)
    return latents.to(device), labels.to(device)


@dataclass
class Position:
    """Where the training stands, and what it has summed since the epoch began."""

    epoch: int = 0  # epochs finished
    batch: int = 0  # batches of the running epoch finished
    images: int = 0  # real images seen in all
    seconds: float = 0.0  # spent in training steps
    best: float = float("inf")  # lowest distance seen by the dev network


class FakeMoments(torch.nn.Module):
    """Running mean and covariance of the generator's features in the `train` network, for the Fréchet loss."""

    KEEP = 0.98  # of the running moments, a step; at 0.999 the loss no longer sees a collapse

    def __init__(self, width: int, device: torch.device):
        super().__init__()
        for name, shape in (("mean", (width,)), ("second", (width, width)), ("weight", ())):
            self.register_buffer(name, torch.zeros(shape, device=device))

    def update(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and covariance with this batch of features (N, d) in; they carry its gradients."""
        mean = self.KEEP * self.mean + (1 - self.KEEP) * parallel.mean(hidden.mean(dim=0))
        second = self.KEEP * self.second + parallel.mean(
            (1 - self.KEEP) * hidden.T @ hidden / len(hidden)
        )
        self.weight = self.KEEP * self.weight + (1 - self.KEEP)
        self.mean, self.second = mean.detach(), second.detach()
        mean, second = mean / self.weight, second / self.weight
        return mean, second - torch.outer(mean, mean)


class TrainingState:
    """Everything that the next step depends on. Saved and loaded whole, so a resume gives the same bits."""

    def __init__(self, params: Params, device: torch.device | None = None):
        self.device, self.about = (
            device or pick_device(params.device),
            data.about(data.place(params)),
        )
        of_data = (self.about.shape, len(self.about.classes))
        with torch.random.fork_rng(
            devices=[]
        ):  # the networks' initial weights are drawn from the global generator
            torch.manual_seed(params.seed)
            generator = Generator(
                params.latent_dim, params.channels, params.conditional, params.refine, *of_data
            )
            discriminator = Discriminator(
                params.channels, params.conditional, params.d_norm, *of_data
            )
        place = {"device": self.device, "memory_format": torch.channels_last}
        self.generator, self.discriminator = generator.to(**place), discriminator.to(**place)
        self.averaged = copy.deepcopy(self.generator).requires_grad_(False)
        self.shared_g, self.shared_d = (
            parallel.shared(network, params.sync_norm)
            for network in (self.generator, self.discriminator)
        )
        self.optimizer_g = self._adam(self.generator, params.lr_g, params)
        self.optimizer_d = self._adam(self.discriminator, params.lr_d, params)
        self.random = torch.Generator().manual_seed(
            params.seed
        )  # on CPU: the same draws whatever the device
        self.moments = FakeMoments(
            features.FEATURE_COUNT + features.HALFWAY_COUNT + params.conditional * of_data[1],
            self.device,
        )
        self.position = Position()
        self.losses = torch.zeros(
            4, device=self.device
        )  # sums of loss_d, loss_g, right on real, right on fake

    def _adam(self, network: torch.nn.Module, lr: float, params: Params) -> torch.optim.Adam:
        fused = self.device.type in ("cpu", "cuda")
        return torch.optim.Adam(network.parameters(), lr, (params.beta1, params.beta2), fused=fused)

    PARTS = ("generator", "discriminator", "averaged", "optimizer_g", "optimizer_d", "moments")

    def state_dict(self) -> dict[str, Any]:
        parts = {name: getattr(self, name).state_dict() for name in self.PARTS}
        return parts | {
            "random": self.random.get_state(),
            "losses": self.losses,
            "position": vars(self.position).copy(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in self.PARTS:
            getattr(self, name).load_state_dict(state[name])
        self.random.set_state(state["random"])
        self.losses.copy_(state["losses"])
        self.position = Position(**state["position"])


def step(
    state: TrainingState,
    real: torch.Tensor,
    labels: torch.Tensor,
    params: Params,
    frechet: "FrechetObjective | None",
) -> None:
    """One step of the discriminator, then one of the generator, on one batch of real images (N, C, H, W)."""
    G, D, random = state.shared_g, state.shared_d, state.random
    loss_d, loss_g = objectives.LOSSES[params.loss]
    z, asked, real, labels = map(
        parallel.mine,
        (*draw_latents(len(real), state.generator, random, state.device), real, labels),
    )
    fake = G(z, asked)

    penalised = (params.r1 or params.r2) and state.position.batch % params.penalty_every == 0
    shown = augment(real, params.augment, random).requires_grad_(bool(penalised))
    made = augment(fake.detach(), params.augment, random).requires_grad_(bool(penalised))
    real_logits, fake_logits = D(shown, labels), D(made, asked)
    d = total = loss_d(real_logits, fake_logits)
    for weight, logits, images in ((params.r1, real_logits, shown), (params.r2, fake_logits, made)):
        if penalised and weight:
            total = total + params.penalty_every * weight * objectives.gradient_penalty(
                logits, images
            )
    state.optimizer_d.zero_grad(set_to_none=True)
    total.backward()
    state.optimizer_d.step()

    D = state.discriminator.requires_grad_(False)
    logits = D(augment(fake, params.augment, random), asked)
    paired = D(shown.detach(), labels) if params.loss == "relativistic" else None
    g = loss_g(paired, logits)
    (gradient,) = torch.autograd.grad(g, fake)
    if frechet and state.position.images >= params.feature_from:
        gradient = objectives.blend(
            gradient, frechet.gradient(fake, asked, state.moments), params.feature_loss
        )
    state.optimizer_g.zero_grad(set_to_none=True)
    fake.backward(gradient)
    state.optimizer_g.step()
    D.requires_grad_(True)

    right = [(real_logits > 0).float().mean(), (fake_logits <= 0).float().mean()]
    state.losses += parallel.mean(torch.stack([d.detach(), g.detach(), *right]))


class FrechetObjective:
    """The Fréchet loss through the frozen `train` network (never `dev`, never `judge`): on its features, on channel means of
    a layer halfway, and, where the generator is conditional, on the class that was asked for beside them, so that garment
    and class must go together as they do in real images (the joint distance of DeVries et al. 2019)."""

    def __init__(
        self,
        train: data.Split,
        conditional: bool,
        device: torch.device,
        folder: Path = features.WEIGHTS,
    ):
        self.network, self.halfway_scale = features.load("train", str(device), folder), 1.0
        self.asked = conditional * len(train.classes)
        with torch.no_grad():
            parts = zip(train.images.split(1000), train.labels.split(1000), strict=True)
            seen = (
                torch.cat(
                    [self.look(data.make_transform()(x.to(device)), y.to(device)) for x, y in parts]
                )
                .double()
                .cpu()
            )
        halfway = slice(features.FEATURE_COUNT, features.FEATURE_COUNT + features.HALFWAY_COUNT)
        self.halfway_scale = (
            (features.TOTAL_VARIANCE / seen[:, halfway].var(dim=0).sum()).sqrt().item()
        )  # as much as the features
        seen[:, halfway] *= self.halfway_scale
        self.mean = seen.mean(dim=0).float().to(device)
        self.root = metrics.symmetric_root(torch.cov(seen.T)).float().to(device)

    def look(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Images (N, C, H, W) and their classes (N,) to (N, width)."""
        hidden, halfway = self.network.features_and_halfway(images)
        seen = [hidden, self.halfway_scale * halfway]
        return torch.cat(
            [*seen, one_hot(labels, self.asked).float()] if self.asked else seen, dim=1
        )

    def gradient(
        self, fake: torch.Tensor, asked: torch.Tensor, moments: FakeMoments
    ) -> torch.Tensor:
        mean, cov = moments.update(self.look(fake, asked))
        return torch.autograd.grad(objectives.frechet_loss(mean, cov, self.mean, self.root), fake)[
            0
        ]


def average(state: TrainingState, params: Params) -> None:
    """Move the averaged generator towards the running one. The half-life is at most 5 % of the images seen. The ramp
    lets go of the first, bad generators early (Karras et al. 2020, StyleGAN2-ADA's training loop)."""
    half_life = min(params.ema_half_life, 0.05 * state.position.images)
    keep = 0.5 ** (params.batch_size / half_life) if half_life > 0 else 0.0
    torch._foreach_lerp_(
        list(state.averaged.parameters()), list(state.generator.parameters()), 1 - keep
    )


def learning_rate_factor(images: int, params: Params) -> float:
    """1 until `decay_from`, then falling linearly to 1/20 at `decay_to`."""
    if not params.decay_to or images <= params.decay_from:
        return 1.0
    return max(0.05, 1 - (images - params.decay_from) / (params.decay_to - params.decay_from))
