"""What each lever of speed is worth: a training step without it over the step as it is, in turns (A
B A B ...), medians; how the cost of a step grows with batch and width; seconds to draw and to
measure 10,000 images.

    python benchmarks/levers.py
"""

import contextlib
import statistics
import time
from pathlib import Path

import torch
from keep import keep
from speed import STEPS, compare, seconds, turn_of

from fashion_gan.config.params import Params
from fashion_gan.data.datasets import load_split
from fashion_gan.metrics.evaluator import Evaluator
from fashion_gan.models.latents import balanced_labels, sample_images
from fashion_gan.report import plots
from fashion_gan.training.frechet import frechet_objectives

SHOWCASE = Path(__file__).resolve().parents[1] / "reports" / "showcase"


def contiguous(state):
    for network in (state.generator, state.discriminator, state.ema_generator):
        network.to(memory_format=torch.contiguous_format)


def stock_adam(state):
    for name in ("optimizer_g", "optimizer_d"):
        optimizer = getattr(state, name)
        weights = optimizer.param_groups[0]["params"]
        lr, betas = optimizer.defaults["lr"], optimizer.defaults["betas"]
        setattr(state, name, torch.optim.Adam(weights, lr, betas, foreach=False))


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


def show_ratio(name, turn, usual):
    """Print how many times as long as usual a turn takes, and give it back."""
    median, least, most = compare(turn, usual)
    ratio = f"{median:.2f} times as long ({least:.2f} to {most:.2f})"
    print(f"{name}: a step takes {ratio}", flush=True)
    return median


def levers(params, split):
    usual = turn_of(params, split)
    objectives = frechet_objectives(split, params, torch.device("cpu"))
    cases = {
        "contiguous layout": turn_of(params, split, contiguous),
        "Adam a tensor at a time": turn_of(params, split, stock_adam),
        "one thread": turn_of(params, split, around=lambda: threads(1)),
        "bfloat16 convolutions": turn_of(params, split, around=bfloat16),
        "with the Fréchet loss": turn_of(params, split, objectives=objectives),
    }
    return {name: show_ratio(name, turn, usual) for name, turn in cases.items()}


def growth(split):
    """Images a second by batch, a line a width, into reports/showcase/speed.png."""
    sizes = [32, 64, 128, 256]
    rates = {}
    for channels in (16, 32, 64):
        name = f"{channels} channels"
        rates[name] = []
        for batch_size in sizes:
            turn = turn_of(Params(channels=channels, batch_size=batch_size), split)
            turn()
            median = statistics.median(seconds(turn) for _ in range(3))
            rates[name].append(STEPS * batch_size / median)
        words = ", ".join(f"{rate:,.0f}" for rate in rates[name])
        print(f"{name}, batch 32 to 256: {words} images/s", flush=True)
    lines = {name: (sizes, values) for name, values in rates.items()}
    title = "Speed of training on 2 cores"
    chart = plots.curves(lines, title, "images a second", xlabel="batch", log=True)
    chart.save(SHOWCASE / "speed.png")
    return rates


def use(folder):
    """Seconds to draw 10,000 images with the shipped generator, and to measure them."""
    from fashion_gan.models.serialization import GENERATOR, load_generator

    generator = load_generator(SHOWCASE / GENERATOR).generator
    labels = balanced_labels(10_000)
    begun = time.perf_counter()
    images = sample_images(generator, 10_000, 0, labels)
    drawn = time.perf_counter()
    evaluator = Evaluator(folder, log=lambda words: None)
    evaluator.scores([(images, labels)])
    return {"sample_s": drawn - begun, "evaluate_s": time.perf_counter() - drawn}


def main():
    params = Params()
    split = load_split(Path(params.data_dir), "train")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    figures = levers(params, split) | growth(split) | use(Path(params.data_dir))
    words = "10,000 images: drawn in {sample_s:.1f} s, measured in {evaluate_s:.0f} s"
    print(words.format(**figures))
    keep("levers", "python benchmarks/levers.py", **figures)


if __name__ == "__main__":
    main()
