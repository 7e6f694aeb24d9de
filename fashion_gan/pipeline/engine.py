"""A papermill engine that stamps dead, timed-out and interrupted cells."""

import asyncio
import contextlib
import os
import sys
from typing import Any

from fashion_gan import clock
from fashion_gan.pipeline.kernels import ProjectKernels
from fashion_gan.signals import postponed, stopping_with

# seconds a kernel has to write its last checkpoint; at 5, jupyter's own, one of 4 s was lost
SHUTDOWN_WAIT = 60
STARTUP_WAIT = 120  # seconds that it has to start
# where a library says no more than that a kernel died
KERNEL = "its Python is {python}; more is in {log}"
STAMPS = {
    "DeadKernelError": f"the kernel died while this cell ran (out of memory, or killed); {KERNEL}",
    "RuntimeError": f"{{error}}; {KERNEL}",
    "CellTimeoutError": (
        "the notebook took longer than the allowed {minutes:g} minutes (timeout_minutes), and was"
        " in this cell"
    ),
    "TimeoutError": f"no kernel had started after {STARTUP_WAIT} s",
    "KeyboardInterrupt": "interrupted while this cell ran",
}


def register_engine() -> None:
    """Tell papermill of an engine that stamps what papermill leaves unsaid: dead, timed-out and
    interrupted cells."""
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import Engine, papermill_engines
    from traitlets.config import Config

    config = Config({"KernelManager": {"shutdown_wait_time": SHUTDOWN_WAIT}})

    class RunEngine(Engine):
        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, *, timeout, log, progress, **_):
            deadline = clock.running() + timeout
            running = 0  # the number of the cell that was started last

            def on_cell_start(cell, cell_index, **_):
                nonlocal running
                running = cell_index
                progress.cell(cell_index, len(nb_man.nb.cells))

            client = PapermillNotebookClient(
                nb_man,
                store_widget_state=False,
                timeout_func=lambda _: max(1, deadline - clock.running()),
                kernel_name=kernel_name,
                startup_timeout=10**9,  # by the wall clock; start_client waits by another one
                config=config,
                on_cell_start=on_cell_start,
                stderr_file=progress,
                on_notebook_start=lambda **_: _leave_stops_out(),
            )
            _prepare_start(client)
            try:
                with stopping_with(lambda number: _send(client, number)):
                    client.execute(stdout=log, stderr=log)
            # a dead kernel is a RuntimeError
            except (RuntimeError, TimeoutError, KeyboardInterrupt) as error:
                if client.km is not None:  # it had not started yet, so nbclient left it alone
                    client._cleanup_kernel()
                _stamp(nb_man, running, error, minutes=timeout / 60, log=log.name)

    papermill_engines.register("fashion-gan", RunEngine)


def _prepare_start(client: Any) -> None:
    """The kernel is that of this environment. Its start is not broken off halfway, and the time
    that Ctrl-Z takes is not its own."""
    from nbclient.util import run_sync

    client.create_kernel_manager().kernel_spec_manager = ProjectKernels()

    async def start_client():
        await asyncio.wait_for(client.async_start_new_kernel_client(), STARTUP_WAIT)

    client.start_new_kernel = postponed()(client.start_new_kernel)
    client.start_new_kernel_client = postponed()(run_sync(start_client))


def _leave_stops_out() -> None:
    """In the event loop whose timers end a cell: the time that Ctrl-Z takes is not the cell's."""
    asyncio.get_running_loop().time = clock.running


def _send(client: Any, number: int) -> None:
    """Send a signal to the kernel and what it has started; it is in a session of its own."""
    provisioner = client.km and client.km.provisioner
    with contextlib.suppress(ProcessLookupError):
        if provisioner and provisioner.has_process:
            os.killpg(provisioner.pgid, number)


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
