"""fashion-gan sync"""

import os
import time

import click

from fashion_gan.catalog.runs import find_run
from fashion_gan.cli import make_command, text_option
from fashion_gan.config.settings import project_root
from fashion_gan.errors import UserError
from fashion_gan.runs.run import all_runs
from fashion_gan.tracking import mlflow_sync, storage_sync
from fashion_gan.tracking.sync_loop import SupersededError


def log(message: str) -> None:
    print(time.strftime("%H:%M:%S"), message, flush=True)


@make_command("sync")
@click.argument("run", metavar="[RUN]", default="")
@click.option("--all", "every", is_flag=True, help="every run in reports/, oldest first")
@text_option("--to", "another MLflow than the usual one; the folder alone is enough", "URI")
@click.option("--follow", is_flag=True, help="keep it level until the run ends")
def command(run: str, every: bool, to: str, follow: bool) -> None:
    if bool(run) == every:
        raise UserError("say one run to bring level, or --all: fashion-gan sync RUN")
    project_root()
    if to:
        os.environ["MLFLOW_TRACKING_URI"] = to
    for member in all_runs() if every else [find_run(run, tracked=True)]:
        try:
            with storage_sync.mirroring(member, follow, log):
                mlflow_sync.sync(member, follow=follow, log=log)
        except SupersededError as error:
            if not every:
                raise
            print(error)
            continue
        print(f"run {member.name} is level; MLflow: {member.mlflow_url}")
