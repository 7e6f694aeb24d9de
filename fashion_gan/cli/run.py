"""fashion-gan run"""

import shlex
from pathlib import Path

import click

from fashion_gan.catalog.datasets import prepare_dataset
from fashion_gan.catalog.runs import find_run
from fashion_gan.cli import make_command, overrides_option, text_option
from fashion_gan.config.params import Params
from fashion_gan.config.profiles import read_profile
from fashion_gan.config.settings import project_root
from fashion_gan.pipeline import runner
from fashion_gan.pipeline.preflight import preflight
from fashion_gan.runs.create import check_name, create_run
from fashion_gan.tracking import fetch, mlflow_sync


def checked(params: Params, name: str) -> Params:
    """The parameters of a new run, with where their data set lies, once nothing is known that it
    would fail by. Raises UserError."""
    if name:
        check_name(name)
    fetch.check_storage(name)
    params = prepare_dataset(params)
    preflight(params)
    return params


@make_command("run")
@click.argument("profile", metavar="PARAMS")
@text_option("--name", "name of the run (default: time and profile)")
@text_option(
    "--within", "a run that this one is a part of: MLflow shows it beneath that one", "RUN"
)
@text_option("--recipe", "its name among the recipes of a sweep, kept as a tag", "NAME")
@text_option("--notebooks", "run these, with commas between (default: the profile's)", "NAMES")
@overrides_option
def command(
    profile: str, name: str, within: str, recipe: str, notebooks: str, overrides: tuple[str, ...]
) -> int:
    project_root()
    read = read_profile(Path(profile), overrides, notebooks.split(",") if notebooks else ())
    params = checked(read.params, name)
    mlflow_sync.close_vanished(print)
    tags = {"within": find_run(within, tracked=True).info.uuid} if within else {}
    tags |= {"recipe": recipe} if recipe else {}
    words = ["fashion-gan", "run", profile]
    for override in overrides:
        words += ["-p", override]
    if notebooks:
        words += ["--notebooks", notebooks]
    run = create_run(
        params,
        name=name,
        profile=read.name,
        notebooks=read.notebooks,
        command=shlex.join(words),
        **tags,
    )
    print(f"run {run.name}: {', '.join(read.notebooks)}", flush=True)
    return runner.run_all(run)
