import threading
import time
from pathlib import Path

import pytest
import torch

from fashion_gan import UserError, model, sync
from fashion_gan.networks import Discriminator, Generator
from fashion_gan.params import Params
from fashion_gan.run import Run, close_vanished


@pytest.fixture
def run(project):
    """A small finished-looking run folder, still locked."""
    run = Run.create(Params(), name="r1", profile="smoke")
    fill(run, 1.5)
    return run


def fill(run, distance, seed=0):
    torch.manual_seed(seed)
    params = {"latent_dim": 8, "channels": 8, "conditional": True, "refine": False, "d_norm": True}
    model.save_network(run.folder / model.FILE, Generator(8, 8, True), params)
    model.save_network(run.folder / model.DISCRIMINATOR, Discriminator(8, True), params)
    run.log_json({"measure": "net-1000", "distance": distance}, "scores")
    for step in range(1, 4):
        run.log_metrics({"loss_d": 1.0 / step, "loss_g": float(step)}, step)


def find(run):
    client = sync.make_client()
    experiment = client.get_experiment_by_name(sync.EXPERIMENT)
    found = client.search_runs([experiment.experiment_id], f"tags.`{sync.RUN_TAG}` = '{run.info['uuid']}'")
    assert len(found) == 1
    return client, found[0]


def history(client, found, name):
    return [(m.step, m.value) for m in client.get_metric_history(found.info.run_id, name)]


def test_one_mlflow_run_holds_it_all_and_again_adds_nothing(run):
    run.finish()
    for _ in range(2):
        sync.sync(run)
    (run.folder / "mlflow.json").unlink()  # even when the copier's memory is gone
    sync.sync(run)
    client, found = find(run)
    assert found.info.status == "FINISHED"
    assert found.data.params["seed"] == "0"
    assert found.data.tags["git_commit"]
    assert history(client, found, "loss_g") == [(1, 1.0), (2, 2.0), (3, 3.0)]
    names = {a.path for a in client.list_artifacts(found.info.run_id)}
    assert {"run.json", "metrics.jsonl", "model", "generator.safetensors"} <= names
    assert len(client.search_model_versions(f"name='{sync.MODEL_NAME}'")) == 1


def test_a_point_is_not_doubled_after_a_copier_was_killed_between_batch_and_memory(run):
    copier = sync.Copier(run, sync.make_client())
    copier.copy_metrics()  # sent, not remembered
    run.finish()
    sync.sync(run)
    client, found = find(run)
    assert len(history(client, found, "loss_d")) == 3


def test_following_ends_with_the_runs_own_status(run):
    follower = threading.Thread(target=sync.sync, args=(Run(run.folder), True, print, 0.1))
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
    sync.sync(run, follow=True)
    assert find(run)[1].info.status == "FAILED"
    assert close_vanished(lambda _: None)[0].name == "r1"


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
    sync.sync(run)
    client = sync.make_client()

    def champion():
        return client.get_model_version_by_alias(sync.MODEL_NAME, "champion").tags["run"]

    assert champion() == "r1"
    for name, distance, measure, expected in CHAMPIONS:
        other = Run.create(Params(), name=name)
        fill(other, distance, seed=int(name[1]))
        other.log_json({"measure": measure, "distance": distance}, "scores")
        other.finish()
        sync.sync(other)
        assert champion() == expected, name


def test_a_longer_training_of_the_same_run_is_another_version_with_files_of_its_own(run):
    run.finish()
    sync.sync(run)
    fill(run, 1.0, seed=7)
    sync.sync(run)
    client, _ = find(run)
    versions = client.search_model_versions(f"name='{sync.MODEL_NAME}'")
    assert len(versions) == 2
    digests = {model.find(f"models:/{sync.MODEL_NAME}/{v.version}").digest for v in versions}
    assert len(digests) == 2
    assert model.find("models:/fashion-gan@champion").digest == model.load_generator(run.folder / model.FILE).digest


def test_a_copier_that_is_still_closing_is_waited_for(run):
    """A resume right after a kill: the earlier copier holds the lock; the new one waits, and MLflow ends with the truth."""
    closing = sync.Lock(run.folder / "sync.lock")
    assert closing.acquire()
    follower = threading.Thread(target=sync.sync, args=(Run(run.folder), True, print, 0.1))
    follower.start()
    time.sleep(0.7)
    closing.release()
    time.sleep(1)
    run.finish()
    follower.join(timeout=60)
    assert find(run)[1].info.status == "FINISHED"


def test_params_changed_by_a_resume_become_tags(run):
    run.finish()
    sync.sync(run)
    run.update(params=run.info["params"] | {"epochs": 99}, status="FINISHED")
    sync.sync(run)
    _, found = find(run)
    assert found.data.params["epochs"] == str(Params().epochs)
    assert found.data.tags["resumed.epochs"] == "99"


def test_a_store_that_does_not_answer_is_one_line_and_loses_nothing(run, monkeypatch):
    run.finish()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match="fashion-gan sync r1") as error:
        sync.sync(run)
    assert "\n" not in str(error.value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    sync.sync(run)
    assert find(run)[1].info.status == "FINISHED"


@pytest.mark.parametrize("uri", ["not a url", "ftp://x", "http://", "5009", "sqlite://"])
def test_an_address_that_is_none(project, monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match="no address"):
        sync.tracking_uri()


def test_the_default_store_is_the_projects_own(project, monkeypatch):
    monkeypatch.chdir(project / "notebooks")
    assert sync.tracking_uri() == f"sqlite:///{project}/mlflow.db"
    assert Path(sync.tracking_uri().removeprefix("sqlite:///")).is_absolute()
