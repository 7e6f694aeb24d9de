"""What each lever of speed is worth: a training step without it over the step as it is, in turns (A
B A B ...), medians; how the cost of a step grows with batch and width; seconds to draw and to
measure 10,000 images.

    python benchmarks/levers.py
"""

import contextlib
import itertools
import statistics
import time
from pathlib import Path

import torch
from keep import keep
from speed import STEPS, compare, seconds

from fashion_gan.config.params import Params
from fashion_gan.data.batches import batches
from fashion_gan.data.datasets import load_split
from fashion_gan.metrics.evaluator import Evaluator
from fashion_gan.models.latents import balanced_labels, sample_images
from fashion_gan.report import plots
from fashion_gan.training.state import TrainingState
from fashion_gan.training.step import FrechetObjective, step, update_ema

SHOWCASE = Path(__file__).resolve().parents[1] / "reports" / "showcase"


def turn_of(params, split, change=None, around=contextlib.nullcontext, frechet=None):
    """A function that makes STEPS training steps. `change`: of the state, once. `around`: a context
    of each turn."""
    state = TrainingState(params)
    state.position.images = 10**6
    if change:
        change(state)
    few = list(
        itertools.islice(batches(split, params.batch_size, 0, 0, device=state.device), STEPS)
    )

    def turn():
        with around():
            for real, labels in few:
                step(state, real, labels, params, frechet)
                update_ema(state, params)

    return turn


def contiguous(state):
    for network in (state.generator, state.discriminator, state.ema_generator):
        network.to(memory_format=torch.contiguous_format)


def stock_adam(state):
    for name in ("optimizer_g", "optimizer_d"):
        old = getattr(state, name)
        setattr(
            state,
            name,
            torch.optim.Adam(
                old.param_groups[0]["params"],
                old.defaults["lr"],
                old.defaults["betas"],
                foreach=False,
            ),
        )


@contextlib.contextmanager
def threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


@contextlib.contextmanager
def bfloat16():
    torch.backends.mkldnn.conv.fp32_precision = "bf16"
    yield
    torch.backends.mkldnn.conv.fp32_precision = "none"


def levers(params, split):
    usual = turn_of(params, split)
    cases = {
        "contiguous layout": turn_of(params, split, contiguous),
        "Adam a tensor at a time": turn_of(params, split, stock_adam),
        "one thread": turn_of(params, split, around=lambda: threads(1)),
        "bfloat16 convolutions": turn_of(params, split, around=bfloat16),
        "with the Fréchet loss": turn_of(
            params, split, frechet=FrechetObjective(split, True, torch.device("cpu"))
        ),
    }
    found = {}
    for name, turn in cases.items():
        ratio = compare(turn, usual)
        found[name] = ratio[0]
        print(
            "{}: a step takes {:.2f} times as long ({:.2f} to {:.2f})".format(name, *ratio),
            flush=True,
        )
    return found


def growth(split):
    """Images a second by batch, a line a width, into reports/showcase/speed.png."""
    lines = {}
    for channels in (16, 32, 64):
        rates = []
        for batch_size in (32, 64, 128, 256):
            turn = turn_of(Params(channels=channels, batch_size=batch_size), split)
            turn()
            rates.append(STEPS * batch_size / statistics.median(seconds(turn) for _ in range(3)))
        lines[f"{channels} channels"] = ([32, 64, 128, 256], rates)
        print(
            f"{channels} channels, batch 32 to 256: {', '.join(f'{rate:,.0f}' for rate in rates)}"
            " images/s",
            flush=True,
        )
    plots.curves(
        lines, "Speed of training on 2 cores", "images a second", xlabel="batch", log=True
    ).save(SHOWCASE / "speed.png")
    return {name: values for name, (_, values) in lines.items()}


def use(folder):
    """Seconds to draw 10,000 images with the shipped generator, and to measure them."""
    from fashion_gan.models.serialization import GENERATOR, load_generator

    generator, labels = (load_generator(SHOWCASE / GENERATOR).generator, balanced_labels(10_000))
    begun = time.perf_counter()
    images = sample_images(generator, 10_000, 0, labels)
    drawn = time.perf_counter()
    evaluator = Evaluator(folder, say=lambda words: None)
    evaluator.scores([(images, labels)])
    return {"sample_s": drawn - begun, "evaluate_s": time.perf_counter() - drawn}


def main():
    params = Params()
    split = load_split(Path(params.data_dir), "train")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    found = levers(params, split) | growth(split) | use(Path(params.data_dir))
    print(
        "10,000 images: drawn in {sample_s:.1f} s, measured in {evaluate_s:.0f} s".format(**found)
    )
    keep("levers", "python benchmarks/levers.py", **found)


if __name__ == "__main__":
    main()
