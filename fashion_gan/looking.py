"""Looking at a training without touching it: the averaged generator, validation metrics, a grid of fixed latents."""

from __future__ import annotations

import copy

import torch

from fashion_gan import data, features, metrics, objectives
from fashion_gan.networks import Generator
from fashion_gan.params import Params
from fashion_gan.state import TrainingState, draw_latents


@torch.no_grad()
def averaged_generator(state: TrainingState, params: Params, images: int = 2000) -> Generator:
    """The averaged generator, in evaluation mode, with batch-norm statistics of its own weights.

    The running statistics belong to other weights: averaging weights and keeping them costs quality (BigGAN, 2019,
    appendix). Drawn from random numbers of its own, so training's bits do not change.
    """
    network = copy.deepcopy(state.averaged)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches below
    network.train()
    random = torch.Generator().manual_seed(params.seed + 1)
    for _ in range(max(1, images // 200)):
        network(*draw_latents(200, params, random, state.device))
    return network.eval()


@torch.no_grad()
def look(state: TrainingState, validation: data.Split, reference: torch.Tensor, params: Params) -> tuple[dict, torch.Tensor]:
    """Metrics on validation images and fresh samples, and a grid of fixed latents: 10 rows, a class each.

    `reference`: the dev network's features of the validation split. Uses random numbers of its own.
    """
    count = min(params.look_images, len(validation))
    network = averaged_generator(state, params)
    random = torch.Generator().manual_seed(params.seed + 2)
    z, _ = draw_latents(count, params, random, state.device)
    asked = (torch.arange(count) % len(data.CLASSES)).to(state.device)
    fake = torch.cat([network(*part) for part in zip(z.split(500), asked.split(500), strict=True)])
    real = data.make_transform()(validation.images[:count].to(state.device))
    labels = validation.labels[:count].to(state.device)
    D = state.discriminator.eval()
    real_logits, fake_logits = D(real, labels), D(fake, asked)
    D.train()
    seen = features.extract(features.load("dev", str(state.device)), fake)[0]
    judged = metrics.verdicts(real_logits, fake_logits, verdict_threshold(real_logits, fake_logits, params))
    values = {
        "validation_loss_d": objectives.LOSSES[params.loss][0](real_logits, fake_logits).item(),
        "validation_accuracy": judged.accuracy,
        "validation_distance": metrics.frechet_distance(reference, seen),
    }
    order = torch.arange(100).view(10, 10).T.flatten()  # row c: class c
    return values, data.to_uint8(fake[:100][order].cpu()).squeeze(1)


def verdict_threshold(real_logits: torch.Tensor, fake_logits: torch.Tensor, params: Params) -> float:
    """0 where the loss gives a logit's sign a meaning; else chosen on these (validation) logits."""
    return metrics.best_threshold(real_logits.cpu(), fake_logits.cpu()) if params.loss == "relativistic" else 0.0
