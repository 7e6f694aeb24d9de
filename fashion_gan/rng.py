"""Random numbers of a training: named streams that follow from its one seed."""

import numpy as np
import torch

# Distances from the seed. They are small, and streams of neighbouring seeds are the same; other
# ones would change every figure that is published.
STREAMS = {"batch norm": 1, "validation": 2}


def rng(seed: int, stream: str) -> torch.Generator:
    """A generator of STREAMS, at its beginning. On the CPU: the same draws whatever the device."""
    return torch.Generator().manual_seed(seed + STREAMS[stream])


def epoch_rng(seed: int, epoch: int) -> torch.Generator:
    """The generator of an epoch's order of images."""
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)


def block_rng(seed: int, epoch: int, block: int) -> torch.Generator:
    """The generator of what a block of an epoch's steps draws. PyTorch takes 32 bits of a seed."""
    mixed = np.random.SeedSequence([seed, epoch, block]).generate_state(1)
    return torch.Generator().manual_seed(int(mixed[0]))
