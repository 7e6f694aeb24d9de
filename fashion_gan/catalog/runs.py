"""Find a run, or open the one that a notebook writes to."""

import os
import shutil
import time
from pathlib import Path

from fashion_gan.config.params import Params
from fashion_gan.config.settings import project_root, read_settings, working_root
from fashion_gan.errors import UserError
from fashion_gan.runs.identity import separate_copy
from fashion_gan.runs.record import RunInfo
from fashion_gan.runs.run import RUN_VARIABLE, Run, all_runs
from fashion_gan.waiting import wait_until


def find_run(name: str, tracked: bool = False) -> Run:
    """A run by name, by path or `latest`, fetched if RUNS_URI alone has it; `tracked`: one that
    goes to MLflow. Raises UserError for none."""
    runs = all_runs()
    if name == "latest":
        if runs:
            return runs[-1]
        raise UserError("there is no run yet; make one with: make run PARAMS=params/smoke.yaml")
    for folder in (working_root() / "reports" / name, Path(name)):
        if name and (folder / "run.json").is_file():
            run = Run(folder.resolve())
            if tracked and (not run.info.uuid or run.name == "showcase"):
                raise UserError(
                    f"{run.name} is no run that is tracked, or can go on; take one of reports/"
                )
            if tracked:
                separate_copy(run)
            return run
    if read_settings().get("RUNS_URI"):
        from fashion_gan.tracking.fetch import fetch_run

        fetch_run(name, project_root() / "reports" / name)
        return find_run(name, tracked)
    names = ", ".join(run.name for run in runs[-5:]) or "none yet"
    raise UserError(f"no run {name!r} in reports/; the newest are: {names}")


def open_run(params: Params, kind: str) -> Run:
    """The run that a notebook writes to. Under the pipeline: its run. By hand: for kind "train" a
    new tracked run; for the others the scratch folder reports/scratch/<kind>, replaced each time,
    or the run that `params.run_name` names. Prints folder and link."""
    if os.environ.get(RUN_VARIABLE):
        run = Run(Path(os.environ[RUN_VARIABLE]))
    elif kind == "train":
        run = _tracked_run(params)
    elif params.run_name:
        run = find_run(params.run_name)
    else:
        run = _scratch_run(params, kind)
    # the copier needs some seconds to make the run in MLflow; the clock may have been set since
    seconds = min(8, run.info.followed + 8 - time.time())
    wait_until(lambda: not run.mlflow_url.startswith("being made"), seconds)
    print(f"run folder: {os.path.relpath(run.folder, project_root())}")
    print(f"MLflow: {run.mlflow_url}")
    return run


def lock_run(run: Run) -> None:
    """Raises UserError where another process works on it."""
    run.lock.acquire(
        f"run {run.name} is being worked on by another process; wait for it, or stop it"
    )


def _tracked_run(params: Params) -> Run:
    if params.run_name:
        run = find_run(params.run_name, tracked=True)
    else:
        from fashion_gan.runs.create import create_run

        command = "open notebooks/02_train.ipynb"
        run = create_run(params, profile="notebook", notebooks=("02_train",), command=command)
    lock_run(run)
    run.update(status="RUNNING")
    run.follow()
    return run


def _scratch_run(params: Params, kind: str) -> Run:
    run = Run(project_root() / "reports" / "scratch" / kind)
    shutil.rmtree(run.folder, ignore_errors=True)
    run.write(RunInfo(name=f"scratch/{kind}", params=params.model_dump(), status="SCRATCH"))
    return run
