"""Run notebooks under papermill, in order, inside one run; say what happened when one of them
fails."""

import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cluster
import copier
import mirror
import pages
import store
from progress import Progress

from fashion_gan.errors import UserError, project_root
from fashion_gan.files import Lock
from fashion_gan.params import Params
from fashion_gan.run import RUN_VARIABLE, Run

# seconds a kernel has to write its last checkpoint; at 5, jupyter's own, one of 4 s was lost
SHUTDOWN_WAIT = 60
STAMPS = {
    "DeadKernelError": "the kernel died while this cell ran (out of memory, or killed)",
    "CellTimeoutError": (
        "the notebook took longer than the allowed {:g} minutes (timeout_minutes), and was in this"
        " cell"
    ),
    "KeyboardInterrupt": "interrupted while this cell ran",
}


@contextmanager
def postponed() -> Iterator[None]:
    """The first SIGINT or SIGTERM waits for the block's end; a second is obeyed at once. Nobody can
    clean up a kernel that is half started: ZeroMQ may wait for ever for a socket that nobody
    holds."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    came = []

    def note(number: int, _: object) -> None:
        came.append(number)
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number, handler in before.items():
        if handler != signal.SIG_IGN:  # as under nohup
            signal.signal(number, note)
    try:
        yield
    finally:
        restore()
        for number in came:
            signal.raise_signal(number)


def register_engine() -> None:
    """Tell papermill of an engine that stamps what papermill leaves unsaid: dead, timed-out and
    interrupted cells."""
    from nbclient.exceptions import CellTimeoutError
    from nbformat.v4 import new_output
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import Engine, papermill_engines
    from traitlets.config import Config

    config = Config({"KernelManager": {"shutdown_wait_time": SHUTDOWN_WAIT}})

    class RunEngine(Engine):
        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, *, timeout, log, progress, **_):
            at, until = [0], time.monotonic() + timeout

            def on_cell_start(cell, cell_index, **_):
                at[0] = cell_index
                progress.cell(cell_index, len(nb_man.nb.cells))

            settings = {
                "kernel_name": kernel_name,
                "startup_timeout": 120,
                "config": config,
                "on_cell_start": on_cell_start,
            }
            client = PapermillNotebookClient(
                nb_man,
                store_widget_state=False,
                timeout_func=lambda _: max(1, until - time.monotonic()),
                **settings,
            )
            for name in ("start_new_kernel", "start_new_kernel_client"):
                setattr(client, name, postponed()(getattr(client, name)))
            try:
                client.execute(stdout=log, stderr=log)
            except (RuntimeError, CellTimeoutError, KeyboardInterrupt) as error:
                # a dead kernel is a RuntimeError
                if client.km is not None:  # it had not started yet, so nbclient left it alone
                    client._cleanup_kernel()
                name = type(error).__name__
                message = STAMPS.get(name, str(error)).format(timeout / 60)
                index = next(
                    i
                    for i, cell in enumerate(nb_man.nb.cells)
                    if i >= at[0] and cell.cell_type == "code"
                )
                cell = nb_man.nb.cells[index]
                cell.outputs.insert(
                    0,
                    new_output(
                        "error", ename=name, evalue=message, traceback=[f"{name}: {message}"]
                    ),
                )
                nb_man.cell_exception(cell, cell_index=index)

    papermill_engines.register("fashion-gan", RunEngine)


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
        failure = f"{error.ename}: {error.evalue}" if error.evalue else error.ename
    progress.end(failure or "done")
    pages.write_notebook_html(run, output)
    return failure


def with_data(params: Params, say: Callable[[str], None] = print) -> Params:
    """The parameters, with data_dir where their data set lies: an own one is packed, and has its
    feature networks trained, once."""
    if params.dataset == "fashion-mnist":
        return params
    from pack import pack
    from train_features import train_for

    from fashion_gan.data import about

    root = project_root()
    folder = pack(params.dataset, root / params.data_dir, say, params.skip_unreadable)
    if (count := about(folder).own["counts"]["train"]) < params.batch_size:
        raise UserError(
            f"{params.dataset} has {count} training images, fewer than batch_size"
            f" {params.batch_size}; say -p batch_size={count // 2}"
        )
    train_for(folder, say)
    return params.model_copy(
        update={
            "data_dir": str(folder.relative_to(root) if folder.is_relative_to(root) else folder)
        }
    )


def preflight(params: Params) -> None:
    """What can be known to fail is said before a kernel starts. Raises UserError."""
    from fashion_gan import checkpoint, data, model, state

    store.tracking_uri()
    store.closing_seconds()
    state.pick_device(params.device)
    if params.workers > 1:
        cluster.import_ray(f"workers={params.workers}")
        cluster.checked_address()
    data.ensure_data(data.place(params))
    if params.model != "auto":
        model.find(params.model)
    if params.checkpoint:
        checkpoint.check_same(
            checkpoint.load(project_root() / params.checkpoint)["params"], params.model_dump()
        )


def on_terminate(*_: object) -> None:
    # a second one would come while the run is being closed
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def run_all(run: Run, say: Callable[[str], None] = print) -> int:
    """Run the notebooks of `run` that have not finished yet, then write the report. Returns the
    exit code. 0; 1 where a notebook failed; 130 where the run was interrupted. The last line says
    where the report is, or how to resume. The run's lock is held by the caller and freed here."""
    register_engine()
    before = signal.signal(signal.SIGTERM, on_terminate)
    os.environ[RUN_VARIABLE] = str(run.folder)
    run.follow()
    status, reason = "FINISHED", ""
    try:
        with Progress(run) as progress:
            for name in run.info["notebooks"]:
                if name in run.info.get("done", []):
                    continue
                reason = run_notebook(run, project_root() / "notebooks" / f"{name}.ipynb", progress)
                if reason:
                    status, reason = (
                        ("KILLED" if "KeyboardInterrupt" in reason else "FAILED"),
                        f"{name}: {reason}",
                    )
                    break
                run.update(done=[*run.info.get("done", []), name])
    except KeyboardInterrupt:
        status, reason = "KILLED", "interrupted"
    except Exception as error:  # a full disk, a broken library: the run still has to say so
        status, reason = "FAILED", f"{type(error).__name__}: {error}".splitlines()[0]
    finally:
        os.environ.pop(RUN_VARIABLE, None)
    try:
        return close(run, status, reason, say)
    finally:
        signal.signal(signal.SIGTERM, before)


def close(run: Run, status: str, reason: str, say: Callable[[str], None]) -> int:
    """Write the report, set the status, wait for MLflow's copy, say where everything is. Returns
    the exit code."""
    run.update(status=status, reason=reason)
    try:
        pages.write_report(run)
    except Exception as error:
        say(f"the report was not written ({type(error).__name__}: {error})")
    run.finish(status, reason)
    if not wait_for_copier(run, say):
        say(f"MLflow is not level: {copier.left(run)}")
    mirror.wait(run, say)
    shown = run.folder.relative_to(project_root())
    say(f"MLflow: {run.mlflow_url}")
    say(f"report: {shown}/index.html")
    if status == "FINISHED":
        return 0
    say(f"{status}: {reason}; go on with: fashion-gan resume {run.name}")
    if "UserError: " in reason:  # said by the program, for a person, from inside a cell
        raise UserError(reason.replace("UserError: ", ""))
    return 130 if status == "KILLED" else 1


def wait_for_copier(run: Run, say: Callable[[str], None]) -> bool:
    """Wait for the copier's last look. False where it did not come to an end, or ended with MLflow
    not level."""
    lock, ended, told = Lock(run.folder / "sync.lock"), run.info["ended"], False
    until = free_until = time.monotonic() + store.closing_seconds() + 30
    while time.monotonic() < min(until, free_until):
        copy = run.copy()
        if copy.get("closed") == ended:
            return True
        if copy.get("trouble") and not told:
            told = True
            say(
                f"MLflow: {copy['trouble']}; trying for {store.closing_seconds():.0f} s (what is"
                " not sent by then stays in the run folder)"
            )
        # one may be about to start
        free_until = min(free_until, time.monotonic() + 15) if lock.is_free() else until
        time.sleep(0.2)
    return False
