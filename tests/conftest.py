"""Shared pieces: a project folder of its own for a test, the real data, tiny parameters."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest

# Before torch is imported: networks this small are slowed by a second thread, and threads that spin slow everybody.
os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "benchmarks")]
TINY = {
    "subset": 256,
    "epochs": 3,
    "channels": 8,
    "latent_dim": 8,
    "batch_size": 32,
    "feature_loss": 0.0,
    "look_images": 100,
    "checkpoint_seconds": 0.05,
    "samples": 1000,
    "draws": 2,
    "explore_images": 100,
    "device": "cpu",
}


LONGEST = (
    "test_server",
    "test_faults",
    "test_sweep",
    "test_parallel",
    "test_kill",
    "test_evaluate",
    "test_lab",
    "test_explorer",
    "test_own_images",
    "test_remote",
    "test_chain",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take minutes first: with a file a worker, one begun late is waited for by all the others."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The real data set, fetched as `make data` fetches it."""
    folder = ROOT / "data"
    subprocess.run(["sh", "scripts/get-data.sh", str(folder)], cwd=ROOT, check=True, env={**os.environ, "FASHION_GAN": command()})
    return folder


def command() -> str:
    return str(Path(sys.executable).with_name("fashion-gan"))


@pytest.fixture
def project(tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with the real notebooks and data and an empty reports/; the working folder is in it."""
    return make_project(tmp_path / "project", data_dir, monkeypatch)


def make_project(root: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root.mkdir()
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


@pytest.fixture
def tiny():
    from fashion_gan.params import Params

    return lambda **changes: Params.checked(TINY | changes)


@pytest.fixture
def ray(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    yield pytest.importorskip("ray", reason="no Ray here (pip install -e .[ray])")


def small_cluster(head_cores: int):
    """A Ray cluster on this machine whose dead nodes are noticed within 5 s; nodes are added to it, and killed."""
    from ray.cluster_utils import Cluster

    soon = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 1000, "health_check_failure_threshold": 5}
    return Cluster(initialize_head=True, head_node_args={"num_cpus": head_cores, "_system_config": soon})


@pytest.fixture(scope="session")
def splits(data_dir: Path):
    from fashion_gan.data import load_split

    return load_split(data_dir, "train", 256), load_split(data_dir, "validation", 1000)


def packed_folder(path: Path, shape: tuple[int, int, int], classes: tuple[str, ...], count: int = 300) -> Path:
    """A packed data set of `count` training images as scripts/pack.py leaves it, but of coloured noise, a hue a class (without classes:
    one), with feature networks that were never trained."""
    import torch
    from safetensors.torch import save_file

    from fashion_gan import data, features
    from fashion_gan.files import digest

    (path / "networks").mkdir(parents=True)
    random = torch.Generator().manual_seed(0)
    counts = {"train": count, "validation": count // 3, "test": count // 3}
    for split, size in counts.items():
        labels = torch.arange(size) % max(1, len(classes))
        hues = torch.rand(16, shape[0], 1, 1, generator=random)[labels]
        images = (255 * hues * torch.rand(size, *shape, generator=random)).to(torch.uint8)
        (path / f"{split}-images.u8").write_bytes(images.numpy().tobytes())
        (path / f"{split}-labels.i64").write_bytes(labels.numpy().tobytes())
    about = {"schema": 1, "name": "x", "source": "x", "shape": shape, "classes": classes, "counts": counts, "digest": f"{count}-{shape}"}
    (path / "dataset.json").write_text(json.dumps(about))
    known = {}
    for role, sizes in features.ROLES.items():
        torch.manual_seed(sizes.seed)
        save_file(features.FeatureNetwork(sizes, data.about(path)).state_dict(), path / "networks" / f"{role}.safetensors")
        known[role] = {"sha256": digest(path / "networks" / f"{role}.safetensors")}
    (path / "networks" / "features.json").write_text(json.dumps(known))
    return path


def wait_until(condition, seconds: float, what: str | Path = "it", process: subprocess.Popen | None = None):
    """What `condition` gives, once that is something. Fails after `seconds`, and at once where `process` has ended; a `what` that is
    a log is shown then."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        alive = time.monotonic() < until and (process is None or process.poll() is None)
        assert alive, what.read_text() if isinstance(what, Path) else f"{what}: not within {seconds} s"
        time.sleep(0.2)
    return found


def fashion_gan(*words: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the real command."""
    return subprocess.run([command(), *words], cwd=cwd, capture_output=True, text=True, timeout=280, env={**os.environ, **env})


def fashion_gan_here(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The same in this process, for tables of many wrong inputs: the command's own main, without seconds of imports each."""
    from command import guarded

    from fashion_gan.cli import COMMANDS

    if not words or words[0] not in COMMANDS:
        return fashion_gan(*words, cwd=cwd)
    script, out, err = importlib.import_module(words[0].replace("-", "_")), io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as around:
        for each in (contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.chdir(cwd)):
            around.enter_context(each)
        around.enter_context(mock.patch.dict(os.environ))
        around.enter_context(mock.patch.object(sys, "argv", [script.__file__, *words[1:]]))
        try:
            code = guarded(script.main)
        except SystemExit as exit:  # argparse's own
            code = exit.code
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())
