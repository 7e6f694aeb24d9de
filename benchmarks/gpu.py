"""Training steps on one NVIDIA GPU: images a second one kernel at a time and as a CUDA graph, by
width, batch and precision, what share of the card's arithmetic that is, and what bounds it.

    python benchmarks/gpu.py

It takes less than a minute. The peak is what a product of two matrices of 8192 × 8192 reaches, in
TF32 beside float32 (PyTorch's convolutions take it), else in bfloat16. A step is bound by small
kernels where twice the batch takes less than 1.4 times as long; else by arithmetic where it has
more than a third of the peak, else by memory.
"""

import statistics
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from fashion_gan.config.params import Params
from fashion_gan.data.datasets import load_split
from fashion_gan.device import pick_device, wait_for
from fashion_gan.training.device import be_deterministic
from fashion_gan.training.frechet import frechet_objectives
from fashion_gan.training.inputs import BLOCK, draw_inputs
from fashion_gan.training.state import TrainingState
from fashion_gan.training.step import StepKind
from fashion_gan.training.stepper import Stepper

CASES = (  # channels, batch, precision
    (32, 64, "float32"),
    (64, 64, "float32"),
    (64, 128, "float32"),
    (64, 512, "float32"),
    (64, 512, "bfloat16"),
    (128, 512, "bfloat16"),
)
USUAL = StepKind(network=0)
TURNS = 5


def stepper_of(split, objectives, **changes):
    """Steps with the Fréchet loss, with one block of inputs loaded."""
    params = Params(**changes)
    stepper = Stepper(TrainingState(params), split, params, objectives)
    order = torch.randperm(len(split))[: BLOCK * params.batch_size]
    stepper.load(draw_inputs(params, 10, order, 10**6))
    return stepper


def seconds_a_step(stepper, steps=40):
    """The median of some turns, after one that warms up; the inputs are gone through again."""
    times = []
    for _ in range(TURNS + 1):
        stepper.row.zero_()
        wait_for(stepper.state.device)
        started = time.perf_counter()
        for _ in range(steps):
            stepper.run(USUAL)
        wait_for(stepper.state.device)
        times.append((time.perf_counter() - started) / steps)
    return statistics.median(times[1:])


def arithmetic_of(stepper):
    """Floating-point operations of one step; a multiplication and an addition are two."""
    stepper.row.zero_()
    with FlopCounterMode(display=False) as counter:
        stepper.compute(USUAL)
    return counter.get_total_flops()


def peak_of(precision, device, size=8192):
    """Operations a second of a large product of matrices."""
    torch.set_float32_matmul_precision("high")
    kind = torch.float32 if precision == "float32" else torch.bfloat16
    a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    times = []
    for _ in range(8):
        wait_for(device)
        started = time.perf_counter()
        a @ b
        wait_for(device)
        times.append(time.perf_counter() - started)
    torch.set_float32_matmul_precision("highest")
    return 2 * size**3 / statistics.median(times)


def bound_of(share, growth):
    """What a step waits for, from its share of the peak and what twice the batch takes."""
    if growth < 1.4:
        return "small kernels"
    return "arithmetic" if share > 1 / 3 else "memory"


def row_of(split, objectives, device, case, peaks):
    channels, size, precision = case
    changes = {"channels": channels, "precision": precision}
    graph = stepper_of(split, objectives, batch_size=size, **changes)
    time_of_graph = seconds_a_step(graph)
    one_by_one = stepper_of(split, objectives, batch_size=size, cuda_graph="off", **changes)
    time_one_by_one = seconds_a_step(one_by_one, 10)
    twice = stepper_of(split, objectives, batch_size=2 * size, **changes)
    growth = seconds_a_step(twice, 20) / time_of_graph
    share = arithmetic_of(one_by_one) / time_of_graph / peaks[precision]
    return (
        f"{channels:8} {size:6} {precision:>9} {size / time_one_by_one:12,.0f}"
        f" {size / time_of_graph:9,.0f} {100 * share:6.1f} %  {bound_of(share, growth)}"
    )


def main():
    device = pick_device("cuda")
    be_deterministic(False, device)
    split = load_split(Path("data"), "train")
    objectives = frechet_objectives(split, Params(), device)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    peaks = {precision: peak_of(precision, device) for precision in ("float32", "bfloat16")}
    print("peak: " + ", ".join(f"{peak / 1e12:.0f} TFLOP/s in {p}" for p, peak in peaks.items()))
    print("channels  batch precision   one by one     graph  of peak  bound by")
    for case in CASES:
        print(row_of(split, objectives, device, case, peaks), flush=True)


if __name__ == "__main__":
    main()
