"""Faults of the server in the middle of a training that logs thousands of points: nothing is lost,
nothing doubled."""

import signal
import time
from collections import Counter

import pytest
from conftest import fashion_gan_here, wait_until
from copies import differences
from faulted import faulted
from servers import Processes

from fashion_gan.files import Lock
from fashion_gan.models.serialization import load_generator
from fashion_gan.runs.run import Run

MISSING = Processes.why_not()
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=MISSING or "-"),
    pytest.mark.timeout(600),
    pytest.mark.slow,
]
TIMEOUT = 3  # seconds that the copier's requests wait for an answer here; 20 by default
CLOSING = 8  # seconds that it tries on after the run's end here; 60 by default
CLOCK = ("seconds", "images_per_s")  # what no two trainings have alike


@pytest.fixture
def server():
    made = Processes()
    try:
        made.start()
        yield made
    finally:
        made.remove()


def killed(server):
    server.kill("mlflow")
    time.sleep(6)
    server.back("mlflow")


def hanging(server):
    server.signal("mlflow", signal.SIGSTOP)
    time.sleep(3 * TIMEOUT)
    server.signal("mlflow", signal.SIGCONT)


def answering_500(server):
    """With a password hash that it cannot read MLflow answers 500 to every call of its REST API."""
    change(server, "update users set password_hash = 'x$y$' || password_hash")
    until = time.monotonic() + 8
    codes = set()
    while time.monotonic() < until:
        codes.add(status_of(server))
        time.sleep(2)
    change(server, "update users set password_hash = substr(password_hash, 5)")
    assert codes == {500}


def change(server, sql):
    connection = server.connect()
    with connection, connection.cursor() as cursor:
        cursor.execute(sql)
    connection.close()


def status_of(server):
    import requests

    path = "/api/2.0/mlflow/experiments/search?max_results=1"
    return requests.get(server.address + path, auth=server.login, timeout=30).status_code


def disk_full(server):
    """No room for the database: its folder lies on a small file system, which is filled to the
    brim."""
    if not server.small:
        pytest.skip("no small file system can be mounted here (needs root)")
    filler, log = server.data / "filler", server.folder / "postgres.log"
    with filler.open("wb") as stream, pytest.raises(OSError, match="No space left"):
        while True:
            stream.write(bytes(65536))
            stream.flush()
    wait_until(
        lambda: "No space left on device" in log.read_text(), 60, "the database meets the full disk"
    )
    time.sleep(3)
    filler.unlink()
    # it may have given up; compose would start it again
    if server.running["postgres"].poll() is not None:
        server.back("postgres")


def keys_changed(server):
    server.stop("store")
    right = dict(server.values)
    server.values |= {"S3_ACCESS_KEY": "another-access", "S3_SECRET_KEY": "another-secret"}
    server.start("store")
    time.sleep(6)
    server.stop("store")
    server.values = right
    server.start("store")


FAULTS = {  # that pass
    "killed, and back": killed,
    "hanging": hanging,
    "answering 500": answering_500,
    "the database's disk full": disk_full,
    "the store's keys changed": keys_changed,
}


def rows(server, run, last):
    """How many of the training's points MLflow's database holds, up to a step."""
    wanted = (
        "select count(*) from metrics where run_uuid = %s and step <= %s and key not like"
        " 'system/%%'"
    )
    connection = server.connect()
    with connection, connection.cursor() as cursor:
        cursor.execute(wanted, [run.copy()["run_id"], last])
        (count,) = cursor.fetchone()
    connection.close()
    return count


def check_level(server, run, training):
    """What stood in the record a moment ago comes to stand in MLflow, each point once."""
    known = run.metrics()
    last = known[-1]["step"] - 1  # whole epochs
    size = (run.folder / "metrics.jsonl").stat().st_size
    wait_until(
        lambda: run.copy().get("offsets", {}).get("metrics.jsonl", 0) >= size,
        60,
        run.folder / "sync.log",
        training,
    )
    assert rows(server, run, last) == sum(point["step"] <= last for point in known)


def lines(run):
    return (run.folder / "metrics.jsonl").read_text().count("\n")


def record(run):
    """What two equal trainings have alike."""
    return Counter(
        (p["name"], p["step"], p["value"]) for p in run.metrics() if p["name"] not in CLOCK
    )


def test_faults_in_the_middle_lose_nothing_and_double_nothing(
    server, project, monkeypatch, subtests
):
    """Five that pass, one after another, then one that lasts beyond the run's end, beside one
    training; held against a training that no server ever heard of."""
    for name, value in server.client.items():
        monkeypatch.setenv(name, value)
    run = Run(project / "reports" / "r")
    training = faulted(
        "r",
        cwd=project,
        MLFLOW_HTTP_REQUEST_TIMEOUT=str(TIMEOUT),
        FASHION_GAN_CLOSING_SECONDS=str(CLOSING),
    )
    try:
        wait_until(
            lambda: run.folder.exists() and run.copy().get("offsets"),
            120,
            project / "log",
            training,
        )
        for name, fault in FAULTS.items():
            with subtests.test(name):
                fault(server)
                check_level(server, run, training)
        wait_until(lambda: lines(run) >= 5000, 120, "5,000 points", training)
        server.kill("mlflow")
        (project / "stop").touch()
        assert training.wait(timeout=60) == 0, (project / "log").read_text()[-2000:]
    finally:
        training.kill()
    assert run.info.status == "FINISHED"
    wait_until(Lock(run.folder / "sync.lock").is_free, 120, "the copier's end")
    assert "are still to be sent: fashion-gan sync r" in (run.folder / "sync.log").read_text()
    server.back("mlflow")
    synced = fashion_gan_here("sync", "r", cwd=project)
    assert synced.returncode == 0, synced.stderr
    assert differences(run) == []
    assert rows(server, run, run.metrics()[-1]["step"]) == lines(run) >= 5000
    epochs = int(run.last()["epoch"])
    assert faulted("calm", str(epochs), cwd=project).wait(timeout=200) == 0, (
        project / "log"
    ).read_text()[-2000:]
    calm = Run(project / "reports" / "calm")  # the training never noticed
    assert record(run) == record(calm)
    assert (
        load_generator(run.folder / "generator.safetensors").digest
        == load_generator(calm.folder / "generator.safetensors").digest
    )
