"""Shared pieces: a project folder of its own for a test, the real data, tiny parameters."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import leftovers
import pytest
from filelock import FileLock

# Before torch is imported: networks this small are slowed by a second thread, and threads that spin
# slow everybody.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell that starts the suite in the background lets it ignore Ctrl-C, and so its processes.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Half of the time to collect the tests was a search for garbage among what they import.
gc.disable()
ROOT = Path(__file__).resolve().parents[1]
TINY = {
    "subset": 256,
    "epochs": 3,
    "channels": 8,
    "latent_dim": 8,
    "batch_size": 32,
    "frechet_weight": 0.0,
    "val_samples": 100,
    "checkpoint_seconds": 0.05,
    "samples": 1000,
    "draws": 2,
    "explore_images": 100,
    "device": "cpu",
}


pytest_plugins = ["browsers", "groups"]
STARTS = ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec")
allowed_to_start = True  # whether the test that runs now may start a process


def pytest_configure(config: pytest.Config) -> None:
    """A temporary folder for all that this session and its processes make, and a word in their
    environment to know them by."""
    if not hasattr(config, "workerinput"):
        config.leftovers = leftovers.Watch(ROOT)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.leftovers.remove()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where the workers have ended: a process, a port, a container or a file that a test has left
    fails the session."""
    if hasattr(session.config, "workerinput") or session.config.option.collectonly:
        return
    session.config.left = session.config.leftovers.found()
    session.config.leftovers.keep = exitstatus != 0
    if session.config.left and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for line in getattr(config, "left", []):
        terminalreporter.write_line(f"LEFT BEHIND: {line}", red=True)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`make test-fast` imports only what it runs: a file without that mark is not looked into."""
    if config.option.markexpr == "fast" and collection_path.suffix == ".py":
        return "mark.fast" not in collection_path.read_text(encoding="utf-8") or None
    return None


def _refuse(event: str, _: tuple) -> None:
    if event in STARTS and not allowed_to_start:
        raise AssertionError(
            f"a test marked fast starts a process ({event}); make test-fast is for functions and"
            " small tensors"
        )


sys.addaudithook(_refuse)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item):
    global allowed_to_start
    allowed_to_start = item.get_closest_marker("fast") is None
    try:
        return (yield)
    finally:
        allowed_to_start = True


@pytest.fixture(autouse=True)
def environment():
    """What a test, or a library in it, sets in the environment ends with it; so does the proxy that
    urllib has read from there, once for a process."""
    with mock.patch.dict(os.environ):
        yield
    urllib.request.install_opener(None)


def once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """What `make` leaves in a folder, made by one of the workers and read by all. A test that
    writes takes a copy."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "shared"
    shared.mkdir(exist_ok=True)
    with FileLock(shared / f"{name}.lock"):
        if not (shared / name).exists():
            shutil.rmtree(shared / "making", ignore_errors=True)
            (shared / "making").mkdir()
            make(shared / "making")
            (shared / "making").rename(shared / name)
    return shared / name


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The real data set, fetched as `make data` fetches it."""
    from fashion_gan.data.datasets import verify_files

    folder = ROOT / "data"
    if not verify_files(folder):
        return folder
    subprocess.run(
        ["sh", "scripts/get-data.sh", str(folder)],
        cwd=ROOT,
        check=True,
        env={**os.environ, "FASHION_GAN": command()},
    )
    return folder


def command() -> str:
    return str(Path(sys.executable).with_name("fashion-gan"))


def _migrate(folder: Path) -> None:
    import mlflow

    mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_experiments(max_results=1)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with all its tables and nothing in them. To make one takes MLflow seconds:
    it runs every migration there ever was."""
    return once(tmp_path_factory, "store", _migrate) / "mlflow.db"


@pytest.fixture
def project(
    tmp_path: Path, data_dir: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A project folder with the real notebooks and data, an empty reports/ and an empty MLflow
    store; the working folder is in it."""
    return make_project(tmp_path / "project", data_dir, monkeypatch, empty_store)


@pytest.fixture
def bare_project(tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same before anything was ever tracked: there is no MLflow store."""
    return make_project(tmp_path / "project", data_dir, monkeypatch)


def make_project(
    root: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch, store: Path | None = None
) -> Path:
    root.mkdir()
    if store:
        shutil.copy(store, root / "mlflow.db")
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    shutil.copytree(ROOT / "params", root / "params")
    shutil.copy(ROOT / "pyproject.toml", root)
    showcase = ROOT / "reports" / "showcase"
    if showcase.exists():
        shutil.copytree(showcase, root / "reports" / "showcase")
    (root / "reports").mkdir(exist_ok=True)
    (root / "data").symlink_to(data_dir)
    monkeypatch.chdir(root)
    for name in ("MLFLOW_TRACKING_URI", "FASHION_GAN_RUN", "FASHION_GAN_ROOT"):
        monkeypatch.delenv(name, raising=False)
    return root


@dataclass(frozen=True)
class WholeRun:
    """A project with one finished run of all notebooks; what its command said."""

    root: Path
    done: subprocess.CompletedProcess

    @property
    def run(self):
        from fashion_gan.runs.run import Run

        return Run(self.root / "reports" / "whole")


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> WholeRun:
    """One run at a tiny size by the command, from nothing: its MLflow store is made by it too.
    Those who read it are in one group."""
    overrides = [word for name, value in TINY.items() for word in ("-p", f"{name}={value}")]
    with pytest.MonkeyPatch.context() as patch:
        root = make_project(tmp_path_factory.mktemp("whole") / "project", data_dir, patch)
        done = fashion_gan("run", "params/smoke.yaml", "--name", "whole", *overrides, cwd=root)
    assert done.returncode == 0, done.stdout + done.stderr
    return WholeRun(root, done)


@pytest.fixture
def tiny():
    from fashion_gan.config.params import Params

    return lambda **changes: Params.checked(TINY | changes)


@pytest.fixture
def ray(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # as distributed/ray_cluster.py has it
    yield pytest.importorskip("ray", reason="no Ray here (pip install -e .[ray])")


def small_cluster(head_cores: int):
    """A Ray cluster on this machine whose dead nodes are noticed within 5 s; nodes are added to it,
    and killed."""
    from ray.cluster_utils import Cluster

    soon = {
        "health_check_initial_delay_ms": 1000,
        "health_check_period_ms": 1000,
        "health_check_failure_threshold": 5,
    }
    return Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": head_cores, "include_dashboard": False, "_system_config": soon},
    )


@pytest.fixture(scope="session")
def splits(data_dir: Path):
    from fashion_gan.data.datasets import load_split

    return load_split(data_dir, "train", 256), load_split(data_dir, "validation", 1000)


def packed_folder(
    path: Path, shape: tuple[int, int, int], classes: tuple[str, ...], count: int = 300
) -> Path:
    """A packed data set of `count` training images as data/pack.py leaves it, but of coloured
    noise, a hue a class (without classes: one), with feature networks that were never trained."""
    import torch
    from safetensors.torch import save_file

    from fashion_gan.data.datasets import dataset_info
    from fashion_gan.files import digest
    from fashion_gan.models.feature_network import ROLES, FeatureNetwork

    (path / "networks").mkdir(parents=True)
    random = torch.Generator().manual_seed(0)
    counts = {"train": count, "validation": count // 3, "test": count // 3}
    for split, size in counts.items():
        labels = torch.arange(size) % max(1, len(classes))
        hues = torch.rand(16, shape[0], 1, 1, generator=random)[labels % 16]
        images = (255 * hues * torch.rand(size, *shape, generator=random)).to(torch.uint8)
        (path / f"{split}-images.u8").write_bytes(images.numpy().tobytes())
        (path / f"{split}-labels.i64").write_bytes(labels.numpy().tobytes())
    about = {
        "schema": 1,
        "name": "x",
        "source": "x",
        "shape": shape,
        "classes": classes,
        "counts": counts,
        "digest": f"{count}-{shape}",
    }
    (path / "dataset.json").write_text(json.dumps(about))
    known = {}
    for role, sizes in ROLES.items():
        torch.manual_seed(sizes.seed)
        save_file(
            FeatureNetwork(sizes, dataset_info(path)).state_dict(),
            path / "networks" / f"{role}.safetensors",
        )
        known[role] = {"sha256": digest(path / "networks" / f"{role}.safetensors")}
    (path / "networks" / "features.json").write_text(json.dumps(known))
    return path


def wait_until(
    condition, seconds: float, what: str | Path = "it", process: subprocess.Popen | None = None
):
    """What `condition` gives, once that is something. Fails after `seconds`, and at once where
    `process` has ended; a `what` that is a log is shown then."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        alive = time.monotonic() < until and (process is None or process.poll() is None)
        assert alive, (
            what.read_text() if isinstance(what, Path) else f"{what}: not within {seconds} s"
        )
        time.sleep(0.2)
    return found


def fashion_gan(
    *words: str, cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the real command."""
    return subprocess.run(
        [command(), *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, **env},
    )


def fashion_gan_here(
    *words: str, cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """The same in this process: the command's own main, without the seconds that a new interpreter
    takes to import. One test a command goes through the shell (tests/test_chain.py)."""
    from fashion_gan.cli import run_command

    out, err = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as around:
        around.enter_context(contextlib.redirect_stdout(out))
        around.enter_context(contextlib.redirect_stderr(err))
        around.enter_context(contextlib.chdir(cwd or Path.cwd()))
        around.enter_context(mock.patch.dict(os.environ, env))
        code = run_command(words)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())
