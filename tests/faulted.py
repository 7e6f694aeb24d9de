"""A training that logs some fifty points an epoch, as 02_train does, until somebody writes a file:
for the tests of faults.

    python tests/faulted.py NAME [EPOCHS]

Without EPOCHS it ends with the first epoch after `stop` lies in the working folder, and rests after
each one, since the tests wait for a server meanwhile. With EPOCHS it makes the same weights and the
same record, and no server ever hears of it.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from conftest import TINY

from fashion_gan.config.params import Params
from fashion_gan.config.settings import project_root
from fashion_gan.data.datasets import load_split
from fashion_gan.report import plots
from fashion_gan.runs.create import create_run
from fashion_gan.training import loop
from fashion_gan.training.state import TrainingState

MOST = 5000  # epochs; schedules count from it, so it is the same for all
REST = 0.4  # seconds


def faulted(*words: str, cwd: Path, **env: str) -> subprocess.Popen:
    """Start it, in a project; what it says goes to `log` there."""
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent)} | env
    with (cwd / "log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, __file__, *words], cwd=cwd, env=env, stdout=log, stderr=log
        )


def main(name: str, epochs: int = 0) -> None:
    params = Params.checked(TINY | {"epochs": MOST, "checkpoint_seconds": 5.0})
    folder = project_root() / "data"
    train, validation = (
        load_split(folder, "train", params.subset),
        load_split(folder, "validation", 200),
    )
    run = create_run(params, name=name, profile="tiny", notebooks=("02_train",))
    if not epochs:
        run.follow()
    state = TrainingState(params)
    for record in loop.train(state, train, validation, params, run.folder):
        weights = [
            *state.generator.named_parameters("generator"),
            *state.discriminator.named_parameters("discriminator"),
        ]
        norms = {f"norm/{name}": weight.norm().item() for name, weight in weights}
        gradients = {f"gradient/{name}": weight.grad.norm().item() for name, weight in weights}
        run.log_metrics(record.metrics | norms | gradients, record.images)
        if record.epoch % 20 == 0:
            run.log_figure(
                plots.grid(record.grid, 10, f"after epoch {record.epoch}"),
                f"epoch_{record.epoch:04d}",
            )
        if record.epoch == epochs or (not epochs and Path("stop").exists()):
            break
        if not epochs:
            time.sleep(REST)
    loop.export_best(params, run.folder)
    run.finish()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
