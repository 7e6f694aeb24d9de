"""Run notebooks under papermill, in order, inside one run; say what happened when one of them
fails."""

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fashion_gan.config.settings import project_root
from fashion_gan.errors import UserError, describe
from fashion_gan.pipeline import engine
from fashion_gan.pipeline.progress import Progress
from fashion_gan.report import pages
from fashion_gan.runs.run import RUN_VARIABLE, Run
from fashion_gan.signals import interruptible
from fashion_gan.tracking import mlflow_sync, storage_sync


def parameters_for(notebook: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Of all values those that the notebook's own parameters cell declares."""
    import papermill

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            name: values[name]
            for name in papermill.inspect_notebook(str(notebook))
            if name in values
        }


def keep_attempt(output: Path) -> None:
    """Rename what an earlier attempt left: 02_train.ipynb -> 02_train.attempt1.ipynb, and its
    HTML."""
    count = len(list(output.parent.glob(f"{output.stem}.attempt*.ipynb"))) + 1
    for path in (output, output.parent.parent / f"{output.stem}.html"):
        if path.exists():
            path.rename(path.with_name(f"{path.stem}.attempt{count}{path.suffix}"))


def run_notebook(run: Run, source: Path, progress: Progress) -> str:
    """Execute one notebook into the run folder, with its HTML. Returns "" or what went wrong, in
    one line."""
    import papermill

    output = run.folder / "notebooks" / source.name
    output.parent.mkdir(exist_ok=True)
    keep_attempt(output)
    params = run.params
    progress.begin(source.stem)
    try:
        with (run.folder / "kernel.log").open("a") as log, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            papermill.execute_notebook(
                source,
                output,
                parameters_for(source, params.model_dump()),
                engine_name="fashion-gan",
                kernel_name="python3",
                progress_bar=False,
                cwd=project_root(),
                timeout=params.timeout_minutes * 60,
                log=log,
                progress=progress,
            )
        failure = ""
    except papermill.exceptions.PapermillExecutionError as error:
        failure = " ".join(f"{error.ename}: {error.evalue}".split()).removesuffix(":")
        if error.ename not in ("UserError", "KeyboardInterrupt") and "more is in" not in failure:
            failure += f"; more is in {output.stem}.html"
    progress.end(failure or "done")
    pages.write_notebook_html(run, output)
    return failure


def run_one_notebook(run: Run, name: str) -> str:
    """Execute a notebook into a folder that is no run of the pipeline. Returns "" or what went
    wrong, in one line."""
    engine.register_engine()
    os.environ[RUN_VARIABLE] = str(run.folder)
    try:
        with Progress(run, sys.stderr) as progress:
            return run_notebook(run, project_root() / "notebooks" / f"{name}.ipynb", progress)
    finally:
        os.environ.pop(RUN_VARIABLE, None)


@interruptible()
def run_all(run: Run, log: Callable[[str], None] = print) -> int:
    """Run the notebooks of `run` that have not finished yet, then write the report. Returns the
    exit code. 0; 1 where a notebook failed; 130 where the run was interrupted. The last line says
    where the report is, or how to resume. The run's lock is held by the caller and freed here."""
    engine.register_engine()
    os.environ[RUN_VARIABLE] = str(run.folder)
    run.follow()
    status, reason = "FINISHED", ""
    try:
        with Progress(run) as progress:
            for name in run.info.notebooks:
                if name in run.info.done:
                    continue
                reason = run_notebook(run, project_root() / "notebooks" / f"{name}.ipynb", progress)
                if reason:
                    status = "KILLED" if "KeyboardInterrupt" in reason else "FAILED"
                    reason = f"{name}: {reason}"
                    break
                run.update(done=[*run.info.done, name])
    except KeyboardInterrupt:
        status, reason = "KILLED", "interrupted"
    except Exception as error:  # a full disk, a broken library: the run still has to say so
        status, reason = "FAILED", f"{type(error).__name__}: {error}".splitlines()[0]
    finally:
        os.environ.pop(RUN_VARIABLE, None)
    return close(run, status, reason, log)


def close(run: Run, status: str, reason: str, log: Callable[[str], None]) -> int:
    """Write the report, set the status, wait for MLflow's copy, say where everything is. Returns
    the exit code."""
    run.update(status=status, reason=reason)
    try:
        pages.write_report(run)
    except Exception as error:
        log(f"the report was not written ({describe(error)}); see {run.folder}")
    finally:
        run.finish(status, reason)
    mlflow_sync.wait_for_copier(run, log)
    storage_sync.wait_for_mirror(run, log)
    shown = run.folder.relative_to(project_root())
    log(f"MLflow: {run.mlflow_url}")
    log(f"report: {shown}/index.html")
    if status == "FINISHED":
        return 0
    log(f"{status}: {reason}; go on with: fashion-gan resume {run.name}")
    if "UserError: " in reason:  # said by the program, for a person, from inside a cell
        raise UserError(reason.replace("UserError: ", ""))
    return 130 if status == "KILLED" else 1
