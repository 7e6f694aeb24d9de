"""fashion-gan sweep"""

import shlex
from pathlib import Path

import click

from fashion_gan.catalog.datasets import prepare_dataset
from fashion_gan.cli import command as make_command
from fashion_gan.config.settings import project_root
from fashion_gan.pipeline.preflight import preflight
from fashion_gan.runs.run import Run, check_name
from fashion_gan.sweeps import tuner
from fashion_gan.sweeps.spec import base_of, read_sweep
from fashion_gan.tracking import fetch, mlflow_sync


@make_command("sweep")
@click.argument("file", metavar="FILE")
@click.option("--name", default="", help="name of the sweep (default: time and file)")
@click.option(
    "--address",
    default="",
    help="a Ray cluster, host:port (default: RAY_ADDRESS, else this machine alone)",
)
def command(file: str, name: str, address: str) -> int:
    project_root()
    path = Path(file)
    sweep = read_sweep(path)
    base = base_of(sweep)
    if name:
        check_name(name)
    fetch.check_storage(name)
    preflight(prepare_dataset(base.params))
    tuner.ready(sweep, address)
    mlflow_sync.close_vanished(print)
    run = Run.create(
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
