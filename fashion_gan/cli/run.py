"""fashion-gan run"""

import shlex
from pathlib import Path

import click

from fashion_gan.catalog.datasets import prepare_dataset
from fashion_gan.catalog.runs import find_run
from fashion_gan.cli import command as make_command
from fashion_gan.cli import overrides_option
from fashion_gan.config.profiles import read_profile
from fashion_gan.config.settings import project_root
from fashion_gan.pipeline import runner
from fashion_gan.pipeline.preflight import preflight
from fashion_gan.runs.run import Run, check_name
from fashion_gan.tracking import fetch, mlflow_sync


@make_command("run")
@click.argument("profile", metavar="PARAMS")
@click.option("--name", default="", help="name of the run (default: time and profile)")
@click.option(
    "--within",
    default="",
    metavar="RUN",
    help="a run that this one is a part of: MLflow shows it beneath that one",
)
@overrides_option
def command(profile: str, name: str, within: str, overrides: tuple[str, ...]) -> int:
    project_root()
    read = read_profile(Path(profile), overrides)
    if name:
        check_name(name)
    fetch.check_storage(name)
    params = prepare_dataset(read.params)
    preflight(params)
    mlflow_sync.close_vanished(print)
    tags = {"within": find_run(within, tracked=True).info.uuid} if within else {}
    words = ["fashion-gan", "run", profile]
    for override in overrides:
        words += ["-p", override]
    run = Run.create(
        params,
        name=name,
        profile=read.name,
        notebooks=read.notebooks,
        command=shlex.join(words),
        **tags,
    )
    print(f"run {run.name}: {', '.join(read.notebooks)}", flush=True)
    return runner.run_all(run)
