"""Where to compute."""

import contextlib
from collections.abc import Iterator

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


def measuring_device(name: str = "auto") -> torch.device:
    """As pick_device, but never MPS: figures are taken in float64."""
    device = pick_device(name)
    return torch.device("cpu") if device.type == "mps" else device


def is_room_for(count: int, device: torch.device) -> bool:
    """Whether so many bytes take at most half of a GPU's free memory."""
    free, _ = torch.cuda.mem_get_info(device)
    return count <= free / 2


def wait_for(device: torch.device) -> None:
    """Until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Within it, a GPU convolves in float32 as the CPU does, not in TF32: images and figures do not
    depend on where they are made, but for their last bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
