"""fashion-gan resume"""

from pathlib import Path

import click

from fashion_gan.catalog.runs import find_run, lock_run
from fashion_gan.cli import make_command, overrides_option, text_option
from fashion_gan.config.profiles import read_overrides
from fashion_gan.config.settings import project_root
from fashion_gan.errors import UserError
from fashion_gan.pipeline import runner
from fashion_gan.pipeline.resume import prepare
from fashion_gan.runs.run import Run
from fashion_gan.tracking import mlflow_sync, storage_sync


def resume_sweep(run: Run) -> int:
    """The trials of a sweep that have not ended, or failed."""
    from fashion_gan.sweeps import tuner
    from fashion_gan.sweeps.spec import sweep_of

    sweep = sweep_of(run)
    tuner.ready(sweep)
    run.log_json(sweep.model_dump(), "sweep")  # an older version's has older names of parameters
    run.update(status="RUNNING", reason="", ended=None, attempts=run.info.attempts + 1, done=[])
    return tuner.go_on(run, sweep)


@make_command("resume")
@click.argument("run", metavar="RUN")
@text_option("--checkpoint", "start from this checkpoint", "PATH")
@overrides_option
def command(run: str, checkpoint: str, overrides: tuple[str, ...]) -> int:
    project_root()
    mlflow_sync.close_vanished(lambda _: None)
    resumed = storage_sync.ensure_latest(find_run(run, tracked=True))
    lock_run(resumed)
    if resumed.read_json("sweep"):
        if overrides or checkpoint:
            raise UserError(
                f"{resumed.name} is a sweep, it goes on as it was begun; leave -p and --checkpoint"
                " out"
            )
        return resume_sweep(resumed)
    prepare(resumed, read_overrides(overrides), Path(checkpoint) if checkpoint else None)
    return runner.run_all(resumed)
