"""Validation after an epoch, which changes nothing of the training."""

import copy

import torch

from fashion_gan.config.params import Params
from fashion_gan.data.batches import make_transform, to_uint8
from fashion_gan.data.classes import spread_classes
from fashion_gan.data.datasets import Split, dataset_dir
from fashion_gan.metrics.distances import frechet_distance, youden_threshold
from fashion_gan.models.feature_network import extract_features, load_feature_network
from fashion_gan.models.latents import (
    CHUNK,
    balanced_labels,
    class_shares,
    proportional_labels,
    sample_inputs,
    sample_latents,
)
from fashion_gan.models.losses import LOSSES
from fashion_gan.models.networks import Generator
from fashion_gan.rng import rng
from fashion_gan.training.state import Batch, TrainingState

# networks by the metric that is taken through them: dev chooses, an objective may use train
DISTANCES = {"validation_distance": "dev", "validation_distance_train": "train"}


@torch.no_grad()
def ema_for_eval(state: TrainingState, params: Params, images: int = 2000) -> Generator:
    """The averaged generator, in evaluation mode, with batch-norm statistics of its own weights.

    The running statistics belong to other weights: averaging weights and keeping them costs quality
    (BigGAN, 2019, appendix; compare torch.optim.swa_utils.update_bn). Drawn from random numbers of
    its own, so training's bits do not change.
    """
    network = copy.deepcopy(state.ema_generator)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain mean over the batches below
    network.train()
    draws = rng(params.seed, "batch norm")
    for _ in range(max(1, images // 200)):
        network(*sample_inputs(200, network, draws, state.device))
    return network.eval()


@torch.no_grad()
def validate(
    state: TrainingState, validation: Split, reference: dict[str, torch.Tensor], params: Params
) -> tuple[dict[str, float], torch.Tensor]:
    """Metrics on validation images and fresh samples of classes that are as frequent, and a grid of
    fixed latents: a row a class, of 20 classes at most.

    `reference`: features of the validation split by the networks of DISTANCES. Where the distance
    by train falls and dev's does not, the objective is being gamed. Uses random numbers of its own.
    """
    count = min(params.val_samples, len(validation))
    generator = ema_for_eval(state, params)
    shown = spread_classes(generator.class_count)
    rows = len(shown) if len(shown) > 1 else 10
    draws = rng(params.seed, "validation")
    z = sample_latents(max(count, 10 * rows), generator.latent_dim, draws).to(state.device)
    shares = class_shares(validation.labels, generator.class_count)
    labels = proportional_labels(count, shares).to(state.device)
    fake = (_generated(generator, z[:count], labels), labels)
    metrics = _discriminator_metrics(state, validation, fake, params)
    for name, role in DISTANCES.items():
        network = load_feature_network(role, str(state.device), dataset_dir(params))
        features, _ = extract_features(network, fake[0])
        metrics[name] = frechet_distance(reference[role], features)
    by_class = torch.arange(10 * rows).view(10, rows).T.flatten()  # row c: class c
    labels = balanced_labels(10 * rows, shown)[by_class].to(state.device)
    grid = _generated(generator, z[: 10 * rows][by_class], labels)
    return metrics, to_uint8(grid.cpu())


def _generated(generator: Generator, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    chunk = CHUNK[z.device.type]
    parts = zip(z.split(chunk), labels.split(chunk), strict=True)
    return torch.cat([generator(*part) for part in parts])


def _discriminator_metrics(
    state: TrainingState, validation: Split, fake: Batch, params: Params
) -> dict[str, float]:
    """The discriminator's loss and accuracy on as many real images as fakes."""
    count = len(fake[0])
    real = make_transform()(validation.images[:count].to(state.device))
    labels = validation.labels[:count].to(state.device)
    D = state.discriminator.eval()
    real_logits, fake_logits = D(real, labels), D(*fake)
    D.train()
    threshold = 0.0
    if params.loss == "relativistic":
        threshold = youden_threshold(real_logits.cpu(), fake_logits.cpu())
    is_right = torch.cat([real_logits > threshold, fake_logits <= threshold])
    loss_d, _ = LOSSES[params.loss]
    return {
        "validation_loss_d": loss_d(real_logits, fake_logits).item(),
        "validation_accuracy": is_right.double().mean().item(),
    }
