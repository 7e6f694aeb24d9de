"""What a training step costs on one GPU: by width and batch, with and without the Fréchet loss,
compiled, eigenvalues on the CPU.

    python benchmarks/gpu.py

Ratios are of turns taken side by side, as in speed.py; the rates are medians of three turns.
"""

import statistics
from pathlib import Path
from unittest import mock

import torch
from levers import show_ratio, turn_of
from speed import STEPS, seconds

from fashion_gan.config.params import Params
from fashion_gan.config.profiles import read_profile
from fashion_gan.data.datasets import load_split
from fashion_gan.models import losses
from fashion_gan.models.losses import frechet_loss
from fashion_gan.training.device import pick_device
from fashion_gan.training.step import FrechetObjective

BATCHES = {32: (64, 256), 64: (64, 128, 256, 512), 96: (128, 256), 128: (256,)}  # by channels
plain_loss = frechet_loss


def on_cpu(mean, cov, real_mean, real_root):
    return plain_loss(mean.cpu(), cov.cpu(), real_mean.cpu(), real_root.cpu())


def compiled(state):
    state.ddp_generator = torch.compile(state.generator)
    state.discriminator = state.ddp_discriminator = torch.compile(state.discriminator)


def finished(turn):
    """A turn that ends when the GPU has done its part."""

    def whole():
        turn()
        torch.cuda.synchronize()

    return whole


def rate_of(params, split, frechet):
    """Images a second, the median of three turns; the first one warms up."""
    turn = finished(turn_of(params, split, frechet=frechet))
    turn()
    return STEPS * params.batch_size / statistics.median(seconds(turn) for _ in range(3))


def main():
    params = read_profile(Path("params/gpu.yaml"), []).params
    split = load_split(Path(params.data_dir), "train")
    frechet = FrechetObjective(split, True, pick_device())
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")

    def patched():
        return mock.patch.object(losses, "frechet_loss", on_cpu)

    usual = finished(turn_of(params, split, frechet=frechet))
    on_the_cpu = finished(turn_of(params, split, around=patched, frechet=frechet))
    show_ratio("without the Fréchet loss", finished(turn_of(params, split)), usual)
    show_ratio("eigenvalues on the CPU", on_the_cpu, usual)
    for channels, sizes in BATCHES.items():
        cases = [Params(channels=channels, batch_size=size) for size in sizes]
        rates = ", ".join(f"{rate_of(case, split, frechet):,.0f}" for case in cases)
        print(f"{channels} channels, batches of {sizes}: {rates} images/s", flush=True)
    show_ratio("compiled", finished(turn_of(params, split, compiled, frechet=frechet)), usual)


if __name__ == "__main__":
    main()
