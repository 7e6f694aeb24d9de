"""fashion-gan sweep"""

import shlex
from pathlib import Path

import click

from fashion_gan.cli import make_command, text_option
from fashion_gan.cli.run import checked
from fashion_gan.config.settings import project_root
from fashion_gan.runs.create import create_run
from fashion_gan.sweeps import tuner
from fashion_gan.sweeps.spec import base_of, read_sweep
from fashion_gan.tracking import mlflow_sync


@make_command("sweep")
@click.argument("file", metavar="FILE")
@text_option("--name", "name of the sweep (default: time and file)")
@text_option(
    "--address", "a Ray cluster, host:port (default: RAY_ADDRESS, else this machine alone)"
)
def command(file: str, name: str, address: str) -> int:
    project_root()
    path = Path(file)
    sweep = read_sweep(path)
    base = base_of(sweep)
    checked(base.params, name)
    tuner.ready(sweep, address)
    mlflow_sync.close_vanished(print)
    run = create_run(
        base.params,
        name=name,
        profile=path.stem,
        notebooks=("07_sweep",),
        command=shlex.join(["fashion-gan", "sweep", file]),
    )
    run.log_json(sweep.model_dump(), "sweep")
    print(
        f"sweep {run.name}: {len(sweep.seeds)} seeds of each point; {base.name} as it is comes"
        " first",
        flush=True,
    )
    return tuner.go_on(run, sweep)
