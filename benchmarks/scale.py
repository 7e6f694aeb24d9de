"""What more workers bring: measured with one and two of them here, and from that what to expect of
many.

    python benchmarks/scale.py [-p channels=64]

Runs interleaved: rounds of whole steps of the default recipe by one process, and by two that share
each batch, on one thread a process. Then what a step sends, how large a checkpoint is, how fast the
record takes points, and a forecast:

    efficiency = compute / (compute + bytes + small)
    bytes  = 2 (N - 1) / N * gradient bytes / bandwidth
             (a ring; nothing is hidden behind the backward pass)
    small  = number of small sums * 2 log2(N) * latency
             (batch norm's moments, norms, whether to stop: a tree)

with the same number of images a worker as one has here, so the whole batch grows with N, and the
recipe is another one."""

import argparse
import math
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import distributed

from fashion_gan.config.params import Params
from fashion_gan.config.profiles import read_overrides
from fashion_gan.data.batches import epoch_order
from fashion_gan.data.datasets import load_split
from fashion_gan.distributed import collectives
from fashion_gan.runs.run import Run
from fashion_gan.training.checkpoints import save_checkpoint
from fashion_gan.training.frechet import frechet_objectives
from fashion_gan.training.inputs import draw_inputs
from fashion_gan.training.state import TrainingState
from fashion_gan.training.step import StepKind
from fashion_gan.training.stepper import Stepper

STEPS, ROUNDS = 15, 4
# bytes a second, seconds a message: assumed
NETWORKS = {"10 Gbit": (1.25e9, 50e-6), "100 Gbit": (12.5e9, 10e-6)}


def steps(rank: int, size: int, folder: Path, params: Params) -> None:
    """Process `rank` of `size`: STEPS steps each time that it is asked for; the first one says how
    long they took."""
    torch.set_num_threads(1)
    if size > 1:
        distributed.init_process_group(
            "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=size
        )
    split = load_split(Path(params.data_dir), "train", 8192)
    state = TrainingState(params)
    objectives = frechet_objectives(split, params, torch.device("cpu"))
    stepper, kind = Stepper(state, split, params, objectives), StepKind(network=0)
    sums = []
    all_reduce = distributed.all_reduce

    def counted(*args, **kwargs):
        sums.append(1)
        return all_reduce(*args, **kwargs)

    if size > 1:
        distributed.all_reduce = counted
    for number in range(ROUNDS + 1):  # the first one warms up
        while not (folder / f"{size}-{number}").exists():
            time.sleep(0.01)
        started = time.perf_counter()
        order = epoch_order(len(split), 0, number)[: STEPS * params.batch_size]
        stepper.load(draw_inputs(params, state.generator.class_count, order, 10**6))
        for _ in range(STEPS):
            stepper.run(kind)
            collectives.any_rank(False, False, device=state.device)
        if rank == 0:
            seconds = time.perf_counter() - started
            result = {"seconds": seconds / STEPS, "sums": len(sums) / STEPS}
            sums.clear()
            torch.save(result, folder / "result.new")
            os.replace(folder / "result.new", folder / f"result-{size}-{number}")


def measured(params: Params, folder: Path) -> tuple[list[float], list[float], float]:
    """Seconds a step of one and of two workers, a figure a round, and how many small sums a step of
    two takes."""
    spawn = torch.multiprocessing.spawn
    processes = {n: spawn(steps, (n, folder, params), nprocs=n, join=False) for n in (1, 2)}
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for number in range(ROUNDS + 1):
        for n in (1, 2):
            (folder / f"{n}-{number}").touch()
            path = folder / f"result-{n}-{number}"
            while not path.exists():
                time.sleep(0.01)
                processes[n].join(timeout=0.01)
            result = torch.load(path)
            if number > 0:
                seconds[n].append(result["seconds"])
    return seconds[1], seconds[2], result["sums"]


def points_a_second(folder: Path) -> float:
    """How many points a second metrics.jsonl takes, 20 at a time, each time flushed to disk."""
    run = Run(folder)
    started = time.perf_counter()
    for i in range(200):
        run.log_metrics({f"m{k}": 0.5 for k in range(20)}, i)
    return 4000 / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-p", dest="overrides", action="append", default=[], metavar="NAME=VALUE")
    params = Params.read({"frechet_start": "0"} | read_overrides(parser.parse_args().overrides))
    state = TrainingState(params)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one, two, sums = measured(params, folder)
        checkpoint = save_checkpoint(
            folder / "checkpoints", state.state_dict(), params.model_dump(), 0, 1
        )
        size = checkpoint.stat().st_size
        rate = points_a_second(folder)
    weights = [*state.generator.parameters(), *state.discriminator.parameters()]
    gradient = sum(4 * weight.numel() for weight in weights)
    compute = statistics.median(one)
    show_workers(params, compute, [a / b for a, b in zip(one, two, strict=True)])
    print(
        f"a step sends {gradient / 1e6:.2f} MB of gradients and {sums:.0f} small sums; a checkpoint"
        f" has {size / 1e6:.1f} MB"
    )
    print(f"the record takes {rate:,.0f} points a second; an epoch leaves 13")
    print(
        f"expected efficiency with {params.batch_size} images a worker, as fast as here, and 50"
        " times as fast (a guess at a GPU):"
    )
    forecast(compute, gradient, sums)


def show_workers(params: Params, compute: float, ratios: list[float]) -> None:
    print(
        f"batch {params.batch_size}, {params.channels} channels, one thread a worker,"
        f" {os.cpu_count()} cores"
    )
    print(
        f"one worker:  {params.batch_size / compute:,.0f} images a second, {1000 * compute:.0f} ms"
        " a step"
    )
    print(
        f"two workers: {statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to"
        f" {max(ratios):.2f})"
    )


def forecast(compute: float, gradient: float, sums: float) -> None:
    """Print the efficiency of many workers, see above. `compute`: seconds a step of one worker
    here; `gradient`: bytes; `sums`: small sums a step."""
    for network, (bandwidth, latency) in NETWORKS.items():
        for speed in (1, 50):
            expected = []
            for n in (8, 64, 512):
                sent = 2 * (n - 1) / n * gradient / bandwidth + sums * 2 * math.log2(n) * latency
                expected.append(f"{n} workers {compute / speed / (compute / speed + sent):.2f}")
            print(
                f"  {network}, {latency * 1e6:.0f} us a message, compute x{speed}:"
                f" {', '.join(expected)}"
            )


if __name__ == "__main__":
    main()
