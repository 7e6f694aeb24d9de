"""How the machine is set up for a training."""

import contextlib
import ctypes
import os

import torch


def be_deterministic(deterministic: bool, device: torch.device) -> None:
    """Where a GPU trains: whether it takes algorithms that add up in the same order each time, or
    the fastest."""
    if device.type != "cuda":
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    torch.use_deterministic_algorithms(deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic


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
