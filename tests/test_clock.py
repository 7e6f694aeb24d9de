"""The wall clock jumps, an hour or a year, while something goes on: nothing waits for it, nothing
is counted by it, and what is newest stays so."""

import itertools
import shutil
import threading
import time

import pytest
from conftest import ROOT, wait_until

from fashion_gan import clock
from fashion_gan.catalog.runs import find_run, open_run
from fashion_gan.files import read_json, write_json
from fashion_gan.pipeline import runner
from fashion_gan.pipeline.progress import Progress
from fashion_gan.runs.create import create_run
from fashion_gan.runs.run import RUN_VARIABLE, Run, newest_finished
from fashion_gan.tracking import mlflow_sync, storage_sync, system_metrics
from fashion_gan.training import loop, stepper
from fashion_gan.training.state import TrainingState

HOUR = 3600.0
JUMPS = {"an hour back": -HOUR, "an hour forth": HOUR, "a year forth": 365 * 24 * HOUR}
each_jump = pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)


@pytest.fixture
def turn(monkeypatch):
    """Turns the wall clock of this process by so many seconds."""
    offset, real = [0.0], time.time
    monkeypatch.setattr(time, "time", lambda: real() + offset[0])
    return lambda seconds: offset.append(offset.pop() + seconds)


@pytest.mark.fast
def test_only_a_stop_is_left_out(monkeypatch):
    begun, now = clock.running(), time.monotonic()
    clock.leave_out_stop(0)  # a SIGCONT without a stop
    assert clock.running() - begun < 1
    monkeypatch.setattr(time, "monotonic", lambda: now + 500)
    clock.leave_out_stop(0)
    assert 0 <= clock.running() - begun < 1
    monkeypatch.setattr(time, "monotonic", lambda: now + 510)
    assert clock.running() - begun == pytest.approx(10, abs=1)
    monkeypatch.undo()
    clock._stopped -= 500


@pytest.mark.fast
@each_jump
def test_a_training(tiny, splits, tmp_path, turn, jump, monkeypatch):
    """Rates, what is left, when a checkpoint is due and when max_minutes are over."""
    params, step = tiny(checkpoint_seconds=1000.0, max_minutes=10.0), stepper.step

    def stepping(*given):
        turn(jump)
        step(*given)

    monkeypatch.setattr(stepper, "step", stepping)
    monkeypatch.setattr(loop, "PROGRESS_SECONDS", 0.0)
    begun = time.monotonic()
    results = list(loop.train(TrainingState(params), *splits, params, tmp_path))
    passed = time.monotonic() - begun
    assert [result.epoch for result in results] == [1, 2, 3]
    for metrics in (result.metrics for result in results):
        assert 0 < metrics["seconds"] < passed
        assert metrics["images_per_s"] > metrics["images"] / passed
    progress = Run(tmp_path).read_json("progress")
    assert 0 <= progress["seconds_left"] < 60


@each_jump
def test_a_runs_record(bare_project, tiny, turn, jump):
    """Points in order; an end behind the beginning, another one at each attempt; the newest run is
    the one that was made last."""
    turn(HOUR)  # the clock was wrong when the first one was made
    runs = [create_run(tiny(), name="z")]
    for step in range(1, 5):
        runs[0].log_metrics({"loss_d": 0.5}, step)
        turn(jump)
    assert runs[0].series("loss_d")[0] == [1, 2, 3, 4]
    for name in ("y", "x"):
        turn(-HOUR)
        runs.append(create_run(tiny(), name=name))
        assert find_run("latest").name == name
    ends = []
    for run in runs:
        for attempt in (1, 2):
            turn(-2 * HOUR)
            run.update(attempts=attempt, status="RUNNING", ended=None)
            run.finish()
            ends.append(run.info.ended)
            assert run.info.ended > run.info.created
    assert len(set(ends)) == len(ends)
    (run.folder / "generator.safetensors").touch()
    assert newest_finished().name == "x"


def test_a_run_of_a_damaged_time_moves_no_other(bare_project, tiny):
    damaged = create_run(tiny(), name="damaged")
    record = read_json(damaged.folder / "run.json")
    write_json(damaged.folder / "run.json", record | {"created": 1e300})
    assert create_run(tiny(), name="r").info.created <= time.time()


@each_jump
def test_a_notebook_that_opens_its_run(bare_project, tiny, turn, jump, monkeypatch):
    """It waits for the copier's first sign, some seconds at most; here there is no copier."""
    run = create_run(tiny(), name="r")
    run.update(followed=time.time() - 7)
    monkeypatch.setenv(RUN_VARIABLE, str(run.folder))
    turn(jump)
    begun, waits = time.monotonic(), []
    monkeypatch.setattr(
        "fashion_gan.catalog.runs.wait_until", lambda _, seconds: waits.append(seconds)
    )
    open_run(tiny(), kind="train")
    assert waits[0] <= 8
    assert time.monotonic() - begun < 5


@each_jump
def test_what_is_shown_of_a_training(bare_project, tiny, turn, jump, capsys):
    run = create_run(tiny(), name="r")
    progress = {"epoch": 1, "epochs": 3, "images": 1, "loss_d": 1.0, "loss_g": 1.0}
    progress |= {"images_per_s": 100.0, "seconds_left": 60.0}
    run.log_json(progress, "progress")  # of an attempt before
    with Progress(run) as shown:
        turn(-jump)
        shown.begin("02_train")
        assert shown._training() == ""
        run.log_json(progress | {"epoch": 2}, "progress")
        turn(jump)
        assert shown._training().startswith("epoch 2/3  loss D 1.000 G 1.000  100 images/s")
        before_the_first_step = {key: v for key, v in progress.items() if "loss" not in key}
        run.log_json(before_the_first_step, "progress")
        assert shown._training().startswith("epoch 1/3  100 images/s")
        shown.end("done")
    assert capsys.readouterr().out.splitlines()[-1] in (
        "02_train: done, 0 s",
        "02_train: done, 1 s",
    )


@each_jump
def test_the_lease(bare_project, tmp_path, tiny, turn, jump, monkeypatch):
    """Signs of life go on, and are signs: another machine listens for a change, compares no
    clocks."""
    (tmp_path / "share").mkdir()
    monkeypatch.setenv("RUNS_URI", str(tmp_path / "share"))
    monkeypatch.setattr(storage_sync, "HEARTBEAT", 0.05)
    run = create_run(tiny(), name="r")
    mirror = storage_sync.Mirror(run, storage_sync.open_storage())
    mirror.copy()
    owners = [mirror.storage.owner("r")]
    for _ in range(3):
        turn(jump)
        time.sleep(0.06)
        mirror.heartbeat()
        owners.append(mirror.storage.owner("r"))
    assert len({owner["time"] for owner in owners}) == 4


@each_jump
def test_system_metrics(bare_project, tiny, turn, jump, monkeypatch):
    """Their step is the second of the run; a resume goes on behind what is there."""
    monkeypatch.setattr(system_metrics, "EVERY", 0.01)
    run = create_run(tiny(), name="r")
    run.update(created=time.time() - 100)
    path = run.folder / "system.jsonl"
    for attempt in (1, 2):
        done, before = threading.Event(), path.read_bytes() if path.exists() else b""
        thread = threading.Thread(target=system_metrics.watch, args=(run, done))
        thread.start()
        wait_until(lambda before=before: path.exists() and path.read_bytes() != before, 30)
        if attempt == 1:
            turn(jump)
        count = path.read_bytes().count(b"\n")
        wait_until(lambda count=count: path.read_bytes().count(b"\n") > count, 30)
        done.set()
        thread.join()
        if attempt == 1:
            turn(-jump)
    steps = [line.point["step"] for line in system_metrics.points.read(path)]
    assert steps == sorted(steps)
    assert 100 <= steps[0] <= steps[-1] < 200


def test_a_run_that_vanished(bare_project, tiny, turn):
    run = create_run(tiny(), name="r")
    run.lock.release()
    turn(-HOUR)
    mlflow_sync.close_vanished(lambda _: None, [run])
    assert run.info.status == "FAILED"
    assert run.info.ended > run.info.created
    assert run.lock.is_free()


def test_a_kernel_that_starts_while_the_clock_runs_away(bare_project, tiny, monkeypatch):
    """An hour at each look at it; jupyter_client waits for a kernel by the wall clock."""
    shutil.copy(ROOT / "tests" / "notebooks" / "good.ipynb", bare_project / "notebooks")
    run, hours = create_run(tiny(), name="r"), itertools.count(1)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + HOUR * next(hours))
    assert runner.run_one_notebook(run, "good") == ""
