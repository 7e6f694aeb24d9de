"""Where to train."""

import torch

from fashion_gan.errors import UserError


def pick_device(name: str = "auto") -> torch.device:
    """The device of this name; auto is CUDA, else Apple's MPS, else the CPU. Raises UserError where
    the machine has none."""
    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    if name == "auto":
        return torch.device(available[0])
    if name not in available:
        raise UserError(f"device {name} is not on this machine; say device: auto")
    return torch.device(name)
