"""A papermill engine that stamps dead, timed-out and interrupted cells."""

import sys
import time
from typing import Any

from fashion_gan.pipeline.kernels import ProjectKernels
from fashion_gan.signals import postponed

# seconds a kernel has to write its last checkpoint; at 5, jupyter's own, one of 4 s was lost
SHUTDOWN_WAIT = 60
# where a library says no more than that a kernel died
KERNEL = "its Python is {python}; more is in {log}"
STAMPS = {
    "DeadKernelError": f"the kernel died while this cell ran (out of memory, or killed); {KERNEL}",
    "RuntimeError": f"{{error}}; {KERNEL}",
    "CellTimeoutError": (
        "the notebook took longer than the allowed {minutes:g} minutes (timeout_minutes), and was"
        " in this cell"
    ),
    "KeyboardInterrupt": "interrupted while this cell ran",
}


def register_engine() -> None:
    """Tell papermill of an engine that stamps what papermill leaves unsaid: dead, timed-out and
    interrupted cells."""
    from nbclient.exceptions import CellTimeoutError
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import Engine, papermill_engines
    from traitlets.config import Config

    config = Config({"KernelManager": {"shutdown_wait_time": SHUTDOWN_WAIT}})

    class RunEngine(Engine):
        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, *, timeout, log, progress, **_):
            deadline = time.monotonic() + timeout
            running = 0  # the number of the cell that was started last

            def on_cell_start(cell, cell_index, **_):
                nonlocal running
                running = cell_index
                progress.cell(cell_index, len(nb_man.nb.cells))

            client = PapermillNotebookClient(
                nb_man,
                store_widget_state=False,
                timeout_func=lambda _: max(1, deadline - time.monotonic()),
                kernel_name=kernel_name,
                startup_timeout=120,
                config=config,
                on_cell_start=on_cell_start,
                stderr_file=progress,
            )
            client.create_kernel_manager().kernel_spec_manager = ProjectKernels()
            for name in ("start_new_kernel", "start_new_kernel_client"):
                setattr(client, name, postponed()(getattr(client, name)))
            try:
                client.execute(stdout=log, stderr=log)
            # a dead kernel is a RuntimeError
            except (RuntimeError, CellTimeoutError, KeyboardInterrupt) as error:
                if client.km is not None:  # it had not started yet, so nbclient left it alone
                    client._cleanup_kernel()
                _stamp(nb_man, running, error, minutes=timeout / 60, log=log.name)

    papermill_engines.register("fashion-gan", RunEngine)


def _stamp(nb_man: Any, running: int, error: BaseException, **facts: Any) -> None:
    """Write the error, told with these facts, into the code cell that ran, the next one if that is
    prose."""
    from nbformat.v4 import new_output

    name = type(error).__name__
    words = STAMPS.get(name, "{error}")
    message = words.format(error=error, python=sys.executable, **facts)
    cells = enumerate(nb_man.nb.cells)
    index, cell = next((i, c) for i, c in cells if i >= running and c.cell_type == "code")
    output = new_output("error", ename=name, evalue=message, traceback=[f"{name}: {message}"])
    cell.outputs.insert(0, output)
    nb_man.cell_exception(cell, cell_index=index)
