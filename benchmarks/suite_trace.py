"""What a process of the suite costs, one JSON line an event in the file that SUITE_TRACE names.
benchmarks/suite.py has every Python process import this first, and pytest load it as a plugin."""

from __future__ import annotations

import atexit
import contextlib
import importlib.abc
import importlib.util
import json
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path

HEAVY = (
    "torch",
    "torchvision",
    "mlflow",
    "ray",
    "matplotlib",
    "sklearn",
    "pandas",
    "pydantic",
    "IPython",
    "jupyterlab",
    "papermill",
    "playwright",
)
WATCHED = {  # functions whose seconds are added up, by the module that defines them
    "mlflow.store.db.utils": {"_initialize_tables": "migrating", "_upgrade_db": "migrating"},
    "fashion_gan.training.step": {"step": "training"},
    "fashion_gan.metrics.evaluator": {
        "Evaluator.scores": "measuring",
        "Evaluator.extract_features": "measuring",
    },
    "fashion_gan.training.validation": {"validate": "validating"},
}
FLUSH_SECONDS = 1.0
seconds: Counter[str] = Counter()
_flushed, _depth = time.monotonic(), threading.local()


def emit(event: str, **values: object) -> None:
    test = os.environ.get("PYTEST_CURRENT_TEST", "").split(" ")[0]
    line = json.dumps({"event": event, "pid": os.getpid(), "test": test, **values}) + "\n"
    with contextlib.suppress(OSError), open(os.environ["SUITE_TRACE"], "a") as file:
        file.write(line)


def flush() -> None:
    """Write down what was added up since the last time; a process that is killed loses a second at
    most."""
    global _flushed
    _flushed = time.monotonic()
    for name, value in list(seconds.items()):
        if value > 0.001:
            emit("seconds", what=name, seconds=round(value, 3))
    seconds.clear()


def counted(function, what: str):
    """The function, its outermost call's seconds added up under `what`."""

    def call(*args, **kwargs):
        if getattr(_depth, what, 0):
            return function(*args, **kwargs)
        setattr(_depth, what, 1)
        began = time.monotonic()
        try:
            return function(*args, **kwargs)
        finally:
            setattr(_depth, what, 0)
            seconds[what] += time.monotonic() - began
            if time.monotonic() - _flushed > FLUSH_SECONDS:
                flush()

    return call


class Loader(importlib.abc.Loader):
    """Another loader, timed; then the watched functions of the module are counted."""

    def __init__(self, inner, name: str) -> None:
        self.inner, self.name = inner, name

    def __getattr__(self, name: str):
        return getattr(self.inner, name)

    def create_module(self, spec):
        return self.inner.create_module(spec)

    def exec_module(self, module) -> None:
        began = time.monotonic()
        self.inner.exec_module(module)
        if self.name in HEAVY:
            emit("import", name=self.name, seconds=round(time.monotonic() - began, 3))
        for path, what in WATCHED.get(self.name, {}).items():
            owner, _, attribute = path.rpartition(".")
            holder = getattr(module, owner) if owner else module
            if hasattr(holder, attribute):
                setattr(holder, attribute, counted(getattr(holder, attribute), what))


class Finder(importlib.abc.MetaPathFinder):
    def __init__(self) -> None:
        self.busy = False

    def find_spec(self, name, path=None, target=None):
        if self.busy or (name not in HEAVY and name not in WATCHED):
            return None
        self.busy = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.busy = False
        if spec and spec.loader:
            spec.loader = Loader(spec.loader, name)
        return spec


def audit(event: str, args: tuple) -> None:
    if event == "subprocess.Popen":
        emit("started", program=Path(str(args[0])).name, words=[str(word) for word in args[1]][:6])


def begin() -> None:
    if any(isinstance(finder, Finder) for finder in sys.meta_path):
        return  # a virtual environment's folder may be read twice, as lib and as lib64
    emit("process", words=sys.orig_argv[:6])
    sys.meta_path.insert(0, Finder())
    sys.addaudithook(audit)
    time.sleep = counted(time.sleep, "sleeping")
    atexit.register(flush)
    atexit.register(lambda: emit("cpu", own=sum(os.times()[:2]), children=sum(os.times()[2:4])))


def pytest_runtest_logreport(report) -> None:
    """Called where the tests are gathered, once a phase of a test."""
    if not os.environ.get("PYTEST_XDIST_WORKER"):
        emit(
            "phase",
            name=report.nodeid,
            phase=report.when,
            seconds=report.duration,
            outcome=report.outcome,
        )


def pytest_runtest_setup(item) -> None:
    item.cpu_before = sum(os.times()[:4])


def pytest_runtest_teardown(item) -> None:
    if hasattr(item, "cpu_before"):  # not where it is skipped
        emit("busy", name=item.nodeid, seconds=round(sum(os.times()[:4]) - item.cpu_before, 2))
    flush()
