"""What a training reads of a split: in which order, in which range."""

from collections.abc import Callable

import torch

from fashion_gan.rng import epoch_rng


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
