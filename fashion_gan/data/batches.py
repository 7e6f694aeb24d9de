"""Batches of a split: their order, their range."""

from collections.abc import Callable, Iterator

import numpy as np
import torch

from fashion_gan.data.datasets import Split
from fashion_gan.rng import epoch_rng


def channels_first(images: np.ndarray) -> torch.Tensor:
    """Images (N, H, W), (N, H, W, C) or (N, C, H, W), of 1 or 3 colours and more pixels -> (N, C,
    H, W)."""
    from fashion_gan.data import formats  # no training reads files

    tensor = torch.from_numpy(formats.channels_first(images))
    # PyTorch takes another path, to other last bits, by strides alone
    return tensor.clone(memory_format=torch.contiguous_format)


def make_transform() -> Callable:
    """What is the same for every image: uint8 0..255 -> float32 -1..1, the range of the generator's
    tanh. From torchvision.transforms.v2. Its *random* transforms draw once for a whole batch and
    from the global generator, so whatever is random is in `augment`."""
    from torchvision.transforms import v2

    # v2.Normalize copies its numbers to a GPU each time, which a CUDA graph does not allow
    return v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Lambda(_centred)])


def _centred(images: torch.Tensor) -> torch.Tensor:
    return 2 * images - 1


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """Float -1..1 of any shape -> uint8 0..255, rounded."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def epoch_order(size: int, seed: int, epoch: int) -> torch.Tensor:
    """The order of an epoch's images: a permutation that depends on (seed, epoch) alone, so a
    resume finds it again."""
    return torch.randperm(size, generator=epoch_rng(seed, epoch))


def batches(
    split: Split,
    batch_size: int,
    seed: int,
    epoch: int,
    start: int = 0,
    device: str | torch.device = "cpu",
) -> Iterator:
    """Batches `start`, start + 1, ... of an epoch: images float32 (B, C, H, W) in -1..1 and labels
    (B,). A last batch that is not full is left out. Everything is by index from memory: no workers,
    no copies of the set."""
    transform = make_transform()
    order = epoch_order(len(split), seed, epoch)
    for i in range(start, len(split) // batch_size):
        index = order[i * batch_size : (i + 1) * batch_size]
        yield transform(split.images[index].to(device)), split.labels[index].to(device)
