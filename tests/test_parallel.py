"""Training by several workers: the arithmetic against one process, in float64; on a real Ray a
killed worker, Ctrl-C, refusals."""

import os
import signal
import subprocess
import time
from collections import Counter
from types import SimpleNamespace

import psutil
import pytest
import torch
import yaml
from conftest import TINY, command, fashion_gan, fashion_gan_here, small_cluster, wait_until

from fashion_gan.catalog.runs import find_run
from fashion_gan.config.params import Params
from fashion_gan.config.profiles import read_profile
from fashion_gan.data import batches
from fashion_gan.data.datasets import Split
from fashion_gan.errors import UserError
from fashion_gan.runs.run import Run
from fashion_gan.training import frechet as training_frechet
from fashion_gan.training import ray_worker
from fashion_gan.training import stepper as training_stepper
from fashion_gan.training.checkpoints import load_latest, save_checkpoint
from fashion_gan.training.frechet import frechet_objectives
from fashion_gan.training.inputs import draw_inputs
from fashion_gan.training.state import TrainingState

pytestmark = [pytest.mark.timeout(900)]
two_cores = pytest.mark.skipif(os.cpu_count() < 2, reason="this machine has one core")
SIZE = TINY | {
    "subset": 1024,
    "epochs": 4,
    "channels": 8,
    "notebooks": ["02_train"],
    "checkpoint_seconds": 1.0,
}
RECIPES = (
    {"augment": "translate+cutout"},
    {"loss": "hinge", "r1": 1.0, "r2": 1.0, "penalty_interval": 4},
    {
        "loss": "relativistic",
        "d_norm": False,
        "r1": 1.0,
        "frechet_weight": 0.0,
        "conditional": False,
    },
)


STEPS = 16  # of 64 images; the Fréchet loss begins with the eleventh


def some_steps(rank, size, folder):
    """The first steps of each recipe as process `rank` of `size`, in float64, so that the order of
    sums leaves no trace."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    single = batches.make_transform()
    for module in (training_stepper, training_frechet):
        module.make_transform = lambda: lambda images: single(images).double()
    if size > 1:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=size
        )
    images = torch.randint(
        0, 256, (64 * STEPS, 1, 28, 28), generator=torch.Generator().manual_seed(0)
    ).to(torch.uint8)
    split = Split(images, torch.arange(64 * STEPS) % 10)
    for number, recipe in enumerate(RECIPES):
        params = Params(
            subset=64 * STEPS,
            channels=8,
            frechet_start=640,
            batch_size=64,
            processes=size,
            **recipe,
        )
        state = TrainingState(params)
        objectives = frechet_objectives(split, params, state.device)
        steps = training_stepper.Stepper(state, split, params, objectives)
        steps.load(draw_inputs(params, 10, torch.arange(len(split)), 0))
        for batch in range(STEPS):
            steps.run(steps.kind_of(64 * batch, batch))
        if rank == 0:
            parts = {
                name: getattr(state, name).state_dict()
                for name in ("generator", "discriminator", "ema_generator", "moments")
            }
            torch.save(parts | {"losses": state.losses}, folder / f"{size}-{number}.pt")
    if size > 1:
        torch.distributed.barrier()  # one that leaves before the other ends it with SIGABRT
        torch.distributed.destroy_process_group()


def test_two_workers_take_the_same_steps_as_one(tmp_path):
    for size in (1, 2):  # processes of their own: they change torch's default type
        torch.multiprocessing.spawn(some_steps, (size, tmp_path), nprocs=size)
    for number in range(len(RECIPES)):
        one, two = (
            torch.load(tmp_path / f"{size}-{number}.pt", weights_only=True) for size in (1, 2)
        )
        assert torch.allclose(one.pop("losses"), two.pop("losses"), rtol=1e-9)
        for name, tensors in one.items():
            for key, value in tensors.items():
                assert torch.allclose(
                    value.double(), two[name][key].double(), rtol=1e-7, atol=1e-7
                ), (number, name, key)
        assert one["generator"]["layers.0.num_batches_tracked"] == STEPS


def written(project, **changes):
    path = project / "params" / "two.yaml"
    path.write_text(yaml.safe_dump(SIZE | {"processes": 2} | changes))
    return path


def begun(project, path, name):
    log = (project / "log.txt").open("w")
    return subprocess.Popen(
        [command(), "run", str(path), "--name", name], cwd=project, stdout=log, stderr=log
    )


def workers_of(project):
    """The processes of Ray's that train (they call themselves by their class)."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any("RayTrainWorker" in word for word in process.info["cmdline"] or []):
            found.append(process)
    return found if len(found) == 2 else []


def whole(run, epochs):
    """Whether each epoch stands in the record once."""
    points = Counter((p["name"], p["step"]) for p in run.metrics() if p["name"] == "loss_d")
    return set(points.values()) == {1} and len(points) == epochs


@two_cores
@pytest.mark.slow
def test_a_killed_worker_and_a_killed_node_cost_nothing(ray, project, monkeypatch):
    cluster = small_cluster(1)
    nodes = {
        node.all_processes["raylet"][0].process.pid: node
        for node in (cluster.add_node(num_cpus=1) for _ in range(2))
    }
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    run, log, folder = (
        begun(project, written(project, epochs=6), "two"),
        project / "log.txt",
        project / "reports" / "two",
    )
    try:
        for kill in (
            psutil.Process.kill,
            lambda worker: cluster.remove_node(nodes[worker.ppid()], allow_graceful=False),
        ):
            seen = epochs_of(folder)
            wait_until(lambda seen=seen: epochs_of(folder) > seen, 240, log, run)
            team = wait_until(lambda: workers_of(project), 30, log, run)
            # one that is not beside the driver
            kill(next(worker for worker in team if worker.ppid() in nodes))
            wait_until(
                lambda team=team: not set(team) & set(workers_of(project) or team), 120, log, run
            )
        assert run.wait(400) == 0, log.read_text()
    finally:
        run.kill()
        cluster.shutdown()
    found = find_run("two")
    assert found.info.status == "FINISHED"
    assert whole(found, 6)
    assert found.info.images_seen == 6 * 1024
    monkeypatch.delenv("RAY_ADDRESS")
    alone = fashion_gan_here(
        "run", str(written(project, processes=1, epochs=1)), "--name", "one", cwd=project
    )
    assert alone.returncode == 0, alone.stderr
    ours, theirs = (find_run(name).series("loss_d")[1][0] for name in ("two", "one"))
    # the first epoch's mean, before rounding has grown
    assert ours == pytest.approx(theirs, rel=0.02)
    assert (found.folder / "generator.safetensors").exists()


@two_cores
@pytest.mark.slow
def test_a_run_of_two_workers_on_this_machine(ray, project):
    done = fashion_gan(
        "run", str(written(project, epochs=1, subset=512)), "--name", "two", cwd=project
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert find_run("two").info.status == "FINISHED"
    assert whole(find_run("two"), 1)
    assert (find_run("two").folder / "generator.safetensors").exists()
    assert not workers_of(project)


def epochs_of(folder):
    """How many epochs stand in a run's record."""
    return (
        len(Run(folder).series("validation_distance")[1])
        if (folder / "metrics.jsonl").exists()
        else 0
    )


@two_cores
@pytest.mark.slow
def test_an_interrupted_training_goes_on_alone(ray, project):
    path = written(project, epochs=40)
    run = begun(project, path, "s")
    try:
        folder = project / "reports" / "s"
        wait_until(lambda: epochs_of(folder), 240, project / "log.txt", run)
        run.send_signal(signal.SIGTERM)
        assert run.wait(120) == 130, (project / "log.txt").read_text()
    finally:
        run.kill()
    wait_until(lambda: not workers_of(project), 60, project / "log.txt")
    found = find_run("s")
    assert found.info.status == "KILLED"
    kept = load_latest(folder / "checkpoints")["state"]["position"]
    assert kept["images"] >= 1024
    epochs = kept["epoch"] + 1
    done = fashion_gan("resume", "s", "-p", f"epochs={epochs}", "-p", "processes=1", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert whole(found, epochs)


@two_cores
@pytest.mark.slow
def test_a_nan_is_said_in_one_line_and_not_tried_again(ray, project):
    params = read_profile(written(project), []).params
    state = TrainingState(params)
    torch.nn.init.constant_(state.generator.project.weight, float("nan"))
    kept = save_checkpoint(project / "checkpoints", state.state_dict(), params.model_dump(), 0, 1)
    done = fashion_gan(
        "run", str(written(project, checkpoint=str(kept))), "--name", "nan", cwd=project
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "a loss became NaN or infinite" in done.stderr
    assert find_run("nan").info.status == "FAILED"
    assert not workers_of(project)


def test_whichever_worker_fails_says_why(ray, project, monkeypatch):
    """The others wait for it in a step: were it silent, Ray would begin them all again, and
    again."""
    params = read_profile(written(project), []).params.model_dump() | {"data_dir": "none"}
    monkeypatch.setattr(
        "ray.train.get_context",
        lambda: SimpleNamespace(get_world_rank=lambda: 1, get_world_size=lambda: 2),
    )
    with pytest.raises(UserError):
        ray_worker.work(
            {"params": params, "folder": str(project / "reports"), "root": str(project)}
        )
    assert "none" in (project / "reports" / ray_worker.FAILURE).read_text()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"processes": 3}, "batch_size 64 cannot be shared by 3 processes; make it a multiple"),
        ({"processes": 0}, "parameter processes is '0'; allowed: int from 1"),
    ],
)
def test_what_cannot_be_shared_is_refused(project, changes, words):
    done = fashion_gan_here("run", str(written(project, batch_size=64, **changes)), cwd=project)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert words in done.stderr


@pytest.mark.slow
def test_too_small_a_cluster_and_none(ray, project):
    many = 64
    assert os.cpu_count() < many
    began = time.monotonic()
    done = fashion_gan("run", str(written(project, processes=many, batch_size=64)), cwd=project)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert (
        f"64 processes take each 1 cores and 0 GPUs; the cluster's machines have {os.cpu_count()}"
        " cores" in done.stderr
    )
    began_again = time.monotonic()
    done = fashion_gan("run", str(written(project)), cwd=project, RAY_ADDRESS="127.0.0.1:9")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "no Ray cluster answers at 127.0.0.1:9" in done.stderr
    # it does not wait for one to answer: this takes no longer than to start one, as above
    assert time.monotonic() - began_again < began_again - began
