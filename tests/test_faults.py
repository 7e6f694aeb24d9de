"""Six faults of the server in the middle of a training that logs over 5,000 points: nothing is lost, nothing doubled."""

import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, fashion_gan_here, make_project, wait_until
from copies import differences
from servers import Processes

from fashion_gan.files import Lock
from fashion_gan.model import load_generator
from fashion_gan.run import Run

MISSING = Processes.why_not()
pytestmark = [pytest.mark.skipif(bool(MISSING), reason=MISSING or "-"), pytest.mark.timeout(600), pytest.mark.slow]
EPOCHS = 100
TIMEOUT = 3  # seconds that the copier's requests wait for an answer here; 20 by default
CLOSING = 20  # seconds that it tries on after the run's end here; 60 by default


@pytest.fixture(scope="module")
def server():
    made = Processes()
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def undisturbed(server, data_dir, tmp_path_factory):
    """The digest of the generator that the same training makes with no server at all."""
    with pytest.MonkeyPatch.context() as patch:
        root = make_project(tmp_path_factory.mktemp("undisturbed") / "project", data_dir, patch)
        code = f"import faulted; faulted.main('calm', {EPOCHS}, followed=False)"
        subprocess.run([sys.executable, "-c", code], cwd=root, check=True, env=os.environ | {"PYTHONPATH": str(ROOT / "tests")})
        return load_generator(root / "reports" / "calm" / "generator.safetensors").digest


def down_for(name, seconds):
    def fault(server):
        server.kill(name)
        time.sleep(seconds)
        server.back(name)

    return fault


def never_back(server):
    server.kill("mlflow")


def hanging(server):
    server.signal("mlflow", signal.SIGSTOP)
    time.sleep(3 * TIMEOUT)
    server.signal("mlflow", signal.SIGCONT)


def answering_500(server):
    """With a password hash that it cannot read MLflow answers 500 to every call of its REST API."""
    change(server, "update users set password_hash = 'x$y$' || password_hash")
    until = time.monotonic() + 10
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
    """No room for the database: its folder lies on a small file system, which is filled to the brim."""
    if not server.small:
        pytest.skip("no small file system can be mounted here (needs root)")
    filler = server.data / "filler"
    with filler.open("wb") as stream, pytest.raises(OSError, match="No space left"):
        while True:
            stream.write(bytes(65536))
            stream.flush()
    wait_until(lambda: "No space left on device" in (server.folder / "postgres.log").read_text(), 60, "the database meets the full disk")
    time.sleep(5)
    filler.unlink()
    if server.running["postgres"].poll() is not None:  # it may have given up; compose would start it again
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


FAULTS = {
    "killed, and back": down_for("mlflow", 6),
    "killed, and never back": never_back,
    "hanging": hanging,
    "answering 500": answering_500,
    "the database's disk full": disk_full,
    "the store's keys changed": keys_changed,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_middle_loses_nothing_and_doubles_nothing(fault, server, undisturbed, project, monkeypatch):
    for name in ("postgres", "store", "mlflow"):  # whatever the test before has left
        if server.running[name].poll() is not None:
            server.back(name)
    for name, value in server.client.items():
        monkeypatch.setenv(name, value)
    env = os.environ | {"PYTHONPATH": str(ROOT / "tests"), "MLFLOW_HTTP_REQUEST_TIMEOUT": str(TIMEOUT)}
    env["FASHION_GAN_CLOSING_SECONDS"] = str(CLOSING)
    with (project / "log").open("w") as log:
        training = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "faulted.py"), "r", str(EPOCHS)], cwd=project, env=env, stdout=log, stderr=log
        )
        try:
            wait_until(lambda: "\n20\n" in (project / "log").read_text() or training.poll() is not None, 120, "the first epochs")
            run = Run(project / "reports" / "r")
            wait_until(lambda: run.copy().get("offsets"), 60, "the first points in MLflow")
            FAULTS[fault](server)
            assert training.wait(timeout=200) == 0, (project / "log").read_text()[-2000:]
        finally:
            training.kill()
    assert run.info["status"] == "FINISHED"
    assert load_generator(run.folder / "generator.safetensors").digest == undisturbed  # the training never noticed
    assert (run.folder / "metrics.jsonl").read_text().count("\n") >= 5000
    lock = Lock(run.folder / "sync.lock")
    wait_until(lock.is_free, 120, "the copier's end")
    if fault == "killed, and never back":
        assert "are still to be sent: fashion-gan sync r" in (run.folder / "sync.log").read_text()
        server.back("mlflow")
    synced = fashion_gan_here("sync", "r", cwd=project)
    assert synced.returncode == 0, synced.stderr
    assert differences(run) == []
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from metrics where run_uuid = %s", [run.copy()["run_id"]])
        lines = sum((run.folder / name).read_text().count("\n") for name in ("metrics.jsonl", "system.jsonl"))
        assert cursor.fetchone()[0] == lines
    connection.close()
