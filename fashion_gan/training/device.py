"""Where to train."""

import torch

from fashion_gan.errors import UserError


def pick_device(wanted: str = "auto") -> torch.device:
    """CUDA, else Apple's MPS, else the CPU; or the one asked for. Raises UserError where it is not
    there."""
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
