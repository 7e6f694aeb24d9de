"""Signals: what ends a command, what stops it for a while, and what a second one does."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT, TINY, wait_until
from terminals import Terminal, children_of, state_of

from fashion_gan import clock, signals
from fashion_gan.data.pack import pack_dataset
from fashion_gan.distributed import ray_cluster
from fashion_gan.files import read_json
from fashion_gan.pipeline import runner
from fashion_gan.runs.create import create_run
from fashion_gan.runs.run import Run
from fashion_gan.signals import ENDING, deferred_interrupt, interruptible, postponed
from fashion_gan.sweeps import tuner
from fashion_gan.tracking import storage_sync
from fashion_gan.training.checkpoints import load_latest

NAMES = [number.name for number in ENDING]
HURRIES = [number for number in ENDING if number != signal.SIGHUP]


@pytest.fixture(autouse=True)
def obeyed():
    """A suite in the background, or under nohup, ignores some of them, and so would its
    processes."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in ENDING[1:]}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def soon(monkeypatch):
    """A second signal counts as one after a moment."""
    monkeypatch.setattr(signals, "SAME_REQUEST", 0.05)


# Each of them


@pytest.mark.fast
@pytest.mark.parametrize("number", ENDING, ids=NAMES)
def test_each_interrupts_and_what_was_before_comes_back(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), interruptible():
        signal.raise_signal(number)
    assert signal.getsignal(number) == before


@pytest.mark.fast
@pytest.mark.parametrize("number", ENDING, ids=NAMES)
def test_one_that_is_ignored_stays_so(number, monkeypatch):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        for block in (interruptible, deferred_interrupt, postponed):
            with block() as received:
                signal.raise_signal(number)
            assert not received
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)


@pytest.mark.fast
@pytest.mark.parametrize("number", ENDING, ids=NAMES)
def test_a_burst_is_one_request_and_waits_for_the_step(number):
    with deferred_interrupt() as received:
        for each in (number, number, signal.SIGHUP):
            signal.raise_signal(each)
    assert received == [number]


@pytest.mark.fast
@pytest.mark.parametrize("number", HURRIES, ids=lambda number: number.name)
def test_a_second_one_does_not_wait_for_the_step(number, soon):
    with deferred_interrupt():
        signal.raise_signal(number)
        time.sleep(0.1)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)


@pytest.mark.parametrize("number", HURRIES, ids=lambda number: number.name)
def test_a_second_one_ends_a_command_that_is_closing(number, soon):
    """In a process of its own, since it ends at once: exit code 130, and no line more."""
    child = os.fork()
    if child == 0:
        try:
            with interruptible():
                signal.raise_signal(number)
        except KeyboardInterrupt:
            os._exit(1)  # too early: the block goes on for long
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    child = os.fork()
    if child == 0:
        with interruptible():
            try:
                signal.raise_signal(number)
            except KeyboardInterrupt:
                time.sleep(0.1)
                signal.raise_signal(number)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130


@pytest.mark.fast
@pytest.mark.parametrize("number", ENDING, ids=NAMES)
def test_a_window_that_is_closed_later_hurries_nobody(number, soon):
    """Nor does the end of the process that began this one."""
    with deferred_interrupt() as received:
        signal.raise_signal(number)
        time.sleep(0.1)
        signal.raise_signal(signal.SIGHUP)
    assert received == [number]


# Commands


@pytest.fixture
def pictures(tmp_path):
    """A set that takes a second to pack."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (20_000, 48, 48), dtype=np.uint8)
    np.savez(tmp_path / "many.npz", images=images)
    return tmp_path / "many.npz"


SLOW_PACKING = """
import sys, time
from fashion_gan.cli import main
from fashion_gan.data import pack, sources
sources.BATCH, append = 500, pack._append
pack._append = lambda *given: (time.sleep(0.05), append(*given))
sys.argv = ["fashion-gan", "data", "--folder", sys.argv[1], "--dataset", sys.argv[2]]
main()
"""


def packing(pictures, folder, **more):
    words = [sys.executable, "-c", SLOW_PACKING, str(folder), str(pictures)]
    process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True, **more)
    wait_until(lambda: list(folder.glob("sets/*/begun/packing.json")), 60, "a batch", process)
    return process


@pytest.mark.parametrize(
    "number", [signal.SIGHUP, *(pytest.param(number, marks=pytest.mark.slow) for number in HURRIES)]
)
def test_a_packing_says_that_it_was_interrupted_and_goes_on(pictures, tmp_path, number):
    process = packing(pictures, tmp_path / "broken")
    process.send_signal(number)
    assert process.communicate(timeout=60)[1].splitlines()[-1] == "interrupted"
    assert process.returncode == 130
    assert not list(tmp_path.rglob("*.tmp"))
    said = []
    packed = pack_dataset(str(pictures), tmp_path / "broken", said.append)
    assert "going on at" in said[0]
    whole = pack_dataset(str(pictures), tmp_path / "whole", said.append)
    assert read_json(packed / "dataset.json") == read_json(whole / "dataset.json")


def test_nohup(pictures, tmp_path):
    def as_nohup():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = packing(pictures, tmp_path / "x", preexec_fn=as_nohup)
    (state,) = (tmp_path / "x").glob("sets/*/begun/packing.json")
    process.send_signal(signal.SIGHUP)
    done = read_json(state)["done"]
    wait_until(lambda: read_json(state)["done"] > done + 1000, 60, "more batches", process)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_a_copier_that_is_interrupted_does_not_wait_for_the_runs_end(
    bare_project, tmp_path, tiny, monkeypatch
):
    """Its thread mirrors until the run has ended, which may be tomorrow."""
    (tmp_path / "share").mkdir()
    monkeypatch.setenv("RUNS_URI", str(tmp_path / "share"))
    monkeypatch.setattr(storage_sync, "EVERY", 0.1)
    run = create_run(tiny(), name="r")
    with pytest.raises(KeyboardInterrupt), storage_sync.mirroring(run, True, print):
        raise KeyboardInterrupt
    mirrors = [each for each in threading.enumerate() if each.name.endswith("(follow_storage)")]
    assert len(mirrors) == 1
    run.finish()
    mirrors[0].join(30)


def test_rays_processes_outlive_the_terminal(monkeypatch):
    """They inherit what is ignored, and so are there while a sweep closes its trials."""
    ignored = []

    class Ray:
        @staticmethod
        def init(*_, **__):
            ignored.extend(n for n in ENDING if signal.getsignal(n) == signal.SIG_IGN)

    monkeypatch.setattr(ray_cluster, "import_ray", lambda _: Ray)
    ray_cluster.connect("a sweep")
    assert ignored == [signal.SIGHUP, signal.SIGQUIT]
    assert not any(signal.getsignal(number) == signal.SIG_IGN for number in ignored)


@pytest.mark.parametrize("number", ENDING, ids=NAMES)
def test_a_sweep_closes_its_trials(tmp_path, number):
    """Ray Tune ends by SIGUSR1; here nobody listens to it."""
    with tuner.interruptions(Run(tmp_path)) as received:
        signal.raise_signal(number)
        signal.raise_signal(number)
    assert received == [number]
    assert (tmp_path / tuner.STOPPING).exists()


# A terminal


needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")


@needs_proc
@pytest.mark.slow
def test_a_run_that_is_stopped_goes_on_and_outlives_its_terminal(project):
    """Ctrl-Z, `fg`, and the window is closed."""
    terminal = Terminal(project)
    shutil.copy(
        ROOT / "tests" / "notebooks" / "train_forever.ipynb", project / "notebooks/02_train.ipynb"
    )
    profile = {"notebooks": ["02_train"], **TINY, "epochs": 100_000}
    (project / "params" / "forever.yaml").write_text(yaml.safe_dump(profile))
    run = Run(project / "reports" / "r")
    folder = run.folder / "checkpoints"

    def seconds():
        return load_latest(folder)["state"]["position"]["seconds"]

    terminal.type(f"{sys.executable} -m fashion_gan run params/forever.yaml --name r\n")
    wait_until(lambda: list(folder.glob("last-*.pt")), 120, "a checkpoint")
    (process,) = children_of(terminal.shell.pid)
    (kernel,) = (
        child
        for child in children_of(process)
        if b"ipykernel" in Path(f"/proc/{child}/cmdline").read_bytes()
    )
    terminal.type("\x1a")
    wait_until(lambda: state_of(process) == state_of(kernel) == "T", 20, "stopped")
    before, names = seconds(), sorted(folder.iterdir())
    time.sleep(4)
    assert sorted(folder.iterdir()) == names
    terminal.type("fg\n")
    begun = time.monotonic()
    wait_until(lambda: sorted(folder.iterdir()) != names, 20, "going on")
    assert state_of(kernel) != "T"
    terminal.close()
    wait_until(lambda: not state_of(process).strip("Z"), 90, "the end")
    assert 0 < seconds() - before < time.monotonic() - begun + 1
    assert (run.info.status, run.info.reason.split(":")[0]) == ("KILLED", "02_train")
    assert state_of(kernel) in ("", "Z")
    assert "KILLED" in (run.folder / "index.html").read_text()
    assert run.copy()["closed"] == run.info.ended


@needs_proc
def test_ctrl_backslash_and_a_stopped_job_whose_window_is_closed(bare_project):
    """The shell sends SIGHUP, and then SIGCONT, to what it has stopped."""
    project, terminal = bare_project, Terminal(bare_project)
    (project / "work.py").write_text(STOPPED)
    for ending in ("\x1c", None):
        terminal.type(f"{sys.executable} work.py\n")
        wait_until((project / "begun").exists, 60, "the work")
        (process,) = children_of(terminal.shell.pid)
        if ending:
            terminal.type(ending)
        else:
            terminal.type("\x1a")
            wait_until(lambda process=process: state_of(process) == "T", 20, "stopped")
            terminal.close()
        wait_until((project / "whole").exists, 20, "the end")
        (project / "begun").unlink()
        (project / "whole").unlink()


STOPPED = """
import time
from pathlib import Path
from fashion_gan.cli.output import open_standard_streams, outlast_output
from fashion_gan.signals import interruptible
open_standard_streams()
outlast_output()
try:
    with interruptible():
        Path("begun").touch()
        while True:
            time.sleep(0.1)
            print("working", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    Path("whole").touch()
"""


@pytest.mark.slow
def test_the_time_that_a_stop_takes_is_not_the_cells(bare_project, tiny, monkeypatch):
    """A cell of 7 s against 6 s, with a stop of half a minute soon after its beginning."""
    notebook = json.loads((ROOT / "tests" / "notebooks" / "slow.ipynb").read_text())
    parameters = notebook["cells"][1]
    cell = parameters | {"id": "9", "metadata": {}, "source": "import time; time.sleep(7)"}
    notebook["cells"] = [parameters, cell]
    (bare_project / "notebooks" / "slow.ipynb").write_text(json.dumps(notebook))
    run = create_run(tiny(timeout_minutes=0.1), name="r", notebooks=("slow",))

    def stop(*_):
        threading.Timer(0.3, lambda: setattr(clock, "_stopped", clock._stopped + 30)).start()

    with monkeypatch.context() as stopping:
        stopping.setattr("fashion_gan.pipeline.progress.Progress.cell", stop)
        assert runner.run_one_notebook(run, "slow") == ""
    run.update(params=tiny(timeout_minutes=0.05).model_dump())
    assert "CellTimeoutError" in runner.run_one_notebook(run, "slow")
