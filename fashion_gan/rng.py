"""Random numbers of a training: named streams that follow from its one seed."""

import torch

# Distances from the seed. They are small, and streams of neighbouring seeds are the same ("batch
# norm" of seed 0 is "training" of seed 1); other ones would change every figure that is published.
STREAMS = {"training": 0, "batch norm": 1, "validation": 2}


def rng(seed: int, stream: str) -> torch.Generator:
    """A generator of STREAMS, at its beginning. On the CPU: the same draws whatever the device."""
    return torch.Generator().manual_seed(seed + STREAMS[stream])


def epoch_rng(seed: int, epoch: int) -> torch.Generator:
    """The generator of an epoch's order of images."""
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
