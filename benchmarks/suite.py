"""What the test suite costs, by file and by cause: python benchmarks/suite.py [words for pytest].
Two cores, nothing beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = {  # a word in a command's first words: what was started
    "ipykernel_launcher": "Jupyter kernel",
    "jupyterlab": "JupyterLab",
    "jupyter-lab": "JupyterLab",
    "voila": "Voilà",
    "run-driver": "browser (with its driver)",
    "weed": "S3 store",
    "postgres": "PostgreSQL",
    "initdb": "initdb",
    "raylet": "Ray node",
    "node": "Node",
}
PYTHON = ("Jupyter kernel", "JupyterLab", "Voilà", "MLflow server")  # they tell of themselves


def traced(words: list[str], trace: Path) -> float:
    """Run pytest with every Python process below it traced; the seconds it took."""
    hook = Path(sysconfig.get_paths()["purelib"]) / "suite_trace.pth"
    folder = str(Path(__file__).parent)
    code = (
        f"import os, sys; 'SUITE_TRACE' in os.environ and (sys.path.append({folder!r}),"
        " __import__('suite_trace').begin())"
    )
    hook.write_text(code + "\n")
    began = time.monotonic()
    try:
        command = [sys.executable, "-m", "pytest", "-p", "suite_trace", *words]
        subprocess.run(command, cwd=ROOT, env=os.environ | {"SUITE_TRACE": str(trace)})
    finally:
        hook.unlink()
    return time.monotonic() - began


def kind_of(words: list[str]) -> str | None:
    """What was started by a command, if it is one of the dear ones."""
    line = " ".join(words)
    if "mlflow" in line and ("server" in words or "serve" in words or "ui" in words):
        return "MLflow server"
    first_words = " ".join(words[:4])
    return next((kind for program, kind in PROGRAMS.items() if program in first_words), None)


@dataclass
class Costs:
    """What the events of a trace add up to."""

    files: dict[str, Counter] = field(default_factory=lambda: defaultdict(Counter))
    busy: Counter = field(default_factory=Counter)  # seconds of processor time, by file
    seconds: Counter = field(default_factory=Counter)  # by cause
    times: Counter = field(default_factory=Counter)  # by cause

    def add(self, event: dict) -> None:
        name = event.get("name", "")
        file = name.split("::")[0]
        if event["event"] == "phase":
            self.files[file]["seconds"] += event["seconds"]
            self.files[file]["tests"] += event["phase"] == "call"
        elif event["event"] == "busy":
            self.busy[file] += event["seconds"]
        elif event["event"] == "import":
            self.seconds[f"import {name}"] += event["seconds"]
            self.times[f"import {name}"] += 1
        elif event["event"] == "seconds":
            self.seconds[event["what"]] += event["seconds"]
            self.times[event["what"]] += event["what"] != "migrating"
        elif event["event"] == "process":
            self.times["Python interpreter"] += 1
        if event["event"] in ("process", "started") and (kind := kind_of(event["words"])):
            self.times[kind] += event["event"] == ("process" if kind in PYTHON else "started")


def summarized(trace: Path, wall: float) -> str:
    costs = Costs()
    for line in trace.read_text().splitlines():
        costs.add(json.loads(line))
    total = sum(costs.files.values(), Counter())
    lines = [f"{wall:.0f} s", "", "| file | tests | seconds | of them busy |", "|---|---|---|---|"]
    for name, cost in sorted(costs.files.items(), key=lambda pair: -pair[1]["seconds"]):
        busy = costs.busy[name]
        lines.append(
            f"| {Path(name).name} | {cost['tests']} | {cost['seconds']:.0f} | {busy:.0f} |"
        )
    busy = sum(costs.busy.values())
    lines += [f"| all | {total['tests']} | {total['seconds']:.0f} | {busy:.0f} |", ""]
    lines += ["| cause | times | seconds, over all processes |", "|---|---|---|"]
    causes = costs.times | costs.seconds
    for name in sorted(causes, key=lambda name: (-costs.seconds[name], -costs.times[name])):
        lines.append(f"| {name} | {costs.times[name]} | {costs.seconds[name]:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    trace = Path(tempfile.mkdtemp()) / "trace.jsonl"
    print(trace, flush=True)
    wall = traced(
        sys.argv[1:] or ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"], trace
    )
    print(summarized(trace, wall))
