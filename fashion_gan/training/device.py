"""Where to train."""

import contextlib
import ctypes
import os

import torch

from fashion_gan.config.params import Params
from fashion_gan.data.augment import ADAPTIVE
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


def wait_for(device: torch.device) -> None:
    """Until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def be_deterministic(params: Params, device: torch.device) -> None:
    """Where a GPU trains: choose algorithms that add up in the same order each time, if the
    parameters say so, else the fastest. Raises UserError where there is no such algorithm."""
    if device.type != "cuda":
        return
    if params.deterministic and params.augment == ADAPTIVE:
        raise UserError(
            "deterministic with augment: adaptive is not possible on CUDA, since moved images have"
            " no such gradient there; leave one of them out"
        )
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    torch.use_deterministic_algorithms(params.deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.deterministic = params.deterministic
    torch.backends.cudnn.benchmark = not params.deterministic


def keep_freed_memory() -> None:
    """Have glibc keep what is freed. It gives large pieces back to the system and gets the same
    pages again, zeroed, in each step: up to a quarter of the time of networks this small. Nothing
    happens where the C library is another one."""
    trim_threshold, mmap_threshold, most = -1, -3, 2**30  # as malloc.h has them
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(trim_threshold, most)
        # older ones take no more than 32 MiB
        libc.mallopt(mmap_threshold, most) or libc.mallopt(mmap_threshold, 2**25)
