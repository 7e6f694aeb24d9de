"""metrics.jsonl and system.jsonl, whole and harmed."""

import json
import subprocess
import sys

import pytest

from fashion_gan.config.params import Params
from fashion_gan.runs import points
from fashion_gan.runs.create import create_run
from fashion_gan.runs.run import Run


def point(step, value=0.5):
    return {"name": "loss", "step": step, "time": 1.5e9, "value": value}


def steps(path, start=0):
    return [line.point["step"] for line in points.read(path, start) if line.point]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "metrics.jsonl"
    points.append(path, [point(1), point(2)])
    return path


def test_what_is_written_is_read(path):
    points.append(path, [point(3)])
    assert [line.point for line in points.read(path)] == [point(1), point(2), point(3)]
    assert points.read(path)[-1].end == path.stat().st_size


def test_one_goes_on_where_one_ended(path):
    first = points.read(path)[0]
    assert steps(path, first.end) == [2]
    assert points.read(path, path.stat().st_size) == []
    assert points.read(path.with_name("none.jsonl")) == []


@pytest.mark.parametrize("torn", ["{", '{"name": "loss", "st', json.dumps(point(3))])
def test_a_torn_end_is_not_read_and_harms_nothing_after_it(path, torn):
    with path.open("a") as stream:
        stream.write(torn)
    assert steps(path) == [1, 2]
    points.append(path, [point(3), point(4)])
    assert steps(path) == [1, 2, 3, 4]


DAMAGED = {
    "torn": b'{"name": "lo',
    "empty": b"",
    "a list": b"[1]",
    "a name less": b'{"step": 1, "time": 1, "value": 1}',
    "a text for a value": b'{"name": "a", "step": 1, "time": 1, "value": "x"}',
    "not a number": b'{"name": "a", "step": 1, "time": 1, "value": NaN}',
    "infinite": b'{"name": "a", "step": 1, "time": 1, "value": 1e999}',
    "a broken step": b'{"name": "a", "step": 1.5, "time": 1, "value": 1}',
    "too large": b'{"name": "a", "step": 1, "time": 1, "value": 1' + b"0" * 400 + b"}",
    "no text": b"\xff\xfe\x00",
    "zeros of a power cut": b"\x00" * 100,
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_line_is_named_once_and_left_out(path, content, capsys):
    with path.open("ab") as stream:
        stream.write(content + b"\n")
    points.append(path, [point(3)])
    for _ in range(2):
        assert steps(path) == [1, 2, 3]
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 1
    assert warnings[0].startswith(f"warning: {path}: the line before byte ")


def test_a_write_that_failed_half_way_does_not_harm_the_next(path):
    """The kernel takes half of a line and then refuses, as on a full disk."""
    code = f"""
import resource, signal, pathlib
from fashion_gan.runs import points
path = pathlib.Path({str(path)!r})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
room = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 30, room[1]))
try:
    points.append(path, [{point(3)!r}])
except OSError as error:
    print(error.errno)
print(path.read_bytes().endswith(b"\\n"))
resource.setrlimit(resource.RLIMIT_FSIZE, room)
points.append(path, [{point(4)!r}])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["27", "False"]
    assert steps(path) == [1, 2, 4]


@pytest.mark.parametrize("name", ["metrics.jsonl", "system.jsonl"])
def test_mlflow_becomes_level_beside_a_damaged_line(project, name):
    from fashion_gan.tracking import mlflow_sync
    from fashion_gan.tracking.client import EXPERIMENT, make_client

    run = create_run(Params(), name="r")
    points.append(run.folder / name, [point(1)])
    with (run.folder / name).open("ab") as stream:
        stream.write(b'{"name": "los\n')
    points.append(run.folder / name, [point(step) for step in range(2, 600)])
    run.finish()
    mlflow_sync.sync(run)
    assert mlflow_sync.pending(run) == (0, 0)
    client = make_client()
    experiment = client.get_experiment_by_name(EXPERIMENT)
    (copy,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(copy.info.run_id, "loss")
    assert sorted(metric.step for metric in history) == list(range(1, 600))
    assert copy.info.status == "FINISHED"


def test_a_training_goes_on_beside_a_damaged_line(project):
    run = create_run(Params(), name="r")
    run.log_metrics({"loss": 1.0}, 1)
    path = run.folder / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + b"\x00\x00\n")
    again = Run(run.folder)  # as a resume reads it
    again.log_metrics({"loss": 9.0}, 1)
    again.log_metrics({"loss": 2.0}, 2)
    assert again.series("loss") == ([1, 2], [1.0, 2.0])
    run.lock.release()
