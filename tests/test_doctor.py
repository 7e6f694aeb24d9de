"""`fashion-gan doctor`: what is well, what is not, each fault with what to do."""

import http.server
import json
import subprocess
import sys
import threading
import time

import pytest
from conftest import fashion_gan_here

from fashion_gan.cli import doctor
from fashion_gan.config.params import Params
from fashion_gan.runs.create import create_run
from fashion_gan.runs.run import Run


def examined(project, **env):
    done = fashion_gan_here("doctor", "--json", cwd=project, **env)
    found = {f["check"]: (f["state"], f["words"]) for f in json.loads(done.stdout)}
    assert done.returncode == int(any(state == "fault" for state, _ in found.values()))
    return found


def test_all_is_well_on_a_machine_that_is(project):
    done = fashion_gan_here("doctor", cwd=project)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("\n") == 9
    found = examined(project)
    assert {name for name, (state, _) in found.items() if state == "well"} == {
        "data",
        "device",
        "disk",
        "MLflow",
        "login",
        "artifacts",
        "runs",
    }
    assert [name for name, (state, _) in found.items() if state == "not tried"] == [
        "S3 keys",
        "clocks",
    ]


def test_data_that_is_damaged_or_missing(project):
    (project / "data").unlink()
    raw = project / "data" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train-labels-idx1-ubyte").write_bytes(b"x")
    state, words = examined(project)["data"]
    assert state == "fault"
    assert "train-labels-idx1-ubyte has the wrong content" in words
    assert "t10k-images-idx3-ubyte is missing" in words
    assert words.endswith("run: make data")


def test_a_run_that_vanished_is_closed_and_told(project):
    code = (
        "import os; from fashion_gan.runs.create import create_run;"
        " from fashion_gan.config.params import Params;"
        " create_run(Params(), name='gone'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=project)
    state, words = examined(project)["runs"]
    assert state == "fault"
    assert (
        "run gone had vanished; it is marked FAILED, go on with: fashion-gan resume gone" in words
    )
    assert Run(project / "reports" / "gone").info.status == "FAILED"


def test_runs_that_are_not_level_and_runs_of_other_machines(project):
    done, far = create_run(Params(), name="done"), create_run(Params(), name="far")
    done.finish()
    far.update(host="another-machine")
    far.lock.release()
    words = examined(project)["runs"][1]
    assert "1 not level in MLflow (done); run: fashion-gan sync --all" in words
    assert "far (another-machine)" in words
    assert far.info.status == "RUNNING"


def test_a_server_that_is_not_there(project):
    found = examined(project, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert found["MLflow"] == (
        "fault",
        (
            "MLflow at http://127.0.0.1:9 does not answer; start it (make server), or unset"
            " MLFLOW_TRACKING_URI"
        ),
    )
    assert found["login"] == found["artifacts"] == found["clocks"] == ("not tried", "needs MLflow")


@pytest.fixture
def strange():
    """A real HTTP server that lets nobody in and whose clock is a day late."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/health" else 401)
            self.end_headers()

        do_POST = do_GET  # noqa: N815

        def date_time_string(self, timestamp=None):
            late = self.server.late
            return super().date_time_string(
                time.time() - (late.pop(0) if len(late) > 1 else late[0])
            )

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        server.late = [86_400]  # seconds, an answer each; the last for all that follow
        server.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_login_that_is_refused_and_a_clock_that_is_wrong(project, strange):
    found = examined(project, MLFLOW_TRACKING_URI=strange.address)
    assert found["login"][0] == "fault"
    assert (
        "refuses the login (401); set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        in found["login"][1]
    )
    assert found["clocks"][0] == "fault"
    assert "clock is -8" in found["clocks"][1]
    assert found["artifacts"] == ("not tried", "needs login")


@pytest.mark.parametrize(
    ("date", "before", "after", "apart"),
    [
        (100, 100.9, 101, 0),
        (100, 100.5, 115, 0),
        (114, 100.5, 115, 0),
        (80, 100, 115, -19),
        (130, 100, 115, 15),
    ],
)
def test_a_slow_answer_is_no_wrong_clock(date, before, after, apart):
    assert doctor.clock_difference(date, before, after) == pytest.approx(apart)


def test_a_date_that_a_busy_server_wrote_too_early_is_no_wrong_clock(strange, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", strange.address)
    strange.late[:] = [20, 12, 0]
    assert doctor.check_clocks() == f"the server's is less than {doctor.CLOCK_SECONDS} s off"
    assert strange.late == [0]


def test_keys_that_the_store_does_not_take(project, strange):
    keys = {
        "S3_ACCESS_KEY": "a",
        "S3_SECRET_KEY": "b",
        "S3_BUCKET": "c",
        "S3_ENDPOINT_URL": "http://127.0.0.1:9",
    }
    state, words = examined(project, MLFLOW_TRACKING_URI=strange.address, **keys)["S3 keys"]
    assert state == "fault"
    assert "the store at http://127.0.0.1:9" in words


def test_an_address_that_is_none_is_a_fault_not_a_crash(project):
    found = examined(project, MLFLOW_TRACKING_URI="5009")
    assert found["MLflow"][0] == "fault"
    assert "is no address" in found["MLflow"][1]
