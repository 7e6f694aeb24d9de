"""How busy the machine was while a run went on."""

import contextlib
import json
import threading
import time

from fashion_gan.runs.run import Run
from fashion_gan.tracking.client import import_mlflow

EVERY = 10.0  # seconds between two looks


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
        points = [
            {"name": f"system/{n}", "step": int(now - created), "time": now, "value": v}
            for n, v in values.items()
        ]
        with (run.folder / "system.jsonl").open("a", encoding="utf-8") as stream:
            stream.write("".join(json.dumps(point) + "\n" for point in points))
