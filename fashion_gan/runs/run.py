"""The run folder and its record: the truth that reports and trackers are copies of. Never imports
mlflow."""

import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from fashion_gan.config.params import Params
from fashion_gan.config.settings import project_root, working_root
from fashion_gan.errors import UserError, describe, warn_once
from fashion_gan.files import Lock, read_json, write_json
from fashion_gan.runs import points
from fashion_gan.runs.record import RunInfo

RUN_VARIABLE = "FASHION_GAN_RUN"  # the pipeline tells its kernels which run they belong to


class Run:
    """One run folder: its description (run.json), metrics, figures. A context manager that sets the
    final status."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.lock = Lock(folder / "run.lock")
        self._logged: set[tuple[str, int]] | None = None

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def info(self) -> RunInfo:
        """run.json as it is now. Raises UserError where it is damaged."""
        return RunInfo.read(self.folder / "run.json")

    def write(self, info: RunInfo) -> None:
        write_json(self.folder / "run.json", info.json_dict())

    def update(self, **values: Any) -> None:
        """Change fields of run.json."""
        self.write(RunInfo.model_validate(self.info.json_dict() | values))

    @property
    def params(self) -> Params:
        return Params.checked(self.info.params)

    @property
    def mlflow_url(self) -> str:
        """Where the run can be seen in MLflow; the copier writes it once it has made the run
        there."""
        if self.info.status == "SCRATCH":
            return "not tracked (scratch)"
        copy = self.copy()
        if copy.get("trouble") and "url" not in copy:
            return f"not reached yet ({copy['trouble']}); later: fashion-gan sync {self.name}"
        return copy.get("url", "being made (see mlflow.json in the folder)")

    @property
    def copies(self) -> dict[str, dict[str, Any]]:
        """What the copier remembers of each MLflow store that has a copy, by the store's
        address."""
        return (self.read_json("mlflow") or {}).get("copies", {})

    def copy(self, store: str = "") -> dict[str, Any]:
        """What the copier remembers of one store (default: the last one): how far it is, where the
        run is seen."""
        return self.copies.get(store or (self.read_json("mlflow") or {}).get("last"), {})

    def log_metrics(self, values: dict[str, float], step: int) -> None:
        """Append points to metrics.jsonl; of a (name, step) the first one counts. Raises ValueError
        for NaN or infinity."""
        for name, value in values.items():
            if not math.isfinite(value):
                raise ValueError(f"metric {name} is {value} at step {step}")
        if self._logged is None:
            self._logged = {(point["name"], point["step"]) for point in self.metrics()}
        now = time.time()
        new = [name for name in values if (name, step) not in self._logged]
        points.append(
            self.folder / "metrics.jsonl",
            [{"name": n, "step": step, "time": now, "value": float(values[n])} for n in new],
        )
        self._logged |= {(name, step) for name in new}

    def metrics(self) -> list[points.Point]:
        """All points, in the order they were logged."""
        lines = points.read(self.folder / "metrics.jsonl")
        return [line.point for line in lines if line.point]

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of one metric."""
        series = [p for p in self.metrics() if p["name"] == name]
        return [p["step"] for p in series], [p["value"] for p in series]

    def last(self) -> dict[str, float]:
        """The last value of each metric."""
        return {p["name"]: p["value"] for p in self.metrics()}

    def log_figure(self, picture: Any, name: str) -> Any:
        """Save a plots.Picture as images/<name>.png with its alternative text and width; gives it
        back, so that a cell shows it. One that cannot be saved is named, and ends nothing."""
        description = {"alt": picture.alt, "width": picture.width}
        try:
            picture.save(self.folder / "images" / f"{name}.png")
            descriptions = self.read_json("images/descriptions") or {}
            if descriptions.get(name) != description:
                self.log_json(descriptions | {name: description}, "images/descriptions")
        except (OSError, ValueError) as error:
            warn_once(f"picture {name} was not kept: {error}; the run goes on without it")
        return picture

    def log_json(self, value: Any, name: str) -> None:
        """Save <name>.json in the folder."""
        write_json(self.folder / f"{name}.json", value)

    def read_json(self, name: str) -> Any:
        """What log_json(…, name) saved, or None."""
        path = self.folder / f"{name}.json"
        return read_json(path) if path.exists() else None

    def follow(self) -> None:
        """Start the copier to MLflow, a process of its own session; it waits for one that is still
        closing."""
        if self.info.status != "SCRATCH":
            self.update(followed=time.time())
            with (self.folder / "sync.log").open("a") as log:
                subprocess.Popen(
                    [sys.executable, "-m", "fashion_gan", "sync", str(self.folder), "--follow"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    cwd=project_root(),
                )

    def finish(self, status: str = "FINISHED", reason: str = "") -> None:
        """Write the final status (FINISHED, FAILED or KILLED) and free the run for the copier's
        last pass."""
        info = self.info
        # behind its beginning and another one at each attempt, even if the clock was set back
        ended = max(time.time(), info.created + info.attempts / 1000)
        self.update(status=status, reason=reason, ended=ended)
        self.lock.release()

    def close(self, error: BaseException | None = None) -> None:
        """End a run that a notebook was given by hand; under the pipeline, or in scratch, the
        caller decides."""
        if self.info.status == "RUNNING" and not os.environ.get(RUN_VARIABLE):
            status = (
                "KILLED"
                if isinstance(error, KeyboardInterrupt)
                else "FAILED"
                if error
                else "FINISHED"
            )
            self.finish(status, describe(error) if error else "")
            print(f"run {self.name} is {status}; MLflow: {self.mlflow_url}")

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self.close(error)


def all_runs(reports: Path | None = None) -> list[Run]:
    """Every run in `reports` (default: the project's), oldest first; scratch and the showcase are
    none. One whose run.json is damaged is named once and left out."""
    runs = []
    for path in (reports or working_root() / "reports").glob("*/run.json"):
        if path.parent.name in ("scratch", "showcase"):
            continue
        run = Run(path.parent)
        try:
            runs.append((run.info.created, run.name, run))
        except UserError as error:
            warn_once(str(error))
    return [run for _, _, run in sorted(runs, key=lambda entry: entry[:2])]


def newest_finished() -> Run | None:
    return next(
        (
            r
            for r in reversed(all_runs())
            if r.info.status == "FINISHED" and (r.folder / "generator.safetensors").exists()
        ),
        None,
    )
