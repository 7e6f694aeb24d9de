import contextlib
import json
import os
import platform
import re
import subprocess
import sys
import time

import pytest

from fashion_gan import UserError
from fashion_gan.catalog.runs import find_run, open_run
from fashion_gan.config.params import Params
from fashion_gan.files import read_json, write_json
from fashion_gan.report import plots
from fashion_gan.runs.create import check_name, create_run
from fashion_gan.runs.run import RUN_VARIABLE, Run, all_runs, newest_finished
from fashion_gan.tracking import mlflow_sync


@pytest.fixture
def run(bare_project):
    return create_run(Params(), name="r1", profile="smoke", notebooks=("02_train",))


def test_a_new_run_says_where_it_came_from(run, bare_project):
    info = run.info
    assert (info.status, info.name, info.params["seed"]) == ("RUNNING", "r1", 0)
    assert len(info.uuid) == 32
    assert {
        "git_commit",
        "git_dirty",
        "profile",
        "notebook.02_train",
        "version.torch",
        "command",
    } <= info.tags.keys()


def test_points_are_known_by_name_and_step_and_the_first_counts(run):
    run.log_metrics({"a": 1.0, "b": 2.0}, 1)
    run.log_metrics({"a": 9.0}, 1)
    Run(run.folder).log_metrics({"a": 9.0, "b": 5.0}, 1)  # another process, later
    Run(run.folder).log_metrics({"a": 3.0}, 2)
    assert [(p["name"], p["step"], p["value"]) for p in run.metrics()] == [
        ("a", 1, 1.0),
        ("b", 1, 2.0),
        ("a", 2, 3.0),
    ]
    assert run.series("a") == ([1, 2], [1.0, 3.0])


def test_a_torn_last_line_is_ignored_by_readers_and_cut_by_the_writer(run):
    run.log_metrics({"a": 1.0}, 1)
    with (run.folder / "metrics.jsonl").open("a") as stream:
        stream.write('{"name": "a", "step": 2, "ti')
    assert len(run.metrics()) == 1
    Run(run.folder).log_metrics({"a": 2.0}, 2)
    lines = (run.folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["value"] for line in lines] == [1.0, 2.0]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused(run, value):
    with pytest.raises(ValueError, match="metric loss"):
        run.log_metrics({"loss": value}, 1)
    assert run.metrics() == []


def test_figures_are_kept_with_their_words_and_given_back(run):
    given = plots.curves({"loss": ([1, 2], [0.5, 0.25])}, "Losses", "loss")
    assert run.log_figure(given, "losses") is given
    assert (run.folder / "images" / "losses.png").read_bytes()[1:4] == b"PNG"
    assert (
        "from 0.5 to 0.25"
        in json.loads((run.folder / "images" / "descriptions.json").read_text())["losses"]["alt"]
    )


def test_a_drawing_of_an_earlier_attempt_does_not_stand_in_for_a_new_picture(run):
    earlier = plots.curves({"loss": ([1, 2], [0.5, 0.25])}, "Losses", "loss")
    run.log_figure(earlier, "losses")
    assert (run.folder / "images" / "losses.svg").read_bytes() == earlier.svg
    run.log_figure(plots.Picture(earlier.png, earlier.alt), "losses")
    assert not (run.folder / "images" / "losses.svg").exists()


@pytest.mark.parametrize("name", ["a/b", "..", "../x", "", "scratch", "-x", "a b", "latest", "x\n"])
def test_bad_names(bare_project, name):
    with pytest.raises(UserError, match="not allowed"):
        check_name(name)


def test_a_taken_name_is_refused_and_names_by_time_never_meet(run, bare_project):
    with pytest.raises(UserError, match="there already"):
        create_run(Params(), name="r1")
    names = {create_run(Params(), profile="p").name for _ in range(3)}
    assert len(names) == 3


def test_find(run, bare_project, monkeypatch):
    assert find_run("r1").folder == find_run("latest").folder == find_run(str(run.folder)).folder
    with pytest.raises(UserError, match="the newest are: r1"):
        find_run("r2")
    monkeypatch.chdir(bare_project / "notebooks")
    assert find_run("r1").folder == run.folder


def test_outside_a_project_there_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no run 'x'"):
        find_run("x")
    with pytest.raises(UserError, match="in no fashion-gan project; change into one"):
        create_run(Params())


def test_by_hand_only_training_makes_a_run(bare_project, monkeypatch):
    monkeypatch.setattr(Run, "follow", lambda self: None)
    scratch = open_run(Params(), kind="evaluate")
    assert scratch.folder == bare_project / "reports" / "scratch" / "evaluate"
    (scratch.folder / "old").write_text("x")
    assert not (open_run(Params(), kind="evaluate").folder / "old").exists()
    assert all_runs() == []
    with open_run(Params(), kind="train") as made:
        assert made.info.status == "RUNNING"
    assert made.info.status == "FINISHED"
    assert [r.name for r in all_runs()] == [made.name]


def test_under_the_pipeline_a_notebook_joins_its_run(run, monkeypatch):
    monkeypatch.setenv(RUN_VARIABLE, str(run.folder))
    with open_run(Params(), kind="evaluate") as joined:
        assert joined.folder == run.folder
    assert joined.info.status == "RUNNING"


def test_a_run_whose_process_vanished_is_closed_by_the_next(bare_project):
    code = (
        "import os; from fashion_gan.runs.create import create_run;"
        " from fashion_gan.config.params import Params;"
        " create_run(Params(), name='gone'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=bare_project, env=os.environ)
    assert find_run("gone").info.status == "RUNNING"
    said = []
    mlflow_sync.close_vanished(said.append)
    assert find_run("gone").info.status == "FAILED"
    assert "fashion-gan resume gone" in said[0]


def test_a_run_that_is_alive_is_left_alone(run):
    assert mlflow_sync.close_vanished(print) == []
    assert run.info.status == "RUNNING"


def test_run_does_not_import_mlflow():
    code = "import sys; import fashion_gan.runs.run; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_record_begins_with_all_that_is_asked_of_it_later(run):
    info = run.info
    assert (info.schema_version, info.attempts, info.profile, info.notebooks) == (
        1,
        1,
        "smoke",
        ["02_train"],
    )
    assert info.host == platform.node()
    assert time.time() - 60 < info.created <= time.time()
    assert info.data.name == "Fashion-MNIST"
    assert [each["context"] for each in info.datasets] == ["training", "validation", "test"]
    assert info.tags["command"] == "fashion-gan run --name r1"
    assert run.params == Params()


def test_a_run_that_is_being_made_is_locked(run):
    with pytest.raises(UserError, match="r1"):
        Run(run.folder).lock.acquire("r1 is at work")
    run.finish("FAILED", "why")
    assert (run.info.status, run.info.reason) == ("FAILED", "why")
    assert run.info.ended >= run.info.created
    assert Run(run.folder).lock.acquire()


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (None, "FINISHED", ""),
        (KeyboardInterrupt(), "KILLED", "KeyboardInterrupt"),
        (ValueError("too much"), "FAILED", "ValueError: too much"),
    ],
)
def test_how_a_run_by_hand_ends(run, capsys, error, status, reason):
    with contextlib.suppress(BaseException), run:
        if error:
            raise error
    assert (run.info.status, run.info.reason) == (status, reason)
    assert f"run r1 is {status}; MLflow: being made" in capsys.readouterr().out
    run.close(ValueError("later"))  # it has ended: nothing changes any more
    assert run.info.status == status


def test_under_the_pipeline_an_error_leaves_the_end_to_it(run, monkeypatch):
    monkeypatch.setenv(RUN_VARIABLE, str(run.folder))
    with contextlib.suppress(ValueError), Run(run.folder):
        raise ValueError("the pipeline will say it")
    assert run.info.status == "RUNNING"


def test_where_it_is_seen(run):
    assert run.mlflow_url == "being made (see mlflow.json in the folder)"
    assert run.copy() == run.copies == {}
    run.log_json(
        {"last": "a", "copies": {"a": {"trouble": "it answers 500"}, "b": {"url": "http://b"}}},
        "mlflow",
    )
    assert run.mlflow_url == "not reached yet (it answers 500); later: fashion-gan sync r1"
    assert run.copy("b") == {"url": "http://b"}
    run.log_json(
        {"last": "b", "copies": run.copies | {"b": {"url": "http://b", "trouble": "now"}}}, "mlflow"
    )
    assert run.mlflow_url == "http://b"  # it was reached once
    run.update(status="SCRATCH")
    assert run.mlflow_url == "not tracked (scratch)"


def test_a_notebook_by_hand_goes_on_with_the_run_that_it_names(run, monkeypatch):
    monkeypatch.setattr(Run, "follow", lambda self: self.update(followed=1.0))
    with pytest.raises(UserError, match="is being worked on by another process"):
        open_run(Params(run_name="r1"), kind="train")
    run.finish("KILLED")
    again = open_run(Params(run_name="r1"), kind="train")
    assert (again.folder, again.info.status, again.info.followed) == (run.folder, "RUNNING", 1.0)
    assert open_run(Params(run_name="r1"), kind="evaluate").folder == run.folder
    again.lock.release()


def test_scratch_is_told_from_runs_and_is_no_run(bare_project):
    scratch = open_run(Params(epochs=7), kind="sample")
    assert (scratch.info.status, scratch.info.name, scratch.info.params["epochs"]) == (
        "SCRATCH",
        "scratch/sample",
        7,
    )
    scratch.follow()  # starts nothing
    assert not (scratch.folder / "sync.log").exists()
    with pytest.raises(UserError, match="is no run that is tracked"):
        find_run(str(scratch.folder), tracked=True)


def test_the_last_value_and_all_of_json(run):
    run.log_metrics({"a": 1.0, "b": 2.0}, 1)
    run.log_metrics({"a": 3.0}, 2)
    assert run.last() == {"a": 3.0, "b": 2.0}
    assert run.series("c") == ([], [])
    assert run.read_json("none") is None
    run.log_json({"x": [1]}, "some")
    assert run.read_json("some") == {"x": [1]}
    assert {point["time"] for point in run.metrics()} <= {
        t for t in (p["time"] for p in run.metrics()) if time.time() - 60 < t <= time.time()
    }


def test_the_newest_that_finished_with_a_generator(bare_project):
    made = []
    for number, status in enumerate(("FINISHED", "FINISHED", "FAILED", "FINISHED")):
        run = create_run(Params(), name=f"r{number}")
        run.update(created=number)
        if number != 3:
            (run.folder / "generator.safetensors").write_bytes(b"x")
        run.finish(status)
        made.append(run)
    assert [run.name for run in all_runs()] == ["r0", "r1", "r2", "r3"]
    assert newest_finished().name == "r1"
    made[0].update(created=9)
    assert [run.name for run in all_runs()] == ["r1", "r2", "r3", "r0"]
    assert newest_finished().name == find_run("latest").name == "r0"


def test_no_run_yet(bare_project):
    assert newest_finished() is None
    with pytest.raises(UserError, match="there is no run yet"):
        find_run("latest")
    with pytest.raises(UserError, match="the newest are: none yet"):
        find_run("")


def test_the_longest_name(bare_project):
    assert check_name("a" * 100) == "a" * 100
    for name in ("a" * 101, "a..b", "showcase"):
        with pytest.raises(UserError, match="not allowed"):
            check_name(name)


def test_names_by_time_say_what_was_run(bare_project):
    assert re.fullmatch(
        r"\d{8}-\d{6}-smoke-[0-9a-f]{4}", create_run(Params(), profile="smoke").name
    )
    assert re.fullmatch(r"\d{8}-\d{6}-notebook-[0-9a-f]{4}", create_run(Params()).name)


DAMAGED = {
    "empty": b"",
    "torn": b'{"name": "bad", "status": "RUN',
    "no object": b"[1, 2]",
    "no status": b'{"name": "bad"}',
    "another status": b'{"name": "bad", "status": "DONE"}',
    "a number for a name": b'{"name": 3, "status": "FINISHED"}',
    "a notebook that is a path": b'{"name": "bad", "status": "KILLED", "notebooks": ["../x/evil"]}',
    "a notebook after a line": b'{"name": "bad", "status": "KILLED", "notebooks": ["02_train\\n"]}',
    "a later version": b'{"name": "bad", "status": "KILLED", "schema": 2}',
    "a query for a uuid": b'{"name": "bad", "status": "KILLED", "uuid": "a\' or 1"}',
    "no shape": b'{"name": "bad", "status": "KILLED", "data": {"name": "x", "shape": "1"}}',
    "a tag's name": b'{"name": "bad", "status": "KILLED", "tags": {"a\\n": "b"}}',
    "a data set without a name": b'{"name": "bad", "status": "KILLED", "datasets": [{}]}',
    "no text": b"\xff\xfe\x00",
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_record_is_named_and_the_other_runs_go_on(run, capsys, content):
    folder = run.folder.parent / "bad"
    folder.mkdir()
    (folder / "run.json").write_bytes(content)
    assert [each.name for each in all_runs()] == ["r1"]
    all_runs()
    warnings = [line for line in capsys.readouterr().err.splitlines() if "bad/run.json" in line]
    assert len(warnings) == 1  # once a process
    assert "move the folder bad out of reports/" in warnings[0]
    with pytest.raises(UserError, match="is damaged"):
        print(find_run("bad").info)


def test_a_record_of_another_version_keeps_what_this_one_does_not_know(run):
    path = run.folder / "run.json"
    record = read_json(path)
    write_json(path, record | {"of_tomorrow": {"a": [1]}})
    run.update(reason="x")
    assert read_json(path) == record | {"of_tomorrow": {"a": [1]}, "reason": "x"}
