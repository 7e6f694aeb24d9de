"""A training that logs some thousand points to a run while its copier is at work, as 02_train does. For the fault tests, and
for benchmarks/tracking.py: python tests/faulted.py NAME EPOCHS."""

import sys

from conftest import TINY

from fashion_gan import plots, training
from fashion_gan.data import load_split
from fashion_gan.errors import project_root
from fashion_gan.params import Params
from fashion_gan.run import Run
from fashion_gan.state import TrainingState


def main(name: str, epochs: int, followed: bool = True) -> None:
    params = Params.checked(TINY | {"epochs": epochs, "checkpoint_seconds": 5.0})
    folder = project_root() / "data"
    train, validation = load_split(folder, "train", params.subset), load_split(folder, "validation", 500)
    run = Run.create(params, name=name, profile="tiny", notebooks=("02_train",))
    if followed:
        run.follow()
    state = TrainingState(params)
    for record in training.train(state, train, validation, params, run.folder):
        weights = [*state.generator.named_parameters("generator"), *state.discriminator.named_parameters("discriminator")]
        norms = {f"norm/{name}": weight.norm().item() for name, weight in weights}
        gradients = {f"gradient/{name}": weight.grad.norm().item() for name, weight in weights}
        run.log_metrics(record.metrics | norms | gradients, record.images)
        if record.epoch % 20 == 0:
            run.log_figure(plots.grid(record.grid, 10, f"after epoch {record.epoch}"), f"epoch_{record.epoch:04d}")
        if record.epoch % 10 == 0:
            print(record.epoch, flush=True)
    training.export(params, run.folder)
    run.finish()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
