"""What a training step costs on one GPU: by width and batch, with and without the Fréchet loss,
compiled, eigenvalues on the CPU.

    python benchmarks/gpu.py

Ratios are of turns taken side by side, as in speed.py; the rates are medians of three turns.
"""

import statistics
from pathlib import Path
from unittest import mock

import torch
from levers import turn_of
from speed import STEPS, compare, seconds

from fashion_gan.config.params import Params
from fashion_gan.config.profiles import read_profile
from fashion_gan.data.datasets import load_split
from fashion_gan.models import losses
from fashion_gan.models.losses import frechet_loss
from fashion_gan.training.device import pick_device
from fashion_gan.training.step import FrechetObjective

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


def main():
    params = read_profile(Path("params/gpu.yaml"), []).params
    split, device = load_split(Path(params.data_dir), "train"), pick_device()
    frechet = FrechetObjective(split, True, device)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    usual = finished(turn_of(params, split, frechet=frechet))
    cases = {
        "without the Fréchet loss": finished(turn_of(params, split)),
        "eigenvalues on the CPU": finished(
            turn_of(
                params,
                split,
                around=lambda: mock.patch.object(losses, "frechet_loss", on_cpu),
                frechet=frechet,
            )
        ),
    }
    for name, turn in cases.items():
        print(
            "{}: a step takes {:.2f} times as long ({:.2f} to {:.2f})".format(
                name, *compare(turn, usual)
            ),
            flush=True,
        )
    for channels, batches in (
        (32, (64, 256)),
        (64, (64, 128, 256, 512)),
        (96, (128, 256)),
        (128, (256,)),
    ):
        rates = []
        for batch_size in batches:
            turn = finished(
                turn_of(Params(channels=channels, batch_size=batch_size), split, frechet=frechet)
            )
            turn()
            rates.append(STEPS * batch_size / statistics.median(seconds(turn) for _ in range(3)))
        print(
            f"{channels} channels, batches of {batches}:"
            f" {', '.join(f'{rate:,.0f}' for rate in rates)} images/s",
            flush=True,
        )
    print(
        "compiled: a step takes {:.2f} times as long ({:.2f} to {:.2f})".format(
            *compare(finished(turn_of(params, split, compiled, frechet=frechet)), usual)
        ),
        flush=True,
    )


if __name__ == "__main__":
    main()
