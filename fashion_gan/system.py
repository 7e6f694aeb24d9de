"""How busy the machine was while a run went on."""

import contextlib
import json
import threading
import time

from fashion_gan.run import Run
from fashion_gan.store import import_mlflow

EVERY = 10.0  # seconds between two looks


class SystemWatch(threading.Thread):
    """Samples processor, memory and, where there is one, GPU into system.jsonl under MLflow's own names; the step is the
    second since the run was made."""

    def __init__(self, run: Run):
        super().__init__(daemon=True)
        import_mlflow()
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

        self.path, self.created, self.done = run.folder / "system.jsonl", run.info["created"], threading.Event()
        self.monitors = [CPUMonitor()]
        with contextlib.suppress(ImportError, RuntimeError):  # there is no NVIDIA GPU here
            self.monitors.append(GPUMonitor())

    def run(self) -> None:
        while not self.done.wait(EVERY):
            now, values = time.time(), {}
            for monitor in self.monitors:
                monitor.clear_metrics()
                monitor.collect_metrics()
                values |= monitor.aggregate_metrics()
            points = [{"name": f"system/{n}", "step": int(now - self.created), "time": now, "value": v} for n, v in values.items()]
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write("".join(json.dumps(point) + "\n" for point in points))
