"""How busy the machine was while a run went on."""

import contextlib
import threading
import time

from fashion_gan import clock
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

    path, monitors = run.folder / "system.jsonl", [CPUMonitor()]
    steps = [line.point["step"] for line in points.read(path) if line.point]
    # of the wall clock only the beginning: it may be set while the run goes on
    begun = clock.running() - max([time.time() - run.info.created, *steps])
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
            {
                "name": f"system/{name}",
                "step": int(clock.running() - begun),
                "time": now,
                "value": value,
            }
            for name, value in values.items()
        ]
        with contextlib.suppress(OSError):  # a disk that is full now may have room later
            points.append(path, samples)
