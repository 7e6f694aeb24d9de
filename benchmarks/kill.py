"""Kill -9 whole runs at random moments, resume them, and compare with a run that was never stopped.

    python benchmarks/kill.py --count 10

Targets in turn: the kernel alone, the parent alone, both (the kernel's whole group and the parent).
Prints a line a run; exit code 1 if any resumed run differs in a bit of its weights or a metric, or
holds a point twice.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
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
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            if (
                str(folder).encode() in Path(f"/proc/{process}/environ").read_bytes()
                and b"ipykernel" in Path(f"/proc/{process}/cmdline").read_bytes()
            ):
                return int(process)
        except OSError:
            continue
    return None


def outcome(folder: Path) -> tuple[dict, list]:
    """Weights of the final checkpoint, and all points but those a clock makes."""
    state = load_latest(folder / "checkpoints")["state"]
    weights = {
        f"{n}.{k}": v
        for n in ("generator", "discriminator", "averaged")
        for k, v in state[n].items()
    }
    points = [
        (p["name"], p["step"], p["value"])
        for p in Run(folder).metrics()
        if p["name"] not in ("seconds", "images_per_s")
    ]
    return weights, points


def kill_once(
    root: Path, name: str, target: str, words: list[str], after: float, in_training: bool
) -> bool:
    """Start, wait for the kernel (or for a new checkpoint), kill after so many seconds. False where
    the run had ended before."""
    checkpoints = root / "reports" / name / "checkpoints"
    old = set(checkpoints.glob("last-*.pt"))
    process, folder, until = start(root, *words), root / "reports" / name, time.monotonic() + 60
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


def difference(expected: tuple[dict, list], found: tuple[dict, list]) -> str:
    weights = [k for k, v in expected[0].items() if not torch.equal(v, found[0][k])]
    if weights:
        return f"{len(weights)} weights differ, {weights[0]} first"
    if len({p[:2] for p in found[1]}) != len(found[1]):
        return "a point is there twice"
    return "" if sorted(expected[1]) == sorted(found[1]) else "metrics differ"


def mlflow_problem(folder: Path) -> str:
    """Whether MLflow's copy was brought to the run's own end."""
    copy, info = Run(folder).copy(), Run(folder).info
    return (
        ""
        if copy.get("closed") == info.ended and info.status == "FINISHED"
        else "MLflow is not level"
    )


def harness(
    root: Path, count: int, seed: int, say=lambda line: None, targets=TARGETS, kills=2
) -> list[Result]:
    """`count` runs, each killed up to `kills` times, held against one that was not."""
    draws, results = random.Random(seed), []
    begun = time.monotonic()
    start(root, *begin(root, "whole")).wait()
    length = time.monotonic() - begun
    expected = outcome(root / "reports" / "whole")
    say(f"never stopped: {len(expected[1])} points, {length:.0f} s")
    for i in range(count):
        name = f"killed{i}"
        target = targets[i % len(targets)]
        times = 0
        words = begin(root, f"killed{i}")
        # three aimed at the training, a target each, then three at any moment
        in_training = i % 6 < 3
        after = draws.uniform(0, 1.5) if in_training else draws.uniform(0.5, max(1.0, length - 8))
        folder, trained = root / "reports" / name, 0
        while times < kills and kill_once(root, name, target, words, after, in_training):
            times, words = times + 1, ["resume", name]
            trained = max(
                [trained, *(int(p.name[5:15]) for p in (folder / "checkpoints").glob("last-*.pt"))]
            )
        code = start(root, *words).wait() if Run(folder).info.status != "FINISHED" else 0
        problem = (
            f"exit code {code}"
            if code
            else difference(expected, outcome(folder)) or mlflow_problem(folder)
        )
        results.append(Result(target, after, times, trained, problem))
        say(
            f"{i + 1:3d}  {target:7s} killed {times} times, after {after:.1f} s, at image"
            f" {trained}: {problem or 'equal in every bit'}"
        )
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    import shutil
    import tempfile

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
