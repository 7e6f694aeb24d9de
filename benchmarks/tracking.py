"""What a hanging MLflow costs a training: images a second with the copier at work against it with
the copier stopped.

    python benchmarks/tracking.py

The server takes connections and never answers. One training goes on; every WINDOW seconds its
copier is let go or stopped (SIGCONT, SIGSTOP), in turns, so both rates come from the same minutes
of the same process. Printed: the median over pairs of windows of rate(at work) / rate(stopped), and
how much processor time the copier took.
"""

import os
import signal
import socket
import statistics
import tempfile
import time
from pathlib import Path

import psutil
import torch

from fashion_gan.config.params import Params
from fashion_gan.config.settings import project_root
from fashion_gan.data.datasets import load_split
from fashion_gan.files import Lock
from fashion_gan.runs.create import create_run
from fashion_gan.training import loop
from fashion_gan.training.state import TrainingState

WINDOW, PAIRS = 10.0, 16


def hanging_server():
    """A socket that takes connections, by the kernel's queue, and never reads one."""
    server = socket.create_server(("127.0.0.1", 0), backlog=100)
    os.environ["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{server.getsockname()[1]}"
    return server


def copier_of(run):
    """The process that follows this run, once it is there."""
    while True:
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if "--follow" in words and str(run.folder) in words:
                return process
        time.sleep(0.1)


def windows(run, params, folder):
    """Yields (images, seconds) of one window after another, while the training goes on and its
    points are logged."""
    split = load_split(folder, "train", params.subset)
    validation = load_split(folder, "validation", 500)
    state = TrainingState(params)
    begun, images = None, 0
    for record in loop.train(state, split, validation, params, run.folder):
        run.log_metrics(record.metrics, record.images)
        if begun is None or time.perf_counter() - begun >= WINDOW:
            if begun is not None:
                yield record.images - images, time.perf_counter() - begun
            begun = time.perf_counter()
            images = record.images


def make_project(root):
    for name in ("notebooks", "params"):
        (root / name).mkdir()
    (root / "pyproject.toml").touch()


def measure(run, params, data_folder):
    """Images a second of PAIRS windows with the copier at work, of as many with it stopped; its
    share of a core while it was at work."""
    run.follow()
    copier = copier_of(run)
    time.sleep(15)  # its start: imports
    before = sum(copier.cpu_times()[:2])
    began = time.monotonic()
    is_active = False
    rates = {True: [], False: []}
    copier.suspend()
    for images, seconds in windows(run, params, data_folder):
        rates[is_active].append(images / seconds)
        is_active = not is_active
        copier.send_signal(signal.SIGCONT if is_active else signal.SIGSTOP)
        if len(rates[True]) == PAIRS:
            break
    used = sum(copier.cpu_times()[:2]) - before
    lasted = (time.monotonic() - began) / 2
    copier.kill()
    return rates[True], rates[False], used / lasted


def main():
    data_folder = project_root() / "data"
    params = Params(
        subset=2048, epochs=100_000, val_samples=100, checkpoint_seconds=30.0, frechet_weight=0.0
    )
    with hanging_server(), tempfile.TemporaryDirectory() as temporary:
        make_project(Path(temporary))
        os.chdir(temporary)
        run = create_run(params, name="hanging", notebooks=())
        at_work, stopped, share = measure(run, params, data_folder)
        run.finish("KILLED")
        while not Lock(run.folder / "sync.lock").is_free():
            time.sleep(0.1)
    ratios = [a / b for a, b in zip(at_work, stopped, strict=False)]
    print(f"{torch.get_num_threads()} threads; {PAIRS} pairs of windows of {WINDOW:.0f} s")
    print(
        f"images/s with the copier at a hanging server / without: {statistics.median(ratios):.4f}"
        f" ({min(ratios):.3f} to {max(ratios):.3f})"
    )
    print(f"the copier's processor time while at work: {100 * share:.2f} % of one core")


if __name__ == "__main__":
    main()
