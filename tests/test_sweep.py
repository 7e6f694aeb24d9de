"""Sweeps on a real Ray: two nodes of which one is killed, an interruption, early stops, wrong
files."""

import contextlib
import os
import signal
import subprocess
import time
from collections import Counter

import psutil
import pytest
import yaml
from conftest import TINY, command, fashion_gan, fashion_gan_here, small_cluster, wait_until
from copies import differences

from fashion_gan.catalog import comparison
from fashion_gan.catalog.runs import find_run
from fashion_gan.config.params import announce
from fashion_gan.errors import UserError
from fashion_gan.pipeline import engine
from fashion_gan.runs.run import Run
from fashion_gan.sweeps.spec import Sweep, base_of, points_of, read_sweep
from fashion_gan.tracking.client import make_client

pytestmark = [pytest.mark.timeout(600)]
POINTS = int(os.environ.get("SWEEP_POINTS", 2))  # besides the base; 11 for a sweep of 12 trials
SWEEP = {
    "base": "params/tiny.yaml",
    "space": {"lr_g": {"choice": ["1e-4", "1e-3"]}},
    "trials": 1,
    "seeds": [0, 1],
    "scheduler": "none",
}


def written(project, size=None, **changes):
    base = (
        TINY
        | {
            "subset": 2048,
            "epochs": 4,
            "channels": 16,
            "draws": 1,
            "notebooks": ["02_train", "03_evaluate"],
        }
        | (size or {})
    )
    (project / "params" / "tiny.yaml").write_text(yaml.safe_dump(base))
    path = project / "params" / "sweep.yaml"
    path.write_text(
        yaml.safe_dump(
            {name: value for name, value in (SWEEP | changes).items() if value is not None}
        )
    )
    return path


def begun(project, path, *words):
    log = (project / "sweep.log").open("w")
    return subprocess.Popen(
        [command(), "sweep", str(path), "--name", "s", *words], cwd=project, stdout=log, stderr=log
    )


def trainer_of(project, name):
    """The process of a trial's run, once it trains."""
    folder = project / "reports" / name
    if not (folder / "run.json").exists() or not Run(folder).series("validation_distance")[1]:
        return None
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if name in words and "fashion_gan" in words:
            return process
    return None


def whole(run):
    """Whether each epoch of a finished run stands in its record once."""
    return run.info.status == "FINISHED" and set(
        Counter((p["name"], p["step"]) for p in run.metrics()).values()
    ) == {1}


@pytest.mark.slow
@pytest.mark.timeout(300 * POINTS)
def test_a_killed_trial_and_a_killed_node_cost_nothing(ray, project):
    cluster = small_cluster(1)
    other = cluster.add_node(num_cpus=1)
    path = written(
        project,
        {"notebooks": ["02_train"]},
        trials=POINTS,
        seeds=[0],
        space={"lr_g": {"log": ["1e-4", "1e-3"]}},
    )
    tuned = begun(project, path, "--address", cluster.address)
    try:
        first = wait_until(lambda: trainer_of(project, "s-001"), 240, project / "sweep.log")
        for process in [*first.children(recursive=True), first]:
            process.kill()
        wait_until(
            lambda: any(
                Run(project / "reports" / n).info.status == "RUNNING"
                for n in ("s-002", "s-003")
                if (project / "reports" / n / "run.json").exists()
            ),
            120,
            project / "sweep.log",
        )
        cluster.remove_node(other, allow_graceful=False)
        assert tuned.wait(250 * POINTS) == 0, (project / "sweep.log").read_text()
    finally:
        tuned.kill()
        cluster.shutdown()
    run = find_run("s")
    runs = comparison.trials(run)
    assert [each.name for each in runs] == [f"s-{number:03d}" for number in range(1, POINTS + 2)]
    assert all(whole(each) for each in runs), {each.name: each.info.status for each in runs}
    assert runs[0].info.params["lr_g"] == 1e-3  # the base comes first
    assert runs[0].info.attempts == 2
    assert (
        "s-001 (seed=0, lr_g=0.001): died; it will be tried again"
        in (project / "sweep.log").read_text()
    )
    client = make_client()
    copies = {
        r.info.run_name: r
        for r in client.search_runs([e.experiment_id for e in client.search_experiments()])
    }
    assert {copies[each.name].data.tags["mlflow.parentRunId"] for each in runs} == {
        copies["s"].info.run_id
    }
    for each in runs:
        assert differences(each) == []
        assert (each.folder / "index.html").exists()
    assert run.info.status == "FINISHED"
    words = run.read_json("swept")["verdict"]
    assert words in (run.folder / "07_sweep.html").read_text().replace("&#39;", "'")
    assert (run.folder / "images" / "by_lr_g.png").exists()


@pytest.mark.slow
def test_a_small_sweep_on_this_machine(ray, project):
    """The base, and what is tried beside it by name, each a run of its own, of the base's notebooks
    only those that the sweep names; and the sweep's own notebook over them."""
    size = {"subset": 256, "epochs": 1, "channels": 8}
    recipes = {"faster": {"lr_g": "2e-3", "lr_d": "2e-3"}, "twice as long": {"images": "512"}}
    recipes["with no time"] = {"timeout_minutes": "0.001"}
    only = {"notebooks": ["02_train"], "seeds": [0], "retries": 0}
    path = written(project, size, space={}, recipes=recipes, **only)
    done = fashion_gan("sweep", str(path), "--name", "s", cwd=project)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "s-002 (seed=0, recipe=faster): started" in done.stdout
    assert "s-004 (seed=0, recipe=with no time): failed (RuntimeError: exit code 1" in done.stdout
    assert "1 of 4 trials failed; try them again: fashion-gan resume s" in done.stdout
    sweep = find_run("s")
    *runs, failed = comparison.trials(sweep)
    assert failed.info.status == "FAILED"
    settings = [(run.info.params["epochs"], run.info.params["lr_d"]) for run in runs]
    assert settings == [(1, 1e-3), (1, 2e-3), (2, 1e-3)]
    assert all(run.info.notebooks == ["02_train"] and whole(run) for run in runs)
    assert all(differences(run) == [] for run in (sweep, *runs))
    rows = comparison.rows(sweep)
    assert [row["recipe"] for row in rows] == ["as it is", *recipes]
    assert [run.info.tags.get("recipe") for run in runs] == [None, "faster", "twice as long"]
    assert [row["end"] for row in rows] == ["finished", "finished", "finished", "failed"]
    assert [row["base"] for row in rows] == [True, False, False, False]
    assert all(row["seconds"] > 0 for row in rows[:3])
    result = sweep.read_json("swept")
    assert set(result["points"]) == {"as it is", "faster", "twice as long"}
    assert result["verdict"] in (sweep.folder / "07_sweep.html").read_text().replace("&#39;", "'")
    assert (sweep.folder / "images" / "by_recipe.png").exists()


def left_in(project):
    """Other processes whose working folder is the project."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if (
                process.pid != os.getpid()
                and process.cwd() == str(project)
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(process)
    return found


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on_and_poor_trials_are_stopped_early(ray, project, monkeypatch):
    size = {"subset": 4096, "epochs": 6, "channels": 8, "notebooks": ["02_train"]}
    path = written(
        project, size, scheduler="asha", factor=2, space={"lr_g": {"choice": ["1e-6"]}}, seeds=[0]
    )
    cluster = small_cluster(1)  # one by one: the poor one is held against a good one that has ended
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    # else either of two that wait for the one core may get it
    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", "1")
    before = {process.pid for process in left_in(project)}
    try:
        tuned = begun(project, path)
        wait_until(lambda: trainer_of(project, "s-001"), 240, project / "sweep.log")
        asked = time.time()
        tuned.send_signal(signal.SIGINT)
        assert tuned.wait(120) == 130, (project / "sweep.log").read_text()
        wait_until(
            lambda: {process.pid for process in left_in(project)} <= before,
            30,
            project / "sweep.log",
        )
        assert find_run("s").info.status == "KILLED"
        assert "go on with: fashion-gan resume s" in (project / "sweep.log").read_text()
        first = find_run("s-001")
        assert first.info.status == "KILLED"
        # then jupyter kills the kernel, and its last steps are lost
        assert first.info.ended - asked < engine.SHUTDOWN_WAIT / 2
        assert (first.folder / "index.html").exists()
        done = fashion_gan("resume", "s", cwd=project)
        assert done.returncode == 0, done.stdout + done.stderr
        ends = {row["trial"]: row["end"] for row in comparison.rows(find_run("s"))}
        assert ends == {"s-001": "finished", "s-002": "stopped early"}
        assert "stopped early" in (find_run("s").folder / "07_sweep.html").read_text()
        attempts = [run.info.attempts for run in comparison.trials(find_run("s"))]
        # nothing is left to do: no trial is run again
        again = fashion_gan("resume", "s", cwd=project)
        assert again.returncode == 0, again.stdout + again.stderr
        assert [run.info.attempts for run in comparison.trials(find_run("s"))] == attempts
    finally:
        tuned.kill()
        cluster.shutdown()


CASES = {
    "parameter unknown": (
        {"space": {"lr_q": {"choice": ["1"]}}},
        "unknown parameter 'lr_q'; did you mean lr_g?",
    ),
    "value not allowed": (
        {"space": {"lr_g": {"choice": ["1e-4", "7"]}}},
        "parameter lr_g is '7'; allowed: float over 0 to 1",
    ),
    "metric unknown": ({"metric": "judge"}, "metric: input should be 'validation_distance'"),
    "word unknown": ({"tries": 3}, "tries: extra inputs are not permitted"),
    "no trials": ({"trials": 0}, "trials: input should be greater than or equal to 1"),
    "no space": ({"space": {}}, "say what is tried: a space, or recipes"),
    "space and recipes": (
        {"recipes": {"faster": {"lr_g": "1e-3"}}},
        "say what is tried: a space, or recipes",
    ),
    "recipe of a list": ({"space": {}, "recipes": {"a": ["lr_g"]}}, "recipes.a: input should be"),
    "recipe with an unknown parameter": (
        {"space": {}, "recipes": {"a": {"lr_q": "1"}}},
        "unknown parameter 'lr_q'; did you mean lr_g?",
    ),
    "recipe with a value not allowed": (
        {"space": {}, "recipes": {"a": {"lr_g": "7"}}},
        "parameter lr_g is '7'; allowed: float over 0 to 1",
    ),
    "recipe with a seed": (
        {"space": {}, "recipes": {"a": {"seed": "7"}}},
        "seed is in a recipe and in seeds; keep one",
    ),
    "recipe with what is set": (
        {"space": {}, "recipes": {"a": {"lr_g": "1e-3"}}, "set": {"lr_g": "1e-4"}},
        "lr_g is in a recipe and in set; keep one",
    ),
    "recipe as the base": (
        {"space": {}, "recipes": {"a": {"lr_g": "0.001"}}},
        "'a' is the same as 'as it is'; keep one",
    ),
    "recipe by the base's name": (
        {"space": {}, "recipes": {"as it is": {"lr_g": "1e-4"}}},
        "'as it is' is the base's own name; give the recipe another one",
    ),
    "recipe twice": (
        {"space": {}, "recipes": {"a": {"lr_g": "2e-3"}, "b": {"lr_g": "0.002"}}},
        "'b' is the same as 'a'; keep one",
    ),
    "recipe of several processes": (
        {"space": {}, "recipes": {"a": {"processes": "2"}}},
        "a trial trains alone",
    ),
    "notebook unknown": ({"notebooks": ["08_none"]}, "unknown notebook '08_none'"),
    "range falls": (
        {"space": {"lr_g": {"range": ["1e-2", "1e-3"]}}},
        "lr_g: range must be two rising numbers",
    ),
    "range of one": (
        {"space": {"lr_g": {"log": ["1e-2"]}}},
        "lr_g: log must be two rising numbers, over 0",
    ),
    "range of words": (
        {"space": {"loss": {"range": ["hinge", "relativistic"]}}},
        "loss: range must be two rising numbers",
    ),
    "range of truths": (
        {"space": {"extra_conv": {"range": ["false", "true"]}}},
        "extra_conv: range must be two rising numbers",
    ),
    "log of nothing": (
        {"space": {"r1": {"log": ["0", "1"]}}},
        "r1: log must be two rising numbers, over 0",
    ),
    "two kinds": (
        {"space": {"lr_g": {"log": ["1e-5", "1"], "grid": ["1"]}}},
        "space.lr_g: dictionary should have at most 1 item",
    ),
    "kind unknown": ({"space": {"lr_g": {"normal": ["1e-5", "1"]}}}, "space.lr_g.normal"),
    "seed in the space": (
        {"space": {"seed": {"grid": ["1"]}}},
        "seed is in the space and in seeds",
    ),
    "twice": ({"set": {"lr_g": "1e-3"}}, "lr_g is in the space and in set"),
    "base missing": ({"base": "params/none.yaml"}, "no profile params/none.yaml"),
    "no base": ({"base": None}, "base: field required"),
}


@pytest.mark.parametrize("case", CASES)
def test_wrong_files_get_one_line(project, case):
    changes, words = CASES[case]
    done = fashion_gan_here("sweep", str(written(project, **changes)), cwd=project)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert words in done.stderr
    assert list((project / "reports").iterdir()) == [project / "reports" / "showcase"]


@pytest.mark.slow
def test_no_cluster_and_too_small_a_cluster(ray, project):
    began = time.monotonic()
    done = fashion_gan("sweep", str(written(project)), "--address", "127.0.0.1:9", cwd=project)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "no Ray cluster answers at 127.0.0.1:9" in done.stderr
    assert time.monotonic() - began < 60
    done = fashion_gan("sweep", str(written(project, cores=999)), cwd=project)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert (
        f"a trial takes 999 cores and 0 GPUs; the cluster's machines have {os.cpu_count()} cores, 0"
        " GPUs" in done.stderr
    )


@pytest.mark.parametrize(
    ("space", "drawn"),
    [
        # the other one is the base's own
        ({"lr_g": {"choice": ["1e-4", "1e-3"]}}, [{"lr_g": 1e-4}]),
        ({"lr_g": {"grid": ["1e-4", "1e-3"]}}, [{}]),
        (
            {"lr_g": {"grid": ["1e-4", "1e-3"]}, "batch_size": {"choice": ["64", "64"]}},
            [{"batch_size": 64}],
        ),
    ],
)
def test_no_point_is_drawn_twice(ray, project, space, drawn):
    plan = read_sweep(written(project, space=space, trials=20))
    first, *others = points_of(plan, base_of(plan))
    assert first["lr_g"] == 1e-3
    assert others == drawn
    wide = read_sweep(written(project, space={"lr_g": {"log": ["1e-4", "1e-3"]}}, trials=20))
    assert len({point["lr_g"] for point in points_of(wide, base_of(wide))}) == 21


def test_a_sweep_with_older_names_of_parameters_goes_on(project, capsys):
    """From its file, and from what an older version kept of it."""
    announce.cache_clear()
    older = {"set": {"penalty_every": "4"}, "space": {"feature_loss": {"range": ["1.0", "2.0"]}}}
    sweep = read_sweep(written(project, **older))
    assert sweep.set == {"penalty_interval": "4"}
    assert sweep.space == {"frechet_weight": {"range": ["1.0", "2.0"]}}
    assert base_of(sweep).params.penalty_interval == 4
    assert "penalty_every is called penalty_interval now" in capsys.readouterr().err
    assert Sweep(**(sweep.model_dump() | older)) == sweep
    older["set"]["frechet_weight"] = "3"
    with pytest.raises(UserError, match="frechet_weight is in the space and in set; keep one"):
        read_sweep(written(project, **older))
    older["space"]["frechet_weight"] = {"choice": ["1.0"]}
    with pytest.raises(UserError, match="frechet_weight is given twice"):
        read_sweep(written(project, **older))


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (
            {"a": [0.5, 0.52], "b": [0.3, 0.31]},
            "Better: b: 0.3050; the base's own, a: 0.5100; spread over seeds 0.0141.",
        ),
        ({"a": [0.5, 0.6], "b": [0.5, 0.55]}, "Not shown to be better: b"),
        ({"a": [0.5, 0.6], "b": [0.7]}, "No point is better than the base's own"),
        ({"a": [0.5, 0.6], "b": [0.3]}, "Not shown: b: 0.3000"),
        ({"b": [0.3]}, "nothing to compare with"),
        ({"a": [0.3, 0.4]}, "Only the base's own setting"),
    ],
)
def test_the_verdict(points, words):
    assert words in comparison.verdict(points, "a")
