import json
import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from conftest import fashion_gan_here

from fashion_gan import UserError
from fashion_gan.catalog.generators import find_generator
from fashion_gan.config.params import Params
from fashion_gan.config.stores import shown_uri, tracking_uri
from fashion_gan.files import Lock
from fashion_gan.models.networks import Discriminator, Generator
from fashion_gan.models.serialization import DISCRIMINATOR, GENERATOR, load_generator, save_network
from fashion_gan.runs.create import create_run
from fashion_gan.runs.run import Run
from fashion_gan.tracking import mlflow_sync, system_metrics
from fashion_gan.tracking.client import EXPERIMENT, MODEL_NAME, make_client, short_message


@pytest.fixture
def run(project):
    """A small finished-looking run folder, still locked."""
    run = create_run(Params(), name="r1", profile="smoke")
    fill(run, 1.5)
    return run


SCORES = {
    "measure": "net-1000",
    "samples": 1000,
    "draws": 1,
    "precision": 0.8,
    "recall": 0.7,
    "label_accuracy": 0.9,
    "spread": {},
}
SCORES |= {
    "real": {"distance": 0.01, "precision": 0.9, "recall": 0.9, "label_accuracy": 0.93},
    "discriminator": {"accuracy": 0.6},
}
SCORES |= {"kernel_error": 0.001, "like": "real images blurred by 0.5 px", "warnings": []}


def fill(run, distance, seed=0):
    torch.manual_seed(seed)
    params = {
        "latent_dim": 8,
        "channels": 8,
        "conditional": True,
        "extra_conv": False,
        "d_norm": True,
    }
    save_network(run.folder / GENERATOR, Generator(8, 8, True), params)
    save_network(run.folder / DISCRIMINATOR, Discriminator(8, True), params)
    run.log_json(SCORES | {"distance": distance}, "scores")
    for step in range(1, 4):
        run.log_metrics({"loss_d": 1.0 / step, "loss_g": float(step)}, step)


def find(run):
    client = make_client()
    experiment = client.get_experiment_by_name(EXPERIMENT)
    found = client.search_runs(
        [experiment.experiment_id], f"tags.`{mlflow_sync.RUN_TAG}` = '{run.info.uuid}'"
    )
    assert len(found) == 1
    return client, found[0]


def history(client, found, name):
    return [(m.step, m.value) for m in client.get_metric_history(found.info.run_id, name)]


def test_one_mlflow_run_holds_it_all_and_again_adds_nothing(run):
    run.finish()
    for _ in range(2):
        mlflow_sync.sync(run)
    (run.folder / "mlflow.json").unlink()  # even when the copier's memory is gone
    mlflow_sync.sync(run)
    client, found = find(run)
    assert found.info.status == "FINISHED"
    assert found.data.params["seed"] == "0"
    assert found.data.tags["git_commit"]
    assert history(client, found, "loss_g") == [(1, 1.0), (2, 2.0), (3, 3.0)]
    names = {a.path for a in client.list_artifacts(found.info.run_id)}
    assert {"run.json", "metrics.jsonl", "model", "generator.safetensors"} <= names
    assert len(client.search_model_versions(f"name='{MODEL_NAME}'")) == 1


def test_a_point_is_not_doubled_after_a_copier_was_killed_between_batch_and_memory(run):
    begun = mlflow_sync.Copier(run, make_client())
    begun.copy_points("metrics.jsonl")  # sent, not remembered
    run.finish()
    mlflow_sync.sync(run)
    client, found = find(run)
    assert len(history(client, found, "loss_d")) == 3


def test_following_ends_with_the_runs_own_status(run):
    follower = threading.Thread(target=mlflow_sync.sync, args=(Run(run.folder), True, print, 0.1))
    follower.start()
    time.sleep(1)
    run.log_metrics({"loss_d": 0.1}, 4)
    run.finish("KILLED", "interrupted")
    follower.join(timeout=60)
    assert not follower.is_alive()
    client, found = find(run)
    assert found.info.status == "KILLED"
    assert history(client, found, "loss_d")[-1] == (4, 0.1)
    assert found.data.tags["reason"] == "interrupted"


def test_a_vanished_run_ends_failed(run):
    run.lock.release()  # as when its process is killed
    mlflow_sync.sync(run, follow=True)
    found = find(run)[1]
    assert (found.info.status, found.data.tags["reason"]) == ("FAILED", "its process vanished")
    assert run.info.status == "FAILED"
    assert mlflow_sync.close_vanished(lambda _: None) == []


CHAMPIONS = [
    ("r2", 2.0, "net-1000", "r1"),  # worse
    ("r3", 0.1, "other-1000", "r1"),  # another network
    ("r4", 1.0, "net-1000", "r4"),  # better
    ("r5", 3.0, "net-10000", "r5"),  # a better measure
    ("r6", 0.5, "net-1000", "r5"),  # a lesser one
    ("r7", 2.5, "net-10000", "r7"),
]


def test_the_champion_moves_only_to_a_better_score_by_the_same_measure(run):
    run.finish()
    mlflow_sync.sync(run)
    client = make_client()

    def champion():
        return client.get_model_version_by_alias(MODEL_NAME, "champion").tags["run"]

    assert champion() == "r1"
    for name, distance, measure, expected in CHAMPIONS:
        other = create_run(Params(), name=name)
        fill(other, distance, seed=int(name[1]))
        other.log_json({"measure": measure, "distance": distance}, "scores")
        other.finish()
        mlflow_sync.sync(other)
        assert champion() == expected, name


@pytest.mark.parametrize("text", ["x" * 20_000, "ü😀\u2028'\"\\`$;--", "{{ 1 }} <b> %s"])
def test_any_text_reaches_mlflow(run, text):
    tags = run.info.tags | {"command": text}
    run.update(tags=tags, params=run.info.params | {"runs": text})
    run.finish("FAILED", text)
    mlflow_sync.sync(run)
    _, copied = find(run)
    tags = copied.data.tags
    for kept in (tags["reason"], tags["command"], copied.data.params["runs"]):
        assert kept and text.replace("\u2028", " ").startswith(kept.replace("\u2028", " "))
        assert len(kept) >= min(len(text), 6000)


def test_a_longer_training_of_the_same_run_is_another_version_with_files_of_its_own(run):
    run.finish()
    mlflow_sync.sync(run)
    fill(run, 1.0, seed=7)
    mlflow_sync.sync(run)
    client, _ = find(run)
    versions = client.search_model_versions(f"name='{MODEL_NAME}'")
    assert len(versions) == 2
    digests = {find_generator(f"models:/{MODEL_NAME}/{v.version}").digest for v in versions}
    assert len(digests) == 2
    assert (
        find_generator("models:/fashion-gan@champion").digest
        == load_generator(run.folder / GENERATOR).digest
    )


def test_a_copier_that_is_still_closing_is_waited_for(run):
    """A resume right after a kill: the earlier copier holds the lock; the new one waits, and MLflow
    ends with the truth."""
    closing = Lock(run.folder / "sync.lock")
    assert closing.acquire()
    follower = threading.Thread(target=mlflow_sync.sync, args=(Run(run.folder), True, print, 0.1))
    follower.start()
    time.sleep(0.7)
    closing.release()
    time.sleep(1)
    run.finish()
    follower.join(timeout=60)
    assert find(run)[1].info.status == "FINISHED"


def test_params_changed_by_a_resume_become_tags(run):
    run.finish()
    mlflow_sync.sync(run)
    run.update(params=run.info.params | {"epochs": 99}, status="FINISHED")
    mlflow_sync.sync(run)
    _, found = find(run)
    assert found.data.params["epochs"] == str(Params().epochs)
    assert found.data.tags["resumed.epochs"] == "99"


def test_a_store_that_does_not_answer_is_one_line_and_loses_nothing(run, monkeypatch):
    run.finish()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match="fashion-gan sync r1") as error:
        mlflow_sync.sync(run)
    assert "\n" not in str(error.value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    mlflow_sync.sync(run)
    assert find(run)[1].info.status == "FINISHED"


@pytest.mark.parametrize("uri", ["not a url", "ftp://x", "http://", "5009", "sqlite://"])
def test_an_address_that_is_none(project, monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match="no address"):
        tracking_uri()


def test_the_default_store_is_the_projects_own(project, monkeypatch):
    monkeypatch.chdir(project / "notebooks")
    assert tracking_uri() == f"sqlite:///{project}/mlflow.db"
    assert Path(tracking_uri().removeprefix("sqlite:///")).is_absolute()


def test_the_run_shows_its_data_note_host_and_system_metrics(run, monkeypatch):
    monkeypatch.setattr(system_metrics, "EVERY", 0.3)
    follower = threading.Thread(target=mlflow_sync.sync, args=(Run(run.folder), True, print, 0.1))
    follower.start()
    time.sleep(3)
    run.finish()
    follower.join(timeout=60)
    client, found = find(run)
    inputs = {i.tags[0].value: i.dataset for i in found.inputs.dataset_inputs}
    assert inputs.keys() == {"training", "validation", "test"}
    assert len({d.digest for d in inputs.values()}) == 3
    assert json.loads(inputs["training"].profile)["num_rows"] == 50_000
    assert found.data.tags["host"] == platform.node()
    assert f"Run it again: `{run.info.tags['command']}`" in found.data.tags["mlflow.note.content"]
    memory = client.get_metric_history(found.info.run_id, "system/system_memory_usage_megabytes")
    assert len(memory) >= 2
    assert all(m.value > 0 for m in memory)


def test_only_a_file_whose_content_changed_is_sent_again(run, monkeypatch):
    run.finish()
    mlflow_sync.sync(run)
    _, sent = find(run)[0], []
    real = make_client().__class__.log_artifact
    monkeypatch.setattr(
        "mlflow.MlflowClient.log_artifact",
        lambda self, run_id, path, *rest: (
            sent.append(Path(path).name),
            real(self, run_id, path, *rest),
        ),
    )
    os.utime(run.folder / GENERATOR)  # touched, not changed
    (run.folder / "scores.json").write_text('{"measure": "net-1000", "distance": 1.25}')
    mlflow_sync.sync(run)
    assert sent == ["scores.json"]


def test_two_stores_are_each_remembered(run, monkeypatch, tmp_path):
    run.finish()
    mlflow_sync.sync(run)
    here = run.copy()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    assert mlflow_sync.pending(run)[0] == 6
    mlflow_sync.sync(run)
    assert mlflow_sync.pending(run) == (0, 0)
    assert find(run)[1].info.status == "FINISHED"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert run.copy(shown_uri()) == here
    assert len(run.copies) == 2


def test_what_is_left_is_counted_and_trouble_is_told(run, monkeypatch):
    """A store that is away for good: the copier gives up after its time, and says what is still to
    be sent."""
    run.finish()
    monkeypatch.setenv("FASHION_GAN_CLOSING_SECONDS", "1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    files = len(mlflow_sync.files_of(run, final=True))
    with pytest.raises(
        UserError,
        match=(
            rf"it cannot be reached; 6 points and {files} files are still to be sent: fashion-gan"
            r" sync r1$"
        ),
    ):
        mlflow_sync.sync(run, True, print, 0.1)
    assert run.mlflow_url == "not reached yet (it cannot be reached); later: fashion-gan sync r1"


def test_a_run_of_another_machine_is_not_closed(run):
    run.update(host="another-machine")
    run.lock.release()
    assert mlflow_sync.close_vanished(print) == []
    mlflow_sync.sync(run)
    assert find(run)[1].info.status == "RUNNING"


def test_sync_all_brings_every_run_level(run, project):
    run.finish()
    other = create_run(Params(), name="r2")
    other.finish("KILLED", "interrupted")
    done = fashion_gan_here("sync", "--all", cwd=project)
    assert (done.returncode, done.stdout.count(" is level")) == (0, 2), done.stderr
    assert [find(r)[1].info.status for r in (run, other)] == ["FINISHED", "KILLED"]
    for words in ((), ("r1", "--all")):
        wrong = fashion_gan_here("sync", *words, cwd=project)
        assert (wrong.returncode, wrong.stderr) == (
            2,
            "error: say one run to bring level, or --all: fashion-gan sync RUN\n",
        )


FILES = "MLFLOW_TRACKING_URI=http://127.0.0.1:5009\nMLFLOW_TRACKING_USERNAME=u\nMLFLOW_TRACKING_PASSWORD=from-file\n"
LOGINS = [  # .env, the environment, the login that is sent
    (FILES, {}, "from-file"),
    (FILES, {"MLFLOW_TRACKING_PASSWORD": "from-environment"}, "from-environment"),
    (FILES, {"MLFLOW_TRACKING_URI": "http://localhost:1"}, "from-file"),  # this machine
    (FILES, {"MLFLOW_TRACKING_URI": "http://elsewhere.example"}, "None"),  # never to a stranger
    ("", {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}, "None"),
]


@pytest.mark.parametrize(("content", "env", "password"), LOGINS)
def test_address_and_login_come_from_env_files_and_environment(project, content, env, password):
    (project / ".env").write_text("MLFLOW_TRACKING_PASSWORD=overridden\n" if content else "")
    (project / ".env.local").write_text(content)
    code = (
        "import os; from fashion_gan.config.stores import tracking_uri;"
        " from fashion_gan.tracking.client import import_mlflow; import_mlflow();"
        " print(tracking_uri(), os.environ.get('MLFLOW_TRACKING_PASSWORD'))"
    )
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_TRACKING")}
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project,
        env=clean | env,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert told.split() == [env.get("MLFLOW_TRACKING_URI", "http://127.0.0.1:5009"), password]


def test_an_address_is_shown_and_kept_without_its_login():
    assert shown_uri("http://me:secret@host:5009/x") == "http://host:5009/x"
    assert "secret" not in short_message(OSError("no route to postgresql://me:secret@host/db"))
