"""Each wrong input: one line on stderr, exit code 2, no traceback, nothing half-written."""

import os
import socket
import subprocess

import pytest
from conftest import ROOT, TINY, command, fashion_gan_here, make_project
from test_checkpoint import bad_files

from fashion_gan.config.params import Params
from fashion_gan.explorer import codec
from fashion_gan.files import digest
from fashion_gan.runs.create import create_run
from fashion_gan.training.checkpoints import save_checkpoint


@pytest.fixture(scope="module")
def world(tmp_path_factory, data_dir):
    """A project with a finished run, one that failed before its first checkpoint, and all kinds of
    bad files."""
    with pytest.MonkeyPatch.context() as patch:
        root = make_project(tmp_path_factory.mktemp("bad") / "project", data_dir, patch)
        done = create_run(
            Params.checked(TINY), name="done", profile="tiny", notebooks=("02_train",)
        )
        from test_sync import fill

        fill(done, 1.0)
        done.update(epochs_done=3)
        done.finish()
        failed = create_run(
            Params.checked(TINY), name="failed", profile="tiny", notebooks=("02_train",)
        )
        failed.finish("FAILED", "x")
        bad_files(root / "bad")
        save_checkpoint(
            root / "bad" / "other", {"x": 1}, Params(seed=9).model_dump(), 10, 1
        ).rename(root / "bad" / "other.pt")
        profiles = {
            "list": "- a\n- b\n",
            "text": "just words",
            "broken": "epochs: [1",
            "twice": "epochs: 1\nepochs: 2\n",
            "typo": "epoch: 1\n",
            "type": "epochs: many\n",
            "bounds": "epochs: 0\n",
            "contradiction": "batch_size: 512\nsubset: 300\n",
            "notebook": "notebooks: [02_train, 09_dream]\n",
            "nonotebooks": "notebooks: 3\n",
            "empty_list": "notebooks: []\n",
        }
        for name, text in profiles.items():
            (root / f"{name}.yaml").write_text(text)
        (root / "folder.npz").mkdir()
        (root / "binary.yaml").write_bytes(b"\xff\xfe\x00")
        (root / "corrupt.safetensors").write_bytes(
            (done.folder / "generator.safetensors").read_bytes()[:500]
        )
        yield root


SAMPLE = ["sample", "--model", "done", "--out", "x.npz"]
CODE = ["sample", "--model", "reports/showcase/generator.safetensors", "--out", "x.png", "--code"]
OTHERS = codec.encode(codec.ExplorerState(9, 7), 1)
CASES = {
    "unknown parameter": (["run", "typo.yaml"], "did you mean epochs"),
    "unknown override": (["run", "params/smoke.yaml", "-p", "chanels=3"], "did you mean channels"),
    "override that is none": (["run", "params/smoke.yaml", "-p", "epochs"], "no name=value"),
    "wrong type": (["run", "type.yaml"], "allowed: int"),
    "out of bounds": (["run", "bounds.yaml"], "from 1 to 100,000"),
    "contradiction": (["run", "contradiction.yaml"], "larger than subset"),
    "profile missing": (["run", "params/none.yaml"], "there are: params/"),
    "profile is a folder": (["run", "params"], "cannot be read"),
    "profile not YAML": (["run", "broken.yaml"], "no YAML"),
    "profile not text": (["run", "binary.yaml"], "cannot be read"),
    "profile a list": (["run", "list.yaml"], "holds a list"),
    "profile a text": (["run", "text.yaml"], "holds a str"),
    "unknown notebook": (["run", "notebook.yaml"], "'09_dream'"),
    "notebooks no list": (["run", "nonotebooks.yaml"], "must be a list"),
    "no notebooks": (["run", "empty_list.yaml"], "must be a list"),
    "given twice": (["run", "twice.yaml"], "given twice"),
    "given twice by -p": (
        ["run", "params/smoke.yaml", "-p", "epochs=1", "-p", "epochs=2"],
        "given twice",
    ),
    "name taken": (["run", "params/smoke.yaml", "--name", "done"], "there already"),
    "name with a slash": (["run", "params/smoke.yaml", "--name", "a/b"], "not allowed"),
    "name with dots": (["run", "params/smoke.yaml", "--name", ".."], "not allowed"),
    "no such run": (["resume", "nobody"], "no run 'nobody'"),
    "no such run to sync": (["sync", "nobody"], "no run 'nobody'"),
    "finished, no more epochs": (["resume", "done"], "say more epochs"),
    "frozen parameter": (["resume", "failed", "-p", "lr_g=0.1"], "cannot change lr_g"),
    "checkpoint of another version": (
        ["resume", "failed", "--checkpoint", "bad/version.pt"],
        "version 99",
    ),
    "checkpoint truncated": (
        ["resume", "failed", "--checkpoint", "bad/truncated.pt"],
        "damaged or no checkpoint",
    ),
    "no checkpoint": (["resume", "failed", "--checkpoint", "bad/text.pt"], "no checkpoint"),
    "checkpoint absent": (
        ["resume", "failed", "--checkpoint", "bad/absent.pt"],
        "no checkpoint bad/absent.pt",
    ),
    "checkpoint with code": (["resume", "failed", "--checkpoint", "bad/code.pt"], "holds code"),
    "checkpoint of other parameters": (
        ["resume", "failed", "--checkpoint", "bad/other.pt"],
        "cannot change seed 9 -> 0",
    ),
    "checkpoint for a new run": (
        ["run", "params/smoke.yaml", "-p", "checkpoint=bad/code.pt"],
        "holds code",
    ),
    "class name unknown": ([*SAMPLE, "--classes", "hat"], "no class 'hat'"),
    "class number unknown": ([*SAMPLE, "--classes", "3,10"], "no class '10'"),
    "n 0": ([*SAMPLE, "--n", "0"], "allowed: 1 to"),
    "n negative": ([*SAMPLE, "--n", "-5"], "allowed: 1 to"),
    "n huge": ([*SAMPLE, "--n", "1000000000"], "allowed: 1 to"),
    "n no number": ([*SAMPLE, "--n", "many"], "--n is many; allowed: 1 to 1,000,000"),
    "truncation": ([*SAMPLE, "--truncation", "9"], "allowed: 0 to 2"),
    "out in no folder": (["sample", "--out", "none/x.npz"], "no folder none"),
    "out of unknown ending": (["sample", "--out", "x.jpg"], "allowed: .npz, .png"),
    "out without ending": (["sample", "--out", "x"], "allowed: .npz, .png"),
    "model is none": (["sample", "--model", "README", "--out", "x.npz"], "no model 'README'"),
    "code is none": ([*CODE, "hello"], "this is no code of the explorer"),
    "code with a wrong letter": ([*CODE, "F1-V05GJ000003P97J8"], "the code is mistyped or cut off"),
    "code too long": ([*CODE, "F1-" + "0" * 10_000], "the longest has"),
    "code of another model": ([*CODE, OTHERS], "the code belongs to another model (0001)"),
    "code without its model": (
        ["sample", "--model", "nobody", "--out", "x.png", "--code", OTHERS],
        "no model 'nobody'",
    ),
    "code into an npz": (
        [*CODE[:3], "--out", "x.npz", "--code", OTHERS],
        "a code's picture goes to .png",
    ),
    "notebook unknown": (["lab", "--notebook", "09_dream"], "no notebook '09_dream'"),
    "app's port": (["app", "--port", "70000"], "allowed: 1 to 65,535"),
    "app's patience": (["app", "--idle", "0"], "allowed: 1 to 86,400"),
    "model is a checkpoint": (
        ["sample", "--model", "bad/text.pt", "--out", "x.npz"],
        "no model of fashion-gan",
    ),
    "model corrupted": (["sample", "--model", "corrupt.safetensors", "--out", "x.npz"], "damaged"),
    "model not registered": (
        ["sample", "--model", "models:/fashion-gan@champion", "--out", "x.npz"],
        "in MLflow at",
    ),
    "run without model": (["sample", "--model", "failed", "--out", "x.npz"], "no generator yet"),
    "out is a folder": (["sample", "--model", "done", "--out", "folder.npz"], "folder.npz"),
    "class that only looks like a digit": ([*SAMPLE, "--classes", "²"], "no class '²'"),
    "number too large for a float": (
        ["run", "params/smoke.yaml", "-p", f"lr_g={'9' * 400}"],
        "allowed: float",
    ),
    "model to evaluate is none": (
        ["run", "params/smoke.yaml", "-p", "model=nonsense"],
        "no model 'nonsense'",
    ),
    "resume of the showcase": (["resume", "showcase", "-p", "epochs=20"], "no run that is tracked"),
    "port that is none": (["lab", "--port", "70000"], "1 to 65,535"),
    "unknown command": (["dance"], "no command 'dance'; there are: init, run"),
    "no command": ([], "Missing command"),
}


def tree(root):
    """Every file with its digest; the shared data folder and locks aside."""
    files = [
        p
        for p in root.rglob("*")
        if p.is_file() and p.suffix != ".lock" and "data" not in p.relative_to(root).parts
    ]
    return sorted((str(p.relative_to(root)), digest(p)) for p in files)


@pytest.mark.parametrize("case", CASES)
def test_one_line_and_nothing_half_written(world, case):
    words, expected = CASES[case]
    before = tree(world)
    done = fashion_gan_here(*words, cwd=world)
    assert_refused(done, expected)
    assert tree(world) == before


def assert_refused(done, expected):
    lines = [line for line in done.stderr.strip().splitlines() if "error" in line]
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(lines) == 1, done.stderr
    assert expected in lines[0]
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("MLFLOW_TRACKING_URI", "nonsense", "is no address"),
        ("FASHION_GAN_CLOSING_SECONDS", "soon", "allowed: 0 to 86400 seconds"),
        ("FASHION_GAN_CLOSING_SECONDS", "-1", "allowed: 0 to 86400 seconds"),
        ("FASHION_GAN_CLOSING_SECONDS", "86401", "allowed: 0 to 86400 seconds"),
        ("FASHION_GAN_CLOSING_SECONDS", "nan", "allowed: 0 to 86400 seconds"),
    ],
)
def test_a_setting_that_cannot_be(world, name, value, words):
    before = tree(world)
    assert_refused(fashion_gan_here("run", "params/smoke.yaml", cwd=world, **{name: value}), words)
    assert tree(world) == before


def test_outside_a_project(tmp_path):
    (tmp_path / "p.yaml").write_text("epochs: 1\n")
    assert_refused(fashion_gan_here("run", "p.yaml", cwd=tmp_path), "no fashion-gan project")


def test_port_in_use(world):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert_refused(
            fashion_gan_here("lab", "--port", str(port), cwd=world), f"port {port} is in use"
        )


def test_no_data_source_reachable(world, tmp_path):
    """A folder without data, no system copy, no network: torchvision's hosts are asked through a
    proxy that is not there."""
    if os.path.isdir("/usr/share/datasets/fashion-mnist"):
        pytest.skip("this machine has a system copy of the data")
    proxies = dict.fromkeys(
        ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"
    )
    done = fashion_gan_here(
        "run", "params/smoke.yaml", "-p", f"data_dir={tmp_path / 'none'}", cwd=world, **proxies
    )
    lines = [line for line in done.stderr.splitlines() if line]
    assert done.returncode == 2
    assert lines[-1].startswith("error: no source of Fashion-MNIST is reachable")
    assert "make data" in lines[-1]
    assert "Traceback" not in done.stderr


def test_data_folder_that_cannot_be_one(world, tmp_path):
    (tmp_path / "file").write_text("")
    assert_refused(
        fashion_gan_here("data", "--folder", str(tmp_path / "file" / "x"), cwd=world),
        "cannot be used",
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_data_folder_not_writable(world, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert_refused(
        fashion_gan_here("data", "--folder", str(tmp_path / "locked" / "x"), cwd=world),
        "cannot be used",
    )


@pytest.mark.slow
def test_help_is_quick(world):
    """It depends on the machine's speed."""
    import time

    times = []
    for _ in range(3):
        begun = time.monotonic()
        assert subprocess.run([command(), "--help"], capture_output=True, cwd=ROOT).returncode == 0
        times.append(time.monotonic() - begun)
    assert min(times) < 0.5
