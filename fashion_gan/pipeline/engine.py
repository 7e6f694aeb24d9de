"""A papermill engine that stamps dead, timed-out and interrupted cells."""

import time

from fashion_gan.signals import postponed

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
