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
    return next(
        (kind for word, kind in PROGRAMS.items() if any(word in each for each in words[:4])), None
    )


def summarized(trace: Path, wall: float) -> str:
    events = [json.loads(line) for line in trace.read_text().splitlines()]
    by_file, busy, causes, counts = defaultdict(Counter), Counter(), Counter(), Counter()
    for e in events:
        if e["event"] == "phase":
            by_file[e["name"].split("::")[0]][e["phase"]] += e["seconds"]
            by_file[e["name"].split("::")[0]]["tests"] += e["phase"] == "call"
        elif e["event"] == "busy":
            busy[e["name"].split("::")[0]] += e["seconds"]
        elif e["event"] == "import":
            causes[f"import {e['name']}"] += e["seconds"]
            counts[f"import {e['name']}"] += 1
        elif e["event"] == "seconds":
            causes[e["what"]] += e["seconds"]
            counts[e["what"]] += e["what"] != "migrating"
        elif e["event"] == "process":
            counts["Python interpreter"] += 1
        if kind := kind_of(e["words"]) if e["event"] in ("process", "started") else None:
            counts[kind] += e["event"] == ("process" if kind in PYTHON else "started")
    total = lambda each: each["setup"] + each["call"] + each["teardown"]  # noqa: E731
    lines = [f"{wall:.0f} s", "", "| file | tests | seconds | of them busy |", "|---|---|---|---|"]
    for name, each in sorted(by_file.items(), key=lambda pair: -total(pair[1])):
        lines.append(
            f"| {Path(name).name} | {each['tests']} | {total(each):.0f} | {busy[name]:.0f} |"
        )
    everything = sum(total(each) for each in by_file.values())
    lines += [
        (
            f"| all | {sum(e['tests'] for e in by_file.values())} | {everything:.0f} |"
            f" {sum(busy.values()):.0f} |"
        ),
        "",
    ]
    lines += ["| cause | times | seconds, over all processes |", "|---|---|---|"]
    for name in sorted(counts | causes, key=lambda n: (-causes[n], -counts[n])):
        lines.append(f"| {name} | {counts[name]} | {causes[name]:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    trace = Path(tempfile.mkdtemp()) / "trace.jsonl"
    print(trace, flush=True)
    wall = traced(
        sys.argv[1:] or ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"], trace
    )
    print(summarized(trace, wall))
