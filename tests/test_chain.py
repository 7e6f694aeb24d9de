"""Whole pipelines on the real notebooks: dear, so few."""

import json
import re
import sqlite3

import nbformat
import numpy as np
import pytest
from conftest import TINY, fashion_gan, fashion_gan_here

from fashion_gan.config.profiles import NOTEBOOKS
from fashion_gan.files import read_json
from fashion_gan.tracking.client import EXPERIMENT, make_client


@pytest.fixture
def finished(whole_run, monkeypatch):
    """The run, its command's words, a client of its MLflow store and its copy there."""
    monkeypatch.chdir(whole_run.root)
    client = make_client()
    (found,) = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    return whole_run.root, whole_run.run, whole_run.done, client, found


def test_it_says_where_everything_is(finished):
    _, _, first, _, _ = finished
    lines = first.stdout.strip().splitlines()
    assert lines[-1] == "report: reports/whole/index.html"
    for name in NOTEBOOKS:
        assert any(line.startswith(f"{name}: done") for line in lines)
    assert first.stderr == ""


def test_the_run_folder_holds_it_all(finished):
    _, run, *_ = finished
    expected = [
        "run.json",
        "metrics.jsonl",
        "scores.json",
        "index.html",
        "epochs.html",
        "MODEL_CARD.md",
        "generator.safetensors",
        "model/MLmodel",
    ]
    expected += [f"notebooks/{name}.ipynb" for name in NOTEBOOKS] + [
        f"{name}.html" for name in NOTEBOOKS
    ]
    expected += [
        f"images/{name}.png"
        for name in (
            "epoch_0001",
            "epoch_0003",
            "losses",
            "confusion_test",
            "samples_by_class",
            "real_by_class",
        )
    ]
    for name in expected:
        assert (run.folder / name).exists(), name
    points = run.metrics()
    assert len({(p["name"], p["step"]) for p in points}) == len(points)
    assert run.series("validation_accuracy")[0] == [256, 512, 768]


def test_notebooks_are_executed_whole_and_show_pictures(finished):
    _, run, *_ = finished
    for name in NOTEBOOKS:
        path = run.folder / "notebooks" / f"{name}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        outputs = [o for c in notebook.cells for o in c.get("outputs", [])]
        assert all(o.output_type != "error" for o in outputs)
        assert sum("image/png" in o.get("data", {}) for o in outputs) >= 3, name
        assert not any(o.output_type == "stream" and o.name == "stderr" for o in outputs), [
            o.text for o in outputs if o.output_type == "stream"
        ]
        assert path.stat().st_size < 2_000_000, name


def test_scores_are_whole_and_stand_beside_real_images(finished):
    _, run, *_ = finished
    scores = read_json(run.folder / "scores.json")
    assert scores["samples"] == TINY["samples"]
    assert scores["model"] == f"this run, {run.name}"
    assert 0 < scores["real"]["distance"] < 0.2 < scores["distance"]
    assert scores["draws"] == 2
    assert scores["spread"]["distance"] > 0
    for sign in ("close_train", "close_train_features", "memorised", "repeated"):
        assert scores[sign][1] <= scores[sign][0] <= scores[sign][2], sign
    for which in ("discriminator", "discriminator_validation"):
        assert 0 <= scores[which]["accuracy"] <= 1
        assert all(sum(row) == pytest.approx(100) for row in scores[which]["confusion_percent"])


def test_one_mlflow_run_holds_the_same(finished):
    _, run, _, client, found = finished
    assert found.info.status == "FINISHED"
    assert found.data.params["epochs"] == "3"
    assert found.data.metrics["test_distance"] == pytest.approx(
        read_json(run.folder / "scores.json")["distance"]
    )
    assert [m.step for m in client.get_metric_history(found.info.run_id, "loss_d")] == [
        256,
        512,
        768,
    ]
    paths = [
        a.path
        for f in (None, "images", "notebooks", "checkpoints", "model")
        for a in client.list_artifacts(found.info.run_id, f)
    ]
    assert {
        "index.html",
        "epochs.html",
        "02_train.html",
        "notebooks/02_train.ipynb",
        "model/MLmodel",
        "images/losses.png",
    } <= set(paths)
    assert sum(p.startswith("checkpoints/last-") for p in paths) == 1
    assert sum(p.startswith("checkpoints/best-") for p in paths) == 1
    for tag in (
        "git_commit",
        "git_dirty",
        "profile",
        "command",
        "notebook.02_train",
        "version.torch",
    ):
        assert tag in found.data.tags, tag
    assert client.get_model_version_by_alias("fashion-gan", "champion").run_id == found.info.run_id


def test_html_asks_nobody_for_anything(finished):
    _, run, *_ = finished
    for path in run.folder.glob("*.html"):
        text = path.read_text()
        assert "default-src 'none'" in text
        assert path.stat().st_size <= (3_000_000 if path.name == "index.html" else 2_000_000), path
        assert not re.search(
            r"""(src|href)=["']?(https?:)?//""", re.sub(r"<p>.*?</p>", "", text)
        ), path
        assert "<script src" not in text
        for tag in re.findall(r"<img[^>]{0,400}", text):
            assert re.search(r'src="data:image/(png|svg\+xml);', tag)
        alts = re.findall(r'<img [^>]*?alt="([^"]*)"', text)
        assert all(len(alt) > 10 for alt in alts), path
        assert len(alts) == text.count("<img "), path
        assert "Params.from_notebook" not in text  # no code


def test_sampling_from_the_run_and_from_the_registry_is_the_same(finished):
    root, *_ = finished
    for where, out in (
        ("whole", "a.npz"),
        ("models:/fashion-gan@champion", "b.npz"),
        ("auto", "c.npz"),
    ):
        done = fashion_gan_here(
            "sample", "--model", where, "--n", "20", "--seed", "3", "--out", out, cwd=root
        )
        assert done.returncode == 0, done.stderr
    a, b, c = (np.load(root / name) for name in ("a.npz", "b.npz", "c.npz"))
    assert np.array_equal(a["images"], b["images"])
    assert np.array_equal(a["images"], c["images"])
    assert a["labels"].tolist() == list(range(10)) * 2


def test_a_finished_run_is_resumed_only_for_more_epochs(finished):
    root, run, _, client, found = finished
    refused = fashion_gan_here("resume", "whole", cwd=root)
    assert refused.returncode == 2
    assert "is finished" in refused.stderr
    assert fashion_gan_here("resume", "whole", "-p", "seed=1", cwd=root).returncode == 2
    explored = (run.folder / "notebooks" / "01_explore.ipynb").stat().st_mtime_ns
    done = fashion_gan("resume", "whole", "-p", "epochs=4", cwd=root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert run.series("loss_d")[0] == [256, 512, 768, 1024]
    assert (run.folder / "notebooks" / "02_train.attempt1.ipynb").exists()
    assert (run.folder / "notebooks" / "01_explore.ipynb").stat().st_mtime_ns == explored
    again = client.get_run(found.info.run_id)
    assert (again.info.status, again.data.tags["resumed.epochs"]) == ("FINISHED", "4")
    assert [m.step for m in client.get_metric_history(found.info.run_id, "loss_d")] == [
        256,
        512,
        768,
        1024,
    ]


SHELL = [
    ["sample", "--model", "whole", "--n", "10", "--out", "shell.npz"],
    ["champion"],
    ["sync", "whole"],
    ["params"],
    ["data", "--folder", "data"],
    ["doctor"],
    ["evaluate", "--help"],
    ["compare", "--help"],
    ["train-features", "--help"],
    ["lab", "--help"],
]


def test_each_command_through_the_shell(finished):
    """Elsewhere they are called in the test's process. run and resume are above, sweep and app have
    tests of their own."""
    root, *_ = finished
    for words in SHELL:
        done = fashion_gan(*words, cwd=root)
        assert (done.returncode, done.stderr) == (0, ""), f"{words}: {done.stdout}{done.stderr}"
        assert done.stdout
    wrong = fashion_gan("evaluate", "nonsense", cwd=root)
    assert (wrong.returncode, wrong.stderr.count("\n"), wrong.stderr[:7]) == (2, 1, "error: ")


def test_no_second_mlflow_run_was_made(finished):
    root, *_ = finished
    with sqlite3.connect(root / "mlflow.db") as store:
        assert store.execute("select count(*) from runs").fetchone() == (1,)


def test_metrics_are_json_a_line(finished):
    _, run, *_ = finished
    for line in (run.folder / "metrics.jsonl").read_text().splitlines():
        assert set(json.loads(line)) == {"name", "step", "time", "value"}
