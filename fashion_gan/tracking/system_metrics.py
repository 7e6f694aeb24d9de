"""How busy the machine was while a run went on."""

import contextlib
import threading
import time

from fashion_gan.runs import points
from fashion_gan.runs.run import Run
from fashion_gan.tracking.client import import_mlflow

EVERY = 10.0  # seconds between two samples


def watch(run: Run, done: threading.Event) -> None:
    """Sample processor, memory and, where there is one, GPU into system.jsonl until `done`, under
    MLflow's own names; the step is the second since the run was made."""
    import_mlflow()
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

    created, monitors = run.info.created, [CPUMonitor()]
    with contextlib.suppress(ImportError, RuntimeError):  # there is no NVIDIA GPU here
        monitors.append(GPUMonitor())
    while not done.wait(EVERY):
        now = time.time()
        for monitor in monitors:
            monitor.clear_metrics()
            monitor.collect_metrics()
        values = {
            name: value
            for monitor in monitors
            for name, value in monitor.aggregate_metrics().items()
        }
        samples = [
            {"name": f"system/{name}", "step": int(now - created), "time": now, "value": value}
            for name, value in values.items()
        ]
        with contextlib.suppress(OSError):  # a disk that is full now may have room later
            points.append(run.folder / "system.jsonl", samples)
