"""What steps take beside the training's state: random numbers, rates. They are drawn on the CPU, a
block of steps at a time, so that every device trains on the same."""

from typing import NamedTuple

import torch

from fashion_gan.config.params import Params
from fashion_gan.data.augment import uniform_count
from fashion_gan.distributed.collectives import shard
from fashion_gan.models.latents import sample_latents
from fashion_gan.rng import block_rng
from fashion_gan.training.state import AdaptiveProbability

BLOCK = 64  # steps


class StepInputs(NamedTuple):
    """The inputs of one step; those of a block have one more dimension in front. Of several
    processes' batch, these are one's part."""

    index: torch.Tensor  # (N,) of the training images
    latents: torch.Tensor  # (N, latent_dim)
    labels: torch.Tensor  # (N,) of the fakes
    uniforms: torch.Tensor  # (3, N, width) for the changes of real, fake, and fake once more
    lr_g: torch.Tensor  # ()
    lr_d: torch.Tensor  # ()
    average_weight: torch.Tensor  # () of the running generator, in its moving average
    changes_probability: torch.Tensor  # () whether the adaptive augmentation's is to change

    def row(self, number: torch.Tensor) -> "StepInputs":
        """One step's of a block's; `number` (1,) is a tensor, since a CUDA graph reads it anew."""
        return StepInputs(*(part.index_select(0, number).squeeze(0) for part in self))

    def to(self, device: torch.device) -> "StepInputs":
        return StepInputs(*(part.to(device) for part in self))


def draw_inputs(
    params: Params,
    class_count: int,
    order: torch.Tensor,
    images: int,
    place: tuple[int, int] = (0, 0),
    stretch: float = 1.0,
) -> StepInputs:
    """The inputs of a block of steps, on the CPU, after `images` that were seen before.

    `order`: the training images in the order of the epoch. `place`: the epoch, and the number of
    the block in it. `stretch`: as many images of the schedule go by with each one.
    """
    epoch, block = place
    size = params.batch_size
    index = order[block * BLOCK * size : (block + 1) * BLOCK * size]
    steps = len(index) // size
    rng = block_rng(params.seed, epoch, block)
    latents = sample_latents(steps * size, params.latent_dim, rng).view(steps, size, -1)
    labels = torch.randint(0, class_count, (steps, size), generator=rng)
    uniforms = torch.rand(steps, 3, size, uniform_count(params.augment), generator=rng)
    before = [images + step * size for step in range(steps)]
    factors = torch.tensor([learning_rate_factor(stretch * seen, params) for seen in before])
    weights = torch.tensor([average_weight(seen + size, params) for seen in before])
    # counted over all epochs: these need not hold a multiple of the interval
    ends = [(seen // size + 1) % AdaptiveProbability.INTERVAL == 0 for seen in before]
    return StepInputs(
        shard(index[: steps * size].view(steps, size), 1),
        shard(latents, 1),
        shard(labels, 1),
        shard(uniforms, 2),
        params.lr_g * factors,
        params.lr_d * factors,
        weights,
        torch.tensor(ends),
    )


def learning_rate_factor(images: float, params: Params) -> float:
    """1 until `lr_decay_start`, then falling linearly to 1/20 at `lr_decay_end`."""
    start, end = params.lr_decay_start, params.lr_decay_end
    if not end or images <= start:
        return 1.0
    return max(0.05, 1 - (images - start) / (end - start))


def average_weight(images: int, params: Params) -> float:
    """How far the averaged generator moves towards the running one after so many images. The
    half-life is at most 5 % of them: a ramp that soon forgets the first, bad generators
    (StyleGAN2-ADA, 2020)."""
    half_life = min(params.ema_half_life, 0.05 * images)
    return 1 - 0.5 ** (params.batch_size / half_life) if half_life > 0 else 1.0
