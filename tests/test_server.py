"""The team server by docker compose, on a real engine: a run against it, what it keeps, whom it lets in."""

import base64
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from conftest import ROOT, TINY, fashion_gan

from fashion_gan.files import digest, read_json

ADDRESS, LOGIN = "http://127.0.0.1:5009", ("admin", "development-mlflow")
CLIENT = {"MLFLOW_TRACKING_URI": ADDRESS, "MLFLOW_TRACKING_USERNAME": LOGIN[0], "MLFLOW_TRACKING_PASSWORD": LOGIN[1]}


def compose(*words, **env):
    command = ["docker", "compose", "-p", "fashion-gan-test", "--env-file", ".env", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=580, env={**os.environ, **env})


def why_not():
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True).returncode:
        return "no Docker engine runs on this machine"
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        return "docker has no compose plugin"
    for port in (5009, 9000, 9001):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return f"port {port} is in use"
    return ""


MISSING = why_not()
needs_engine = pytest.mark.skipif(bool(MISSING), reason=MISSING or "-")


@pytest.fixture(scope="module")
def server():
    try:
        subprocess.run(["docker", "image", "inspect", "postgres:17.6-bookworm"], capture_output=True, check=True)
    except subprocess.CalledProcessError:
        if subprocess.run(["docker", "pull", "-q", "postgres:17.6-bookworm"], capture_output=True, timeout=300).returncode:
            if subprocess.run(["docker", "image", "inspect", "debian:bookworm-slim"], capture_output=True).returncode:
                pytest.skip("no image can be pulled, and there is no debian:bookworm-slim to build stand-ins from")
            subprocess.run(["sh", "tests/offline/build.sh"], cwd=ROOT, check=True, capture_output=True)
    up = compose("up", "-d", "--build", "--wait")
    assert up.returncode == 0, up.stderr[-3000:]
    yield
    compose("down", "--volumes")


def store(**changes):
    keys = {"aws_access_key_id": "development-access", "aws_secret_access_key": "development-secret"} | changes
    return boto3.client("s3", endpoint_url="http://127.0.0.1:9000", region_name="us-east-1", **keys)


def stored():
    pages = store().get_paginator("list_objects_v2").paginate(Bucket="mlflow")
    return {o["Key"]: o["Size"] for page in pages for o in page.get("Contents", [])}


def ask(path="/api/2.0/mlflow/experiments/search?max_results=1", login=LOGIN, body=None, **headers):
    """The status code of a request to MLflow."""
    if login:
        headers["Authorization"] = "Basic " + base64.b64encode(":".join(login).encode()).decode()
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(ADDRESS + path, data=data, headers={k.replace("_", "-"): v for k, v in headers.items()})
    try:
        return urllib.request.urlopen(request, timeout=20).status
    except urllib.error.HTTPError as error:
        return error.code


@needs_engine
@pytest.mark.timeout(900)
def test_a_run_against_it_ends_finished_with_every_file_in_the_bucket_and_down_loses_nothing(server, project, tmp_path):
    words = [word for name, value in TINY.items() for word in ("-p", f"{name}={value}")]
    done = fashion_gan("run", "params/smoke.yaml", "--name", "served", *words, cwd=project, **CLIENT)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = project / "reports" / "served"
    copy = read_json(folder / "mlflow.json")
    assert copy["url"].startswith(ADDRESS)
    kept = {key.split("/artifacts/", 1)[1]: key for key in stored() if f"/{copy['run_id']}/artifacts/" in f"/{key}"}
    assert set(copy["sent"]) <= set(kept)
    for name in ("index.html", "02_train.html", "notebooks/02_train.ipynb", "generator.safetensors", "metrics.jsonl"):
        store().download_file("mlflow", kept[name], str(tmp_path / "file"))
        assert digest(tmp_path / "file") == digest(folder / name), name
    before = stored()
    assert compose("down").returncode == 0
    assert compose("up", "-d", "--wait").returncode == 0
    assert {k: v for k, v in stored().items() if "/health/" not in f"/{k}"} == {
        k: v for k, v in before.items() if "/health/" not in f"/{k}"
    }
    drawn = fashion_gan("sample", "--model", "models:/fashion-gan@champion", "--n", "5", "--out", "x.npz", cwd=project, **CLIENT)
    assert drawn.returncode == 0, drawn.stderr
    left = [p for p in project.rglob("*") if p.is_file() and "data" not in p.relative_to(project).parts and p.stat().st_size < 3_000_000]
    assert not [p for p in left if LOGIN[1].encode() in p.read_bytes()], "the password is in a file that the run left"


@needs_engine
@pytest.mark.timeout(600)
def test_who_is_not_let_in(server):
    assert ask() == 200
    assert ask(login=None) == 401
    assert ask(login=("admin", "wrong")) == 401
    assert ask(Host="evil.example") == 403
    create = "/api/2.0/mlflow/experiments/create"
    assert ask(create, body={"name": "x"}, Origin="http://evil.example", Content_Type="application/json") == 403
    assert ask("/api/2.0/mlflow-artifacts/artifacts/..%2f..%2fetc/passwd") >= 400
    for changes in ({"aws_secret_access_key": "wrong"}, {"config": Config(signature_version=UNSIGNED)}):
        with pytest.raises(ClientError, match=r"Access|Signature"):
            store(**changes).list_objects_v2(Bucket="mlflow")


@needs_engine
@pytest.mark.timeout(600)
def test_it_listens_on_this_machine_only(server):
    names = subprocess.run(["docker", "ps", "-q", "--filter", "name=fashion-gan-test"], capture_output=True, text=True).stdout.split()
    ports = subprocess.run(["docker", "inspect", "-f", "{{json .NetworkSettings.Ports}}", *names], capture_output=True, text=True).stdout
    published = [b for line in ports.splitlines() for bound in json.loads(line).values() for b in bound or []]
    assert sorted(b["HostPort"] for b in published) == ["5009", "9000", "9001"]
    assert {b["HostIp"] for b in published} == {"127.0.0.1"}


@needs_engine
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("service", "word"), [("store", "S3_ACCESS_KEY"), ("mlflow", "MLFLOW_ADMIN_PASSWORD")])
def test_development_values_are_refused_beyond_this_machine(server, service, word):
    done = compose("run", "--rm", "--no-deps", service, BIND="0.0.0.0")
    assert done.returncode == 1
    assert f"refused: BIND is 0.0.0.0 while {word}" in done.stderr + done.stdout


def test_server_env_writes_random_values_for_its_owner_alone(tmp_path):
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / ".env", tmp_path)
    shutil.copy(ROOT / "scripts" / "server_env.py", tmp_path / "scripts")
    run = [sys.executable, str(tmp_path / "scripts" / "server_env.py")]
    assert subprocess.run(run, capture_output=True).returncode == 0
    text = (tmp_path / ".env.local").read_text()
    assert stat.S_IMODE((tmp_path / ".env.local").stat().st_mode) == 0o600
    assert "development" not in text
    values = [line.split("=")[1] for line in text.splitlines() if "PASSWORD" in line or "KEY" in line]
    assert len(set(values)) == len(values) == 6
    assert min(map(len, values)) >= 24
    again = subprocess.run(run, capture_output=True, text=True)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert (tmp_path / ".env.local").read_text() == text
