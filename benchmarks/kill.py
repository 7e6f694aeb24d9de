"""Kill -9 whole runs at random moments, resume them, and compare with a run that was never stopped.

    python benchmarks/kill.py --count 10

Targets in turn: the kernel alone, the parent alone, both (the kernel's whole group and the parent).
Prints a line a run; exit code 1 if any resumed run differs in a bit of its weights or a metric, or
holds a point twice.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from fashion_gan.config.settings import project_root
from fashion_gan.runs.run import Run
from fashion_gan.training.checkpoints import load_latest

TARGETS = ("kernel", "parent", "both")
SIZE = {
    "subset": 512,
    "epochs": 6,
    "channels": 8,
    "latent_dim": 8,
    "batch_size": 32,
    "val_samples": 100,
    "frechet_start": 64,
    "checkpoint_seconds": 0.2,
    "samples": 1000,
    "device": "cpu",
}
COMMAND = [sys.executable, "-m", "fashion_gan"]


@dataclass(frozen=True)
class Result:
    target: str
    after: float  # seconds
    kills: int
    images: int  # seen by the last checkpoint when it was killed
    problem: str


def start(root: Path, *words: str) -> subprocess.Popen:
    return subprocess.Popen(
        [*COMMAND, *words],
        cwd=root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def begin(root: Path, name: str) -> list[str]:
    profile = root / "params" / "kill.yaml"
    profile.write_text("notebooks: [02_train]\n" + "".join(f"{k}: {v}\n" for k, v in SIZE.items()))
    return ["run", str(profile), "--name", name]


def kernel_of(folder: Path) -> int | None:
    """The process of the kernel that works on a run, None where there is none."""
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            environment = Path(f"/proc/{process}/environ").read_bytes()
            command = Path(f"/proc/{process}/cmdline").read_bytes()
            if str(folder).encode() in environment and b"ipykernel" in command:
                return int(process)
    return None


def outcome(folder: Path) -> tuple[dict, list]:
    """Weights of the final checkpoint, and all points but those a clock makes."""
    state = load_latest(folder / "checkpoints")["state"]
    weights = {}
    for network in ("generator", "discriminator", "averaged"):
        weights |= {f"{network}.{name}": value for name, value in state[network].items()}
    points = [(point["name"], point["step"], point["value"]) for point in Run(folder).metrics()]
    return weights, [point for point in points if point[0] not in ("seconds", "images_per_s")]


def kill_once(
    root: Path, name: str, target: str, words: list[str], after: float, in_training: bool
) -> bool:
    """Start, wait for the kernel (or for a new checkpoint), kill after so many seconds. False where
    the run had ended before."""
    folder = root / "reports" / name
    checkpoints = folder / "checkpoints"
    old = set(checkpoints.glob("last-*.pt"))
    process = start(root, *words)
    until = time.monotonic() + 60
    while not (kernel := kernel_of(folder)) and time.monotonic() < until and process.poll() is None:
        time.sleep(0.05)
    while in_training and process.poll() is None and not set(checkpoints.glob("last-*.pt")) - old:
        time.sleep(0.02)
    time.sleep(after)
    alive = process.poll() is None
    if target in ("parent", "both"):
        process.kill()
    if target in ("kernel", "both") and kernel:
        try:
            os.killpg(os.getpgid(kernel), signal.SIGKILL)
        except ProcessLookupError:
            alive = False
    process.wait()
    while kernel_of(folder):  # a kernel whose parent died ends by itself
        time.sleep(0.1)
    return alive


def difference(expected: tuple[dict, list], actual: tuple[dict, list]) -> str:
    """How an outcome differs from the expected one, "" where it does not."""
    weights, points = actual
    names = [k for k, value in expected[0].items() if not torch.equal(value, weights[k])]
    if names:
        return f"{len(names)} weights differ, {names[0]} first"
    if len({point[:2] for point in points}) != len(points):
        return "a point is there twice"
    return "" if sorted(expected[1]) == sorted(points) else "metrics differ"


def mlflow_problem(folder: Path) -> str:
    """Whether MLflow's copy was brought to the run's own end."""
    info = Run(folder).info
    is_level = Run(folder).copy().get("closed") == info.ended
    return "" if is_level and info.status == "FINISHED" else "MLflow is not level"


def trained_images(folder: Path) -> int:
    """Images seen by the last checkpoint, 0 where there is none."""
    names = [path.name for path in (folder / "checkpoints").glob("last-*.pt")]
    return max((int(name[5:15]) for name in names), default=0)


def kill_and_finish(
    root: Path, name: str, target: str, after: float, in_training: bool, kills: int
) -> tuple[int, int, int]:
    """One run, killed up to `kills` times and then left alone: how often it was, at how many images
    at most, and its last exit code."""
    folder = root / "reports" / name
    words = begin(root, name)
    times = images = 0
    while times < kills and kill_once(root, name, target, words, after, in_training):
        times += 1
        words = ["resume", name]
        images = max(images, trained_images(folder))
    code = start(root, *words).wait() if Run(folder).info.status != "FINISHED" else 0
    return times, images, code


def harness(
    root: Path, count: int, seed: int, log=lambda line: None, targets=TARGETS, kills=2
) -> list[Result]:
    """`count` runs, each killed up to `kills` times, held against one that was not."""
    draws = random.Random(seed)
    results = []
    begun = time.monotonic()
    start(root, *begin(root, "whole")).wait()
    length = time.monotonic() - begun
    expected = outcome(root / "reports" / "whole")
    log(f"never stopped: {len(expected[1])} points, {length:.0f} s")
    for i in range(count):
        name = f"killed{i}"
        target = targets[i % len(targets)]
        # three aimed at the training, a target each, then three at any moment
        in_training = i % 6 < 3
        after = draws.uniform(0, 1.5) if in_training else draws.uniform(0.5, max(1.0, length - 8))
        times, images, code = kill_and_finish(root, name, target, after, in_training, kills)
        problem = f"exit code {code}" if code else ""
        folder = root / "reports" / name
        problem = problem or difference(expected, outcome(folder)) or mlflow_problem(folder)
        results.append(Result(target, after, times, images, problem))
        log(
            f"{i + 1:3d}  {target:7s} killed {times} times, after {after:.1f} s, at image"
            f" {images}: {problem or 'equal in every bit'}"
        )
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    source = project_root()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "project"
        root.mkdir()
        for part in ("notebooks", "params"):
            shutil.copytree(source / part, root / part)
        shutil.copy(source / "pyproject.toml", root)
        (root / "data").symlink_to(source / "data")
        (root / "reports").mkdir()
        results = harness(root, args.count, args.seed, lambda line: print(line, flush=True))
    good = sum(not r.problem for r in results)
    print(
        f"{good} of {len(results)} runs, killed {sum(r.kills for r in results)} times, equal the"
        " one never stopped in every bit"
    )
    return 0 if good == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
