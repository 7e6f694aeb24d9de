"""The team server: a run against it, what it keeps, whom it lets in. `make test` starts its three
programs as processes; `make test-all` starts them by docker compose too, where an engine runs."""

import base64
import http.cookiejar
import json
import os
import shutil
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
import yaml
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from conftest import ROOT, TINY, command, fashion_gan_here, make_project, wait_until
from copies import differences
from faulted import faulted
from servers import Engine, Processes

from fashion_gan.files import Lock, digest
from fashion_gan.runs.run import Run


def small(project):
    """The words that run a profile of two notebooks; tests/test_chain.py runs them all."""
    path = project / "params" / "small.yaml"
    path.write_text(
        yaml.safe_dump(TINY | {"epochs": 1, "draws": 1, "notebooks": ["02_train", "03_evaluate"]})
    )
    return ["run", str(path)]


pytestmark = [pytest.mark.timeout(900)]
DOCTORS = 8
full = pytest.mark.parametrize(
    "server", [pytest.param("engine", marks=pytest.mark.slow)], indirect=True
)


@pytest.fixture(
    scope="module", params=["processes", pytest.param("engine", marks=pytest.mark.slow)]
)
def server(request):
    """The server of that kind; without an engine the slow tests take processes too."""
    kinds = (Processes,) if request.param == "processes" else (Engine, Processes)
    reasons = [kind.why_not() for kind in kinds]
    if all(reasons):
        pytest.skip("; ".join(reasons))
    made = kinds[reasons.index("")]()
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture
def client(server, project, monkeypatch):
    """The project folder, with a client's environment for the server."""
    for name, value in server.client.items():
        monkeypatch.setenv(name, value)
    return project


@full
def test_a_fresh_store_takes_many_doctors_and_two_runs_at_once(server, client):
    doctors = [
        subprocess.Popen(
            [command(), "doctor"],
            cwd=client,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(DOCTORS)
    ]
    for doctor in doctors:
        out, err = doctor.communicate(timeout=300)
        assert (doctor.returncode, err) == (0, ""), out
        assert out.count("well ") == 9, out
    two = [
        subprocess.Popen([command(), *small(client), "--name", name], cwd=client)
        for name in ("one", "two")
    ]
    assert [run.wait(timeout=280) for run in two] == [0, 0]
    for name in ("one", "two"):
        assert differences(Run(client / "reports" / name)) == []


def test_a_run_against_it_ends_finished_with_every_file_in_the_bucket_and_down_loses_nothing(
    server, client, tmp_path
):
    done = fashion_gan_here(*small(client), "--name", "served", cwd=client)
    assert done.returncode == 0, done.stdout + done.stderr
    run = Run(client / "reports" / "served")
    copy = run.copy()
    assert copy["url"].startswith(server.address)
    assert differences(run) == []
    kept = {
        key.split("/artifacts/", 1)[1]: key
        for key in server.stored()
        if f"/{copy['run_id']}/artifacts/" in f"/{key}"
    }
    assert set(copy["sent"]) <= set(kept)
    for name in copy["sent"]:
        server.s3().download_file("mlflow", kept[name], str(tmp_path / "file"))
        assert digest(tmp_path / "file") == digest(run.folder / name), name
    before = server.stored()
    server.stop()
    server.start()
    assert server.stored() == before
    assert differences(run) == []
    drawn = fashion_gan_here(
        "sample",
        "--model",
        "models:/fashion-gan@champion",
        "--n",
        "5",
        "--out",
        "x.npz",
        cwd=client,
    )
    assert drawn.returncode == 0, drawn.stderr
    left = [
        p
        for p in client.rglob("*")
        if p.is_file()
        and "data" not in p.relative_to(client).parts
        and p.stat().st_size < 3_000_000
    ]
    contents = {str(p): p.read_bytes() for p in left} | {"the database": server.dump()}
    for secret in ("development-mlflow", "development-secret"):
        assert not [name for name, content in contents.items() if secret.encode() in content], (
            "a secret is in what the run left"
        )


@full
def test_kill_9_of_each_of_the_three_in_the_middle_of_a_run_loses_nothing(server, client):
    run = Run(client / "reports" / "r")
    training = faulted("r", cwd=client)
    wait_until(
        lambda: run.folder.exists() and run.copy().get("offsets"), 120, client / "log", training
    )
    for name in ("postgres", "store", "mlflow"):
        server.kill(name)
        time.sleep(2)
        server.back(name)
    (client / "stop").touch()
    assert training.wait(timeout=60) == 0, (client / "log").read_text()[-2000:]
    wait_until(Lock(run.folder / "sync.lock").is_free, 150, "the copier's end")
    wait_until(lambda: ask(server) == 200, 60, "the server")
    synced = fashion_gan_here("sync", "r", cwd=client)
    assert synced.returncode == 0, synced.stderr
    assert run.info.status == "FINISHED"
    assert differences(run) == []


@full
def test_a_copied_folder_alone_gives_the_same_run_on_another_server(
    server, project, data_dir, tmp_path, monkeypatch
):
    done = fashion_gan_here(*small(project), "--name", "moved", cwd=project)  # into the local store
    assert done.returncode == 0, done.stderr
    here = fields(Run(project / "reports" / "moved"))
    other = make_project(tmp_path / "other", data_dir, monkeypatch)
    shutil.copytree(project / "reports" / "moved", other / "elsewhere" / "moved")
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, server.client[name])
    for _ in range(2):
        sent = fashion_gan_here("sync", "elsewhere/moved", "--to", server.address, cwd=other)
        assert sent.returncode == 0, sent.stderr
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    run = Run(other / "elsewhere" / "moved")
    assert differences(run) == []
    there = fields(run)
    assert there == here
    assert len(run.copies) == 2  # the local store's is still known


def fields(run):
    """All that MLflow holds of a run, without what belongs to a store (ids, addresses)."""
    from fashion_gan.tracking import mlflow_sync
    from fashion_gan.tracking.client import EXPERIMENT, make_client

    client = make_client()
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    (found,) = client.search_runs([experiment], f"tags.`{mlflow_sync.RUN_TAG}` = '{run.info.uuid}'")
    metrics = {
        n: sorted(
            (m.step, m.timestamp, m.value) for m in client.get_metric_history(found.info.run_id, n)
        )
        for n in found.data.metrics
    }
    (version,) = client.search_model_versions(f"run_id = '{found.info.run_id}'")
    artifacts, folders = [], [""]
    while folders:
        listed = client.list_artifacts(found.info.run_id, folders.pop())
        folders += [a.path for a in listed if a.is_dir]
        artifacts += [
            (a.path, a.file_size)
            for a in listed
            if not a.is_dir and not a.path.startswith("model/")
        ]
    tags = {k: v for k, v in found.data.tags.items() if k not in ("mlflow.user",)}
    inputs = sorted(
        (i.dataset.name, i.dataset.digest, i.tags[0].value) for i in found.inputs.dataset_inputs
    )
    info = (found.info.run_name, found.info.status, found.info.start_time, found.info.end_time)
    kept = {k: v for k, v in version.tags.items() if k != "champion"}  # each store has its own
    return info, found.data.params, tags, metrics, inputs, sorted(artifacts), kept


def ask(
    server,
    path="/api/2.0/mlflow/experiments/search?max_results=1",
    login=(),
    body=None,
    method=None,
    **headers,
):
    """The status code of a request to MLflow."""
    if login is not None:
        headers["Authorization"] = (
            "Basic " + base64.b64encode(":".join(login or server.login).encode()).decode()
        )
    data = (
        body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
    )
    named = {k.replace("_", "-"): v for k, v in headers.items()}
    request = urllib.request.Request(server.address + path, data=data, headers=named, method=method)
    try:
        return urllib.request.urlopen(request, timeout=20).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_who_is_not_let_in(server):
    assert ask(server) == 200
    assert ask(server, login=None) == 401
    assert ask(server, login=("admin", "wrong")) == 401
    assert ask(server, Host="evil.example") == 403
    create = "/api/2.0/mlflow/experiments/create"
    assert (
        ask(
            server,
            create,
            body={"name": "x"},
            Origin="http://evil.example",
            Content_Type="application/json",
        )
        == 403
    )
    for changes in (
        {"aws_secret_access_key": "wrong"},
        {"aws_access_key_id": "wrong"},
        {"config": Config(signature_version=UNSIGNED)},
    ):
        with pytest.raises(ClientError, match=r"Access|Signature|Invalid"):
            server.s3(**changes).list_objects_v2(Bucket="mlflow")


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "..%2f..%2fetc/passwd",
        "%2e%2e/%2e%2e/x",
        "a/..%2f..%2f..%2fx",
        "%252e%252e%252fx",
        "..%5cx",
    ],
)
def test_a_path_that_climbs_out_is_refused(server, name):
    place = f"/api/2.0/mlflow-artifacts/artifacts/{name}"
    before = server.stored()
    # 500 where MLflow lets a backslash through and the store refuses it: no answer is a success,
    # and nothing is stored.
    assert ask(server, place, method="PUT", body=b"x", Content_Type="application/octet-stream") in (
        400,
        404,
        405,
        500,
    )
    assert ask(server, place) in (400, 404, 500)
    assert server.stored() == before


def test_the_console_wants_its_password(server):
    def login(password):
        opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        )
        page = opener.open(f"http://127.0.0.1:{server.ports['console']}/", timeout=20)
        assert page.url.endswith("/login")
        form = {"username": "admin", "password": password}
        token = page.read().decode().partition('name="csrf_token" value="')[2].partition('"')[0]
        body = urllib.parse.urlencode(form | ({"csrf_token": token} if token else {})).encode()
        return opener.open(page.url, data=body, timeout=20).url

    assert "/login" in login("wrong")
    assert "/login" not in login(server.values["CONSOLE_PASSWORD"])


def test_it_listens_on_this_machine_only(server):
    assert {address for address, _ in server.listening()} == {"127.0.0.1"}
    assert {server.ports[name] for name in ("mlflow", "s3", "console")} <= {
        port for _, port in server.listening()
    }


@pytest.mark.parametrize(
    ("script", "word"),
    [("store.sh", "S3_ACCESS_KEY"), ("mlflow/start.sh", "MLFLOW_ADMIN_PASSWORD")],
)
def test_development_values_are_refused_beyond_this_machine(script, word, tmp_path):
    env = Processes.settings_of(Processes.development()) | {
        "BIND": "0.0.0.0",
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
    }
    done = subprocess.run(
        ["sh", str(ROOT / "docker" / script)], env=env, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1
    assert f"refused: BIND is 0.0.0.0 while {word}" in done.stderr
    assert done.stderr.count("\n") == 1


@full
def test_a_backup_brings_everything_back(server, client, tmp_path):
    if server.kind != "engine":
        pytest.skip(
            "backup and restore are compose commands: no Docker engine runs on this machine"
        )
    done = fashion_gan_here(*small(client), "--name", "saved", cwd=client)
    assert done.returncode == 0, done.stderr
    before, run = server.stored(), Run(client / "reports" / "saved")
    env = {"COMPOSE_PROJECT_NAME": "fashion-gan-test"}
    make = {"cwd": ROOT, "env": os.environ | env, "capture_output": True, "text": True}
    saved = subprocess.run(["make", "server-backup", f"TO={tmp_path / 'saved'}"], **make)
    assert saved.returncode == 0, saved.stdout + saved.stderr
    assert server.stored() == before  # it goes on afterwards
    server.remove()
    restored = subprocess.run(["make", "server-restore", f"FROM={tmp_path / 'saved'}"], **make)
    assert restored.returncode == 0, restored.stdout + restored.stderr
    assert server.stored() == before
    assert differences(run) == []


def test_server_env_writes_random_values_for_its_owner_alone(tmp_path):
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / ".env", tmp_path)
    shutil.copy(ROOT / "scripts" / "server_env.py", tmp_path / "scripts")
    run = [sys.executable, str(tmp_path / "scripts" / "server_env.py")]
    assert subprocess.run(run, capture_output=True).returncode == 0
    text = (tmp_path / ".env.local").read_text()
    assert stat.S_IMODE((tmp_path / ".env.local").stat().st_mode) == 0o600
    assert "development" not in text
    values = [
        line.split("=")[1]
        for line in text.splitlines()
        if ("PASSWORD" in line or "KEY" in line) and "$" not in line
    ]
    assert len(set(values)) == len(values) == 6
    assert min(map(len, values)) >= 24
    again = subprocess.run(run, capture_output=True, text=True)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert (tmp_path / ".env.local").read_text() == text


@pytest.mark.skipif(not shutil.which("docker"), reason="no docker here")
def test_images_that_cannot_be_pulled_leave_the_settings_as_they_are(tmp_path):
    shutil.copytree(ROOT / "docker", tmp_path / "docker")
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    (tmp_path / ".env.local").write_text("S3_BUCKET=mine\n")
    env = os.environ | {"DOCKER_HOST": "tcp://127.0.0.1:1"}
    done = subprocess.run(["sh", tmp_path / "docker" / "pin.sh"], capture_output=True, env=env)
    assert done.returncode != 0
    assert [path.name for path in tmp_path.glob(".env*")] == [".env.local"]
    assert (tmp_path / ".env.local").read_text() == "S3_BUCKET=mine\n"


def test_pinned_images_are_those_that_run(tmp_path):
    compose = shutil.which("docker") and subprocess.run(["docker", "compose", "version"])
    if not compose or compose.returncode:
        pytest.skip("no docker compose here")
    digest = "postgres:17.6-bookworm@sha256:" + "0" * 64
    command = ["docker", "compose", "--env-file", ".env", "config", "--images"]
    env = os.environ | {"POSTGRES_IMAGE": digest}
    images = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True).stdout
    assert images.splitlines().count(digest) == 1
    assert "chrislusf/seaweedfs:4.48" in images
