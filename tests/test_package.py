"""The package as others get it: its layers, what it declares, the wheel in an environment of its
own, in folders that are no checkout."""

import ast
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
import zipfile
from pathlib import Path

import nbformat
import numpy as np
import pytest
from conftest import ROOT, TINY

PACKAGE = ROOT / "fashion_gan"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MOST_LINES, MOST_IN_A_NOTEBOOK = 400, 4_000
MOST_IN_ALL = 13_250
MOST_NODES = 9.5  # of syntax, a line


def run(*words, cwd=ROOT, **more):
    return subprocess.run(
        [str(word) for word in words], cwd=cwd, capture_output=True, text=True, **more
    )


def tool(name):
    return Path(sys.executable).with_name(name)


@pytest.mark.fast
def test_files_are_short_and_so_is_the_whole():
    lines = {str(p): len(p.read_text().splitlines()) for p in PACKAGE.rglob("*.py")}
    assert max(lines.values()) <= MOST_LINES, lines
    assert sum(lines.values()) <= MOST_IN_ALL


@pytest.mark.fast
def test_no_file_is_dense():
    """Nodes of syntax a line, but for the table of parameters."""
    density = {}
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        if text and path.name != "params.py":
            density[path.name] = sum(1 for _ in ast.walk(ast.parse(text))) / text.count("\n")
    dense = {name: round(value, 1) for name, value in density.items() if value > MOST_NODES}
    assert not dense


def test_imports_run_down_and_what_is_imported_is_declared():
    done = run(tool("lint-imports"), "--no-cache")
    assert done.returncode == 0, done.stdout
    done = run(tool("deptry"), ".")
    assert done.returncode == 0, done.stdout + done.stderr


def imports_of(body):
    """Import statements at the top of a module or cell."""
    return [node for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]


def imports_of_notebook(path):
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    return [node for cell in cells for node in imports_of(ast.parse(cell.source).body)]


def files_of(node):
    """The files of this package that an import statement loads."""
    names = [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        names = [node.module, *(f"{node.module}.{name}" for name in names)]
    for name in names:
        path = ROOT / name.replace(".", "/")
        yield from (p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file())


def pulled_in(nodes):
    """All files of this package that these imports lead to."""
    seen, waiting = set(), [path for node in nodes for path in files_of(node)]
    while waiting:
        if (path := waiting.pop()) not in seen:
            seen.add(path)
            body = ast.parse(path.read_text()).body
            waiting += [each for node in imports_of(body) for each in files_of(node)]
    return {path for path in seen if path.is_relative_to(PACKAGE)}


@pytest.mark.fast
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_a_notebook_pulls_in_is_small(path):
    files = pulled_in(imports_of_notebook(path))
    lines = sum(len(file.read_text().splitlines()) for file in files)
    print(f"{len(files)} files, {lines} lines")
    assert 1_000 < lines <= MOST_IN_A_NOTEBOOK


BY_HAND = sorted(
    path for folder in ("benchmarks", "scripts") for path in ROOT.glob(f"{folder}/*.py")
)


@pytest.mark.parametrize("path", BY_HAND, ids=lambda path: path.stem)
def test_what_a_program_run_by_hand_imports_is_there(path):
    """Nothing else would notice a name that was moved."""
    missing = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("fashion_gan"):
            try:
                exec(ast.unparse(node), {})
            except ImportError as error:
                missing.append(str(error))
    assert not missing


def test_notebooks_need_no_server():
    every = {ast.unparse(node) for path in NOTEBOOKS for node in imports_of_notebook(path)}
    code = "\n".join(sorted(every)) + "\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    modules = set(json.loads(run(sys.executable, "-c", code, check=True).stdout))
    assert "torch" in modules
    assert not {"mlflow", "ray", "papermill"} & modules


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy that holds only what git knows, as in a release."""
    source = tmp_path_factory.mktemp("source")
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout
    for name in names.split("\0")[:-1]:
        if name.startswith(("tests/", "benchmarks/", "reports/showcase/images/")):
            continue
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name, follow_symlinks=False)
    target = tmp_path_factory.mktemp("wheel")
    words = ["-m", "build", "--wheel", "--no-isolation", "--outdir", target, source]
    done = run(sys.executable, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(target.glob("*.whl"))


def test_the_wheel_holds_what_it_needs_and_nothing_else(wheel):
    held = zipfile.ZipFile(wheel).namelist()
    code = {p.relative_to(ROOT).as_posix() for p in PACKAGE.rglob("*.py")}
    assert {name for name in held if name.endswith(".py")} == code | {
        "fashion_gan/project/docker/mlflow/check.py"
    }
    others = [name for name in held if not name.endswith(".py") and ".dist-info/" not in name]
    kinds = {re.sub(r"[^/]+\.(?=\w+$)", "*.", name) for name in others}
    assert kinds == {
        "fashion_gan/explorer/static/*.css",
        "fashion_gan/explorer/static/*.js",
        "fashion_gan/project/.env",
        "fashion_gan/project/*.yml",
        "fashion_gan/project/docker/*.sh",
        "fashion_gan/project/docker/mlflow/*.in",
        "fashion_gan/project/docker/mlflow/*.lock",
        "fashion_gan/project/docker/mlflow/*.sh",
        "fashion_gan/project/docker/mlflow/Dockerfile",
        "fashion_gan/project/notebooks/*.ipynb",
        "fashion_gan/project/params/*.yaml",
        "fashion_gan/project/params/sweeps/*.yaml",
        "fashion_gan/project/showcase/*.json",
        "fashion_gan/project/showcase/*.jsonl",
        "fashion_gan/project/showcase/*.safetensors",
        "fashion_gan/report/templates/*.css",
        "fashion_gan/report/templates/*.html",
        "fashion_gan/report/templates/*.js",
        "fashion_gan/report/templates/*.md",
        "fashion_gan/weights/*.json",
        "fashion_gan/weights/*.safetensors",
    }
    assert any(name.endswith("licenses/LICENSE") for name in held)
    checked = run(tool("twine"), "check", "--strict", wheel)
    assert checked.returncode == 0, checked.stdout


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The command of an environment that holds the wheel; its libraries are those of this one."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, with_pip=False)
    words = [
        "-m",
        "pip",
        "--python",
        folder / "bin" / "python",
        "install",
        "--no-deps",
        "-q",
        wheel,
    ]
    done = run(sys.executable, *words)
    assert done.returncode == 0, done.stderr
    libraries = next(folder.glob("lib/python*/site-packages")) / "libraries.pth"
    libraries.write_text(sysconfig.get_path("purelib"))
    return folder / "bin" / "fashion-gan"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty folder that is in no project."""
    for name in ("MLFLOW_TRACKING_URI", "FASHION_GAN_RUN", "FASHION_GAN_ROOT", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    # what libraries keep beside their code: nbconvert's templates
    monkeypatch.setenv("JUPYTER_PATH", str(Path(sys.prefix) / "share" / "jupyter"))
    return tmp_path


def test_help_is_quick(installed, elsewhere):
    began = time.monotonic()
    done = run(installed, "--help", cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    print(f"{time.monotonic() - began:.2f} s")
    modules = run(
        installed.with_name("python"),
        "-c",
        "import sys, fashion_gan.cli; print({'torch', 'mlflow', 'pydantic'} & set(sys.modules))",
        cwd=elsewhere,
    )
    assert modules.stdout.strip() == "set()", modules.stderr


def test_commands_work_in_any_folder(installed, elsewhere, data_dir):
    drawn = run(installed, "sample", "--n", 1000, "--out", "x.npz", cwd=elsewhere)
    assert drawn.returncode == 0, drawn.stderr
    assert "shipped" in drawn.stdout
    with np.load(elsewhere / "x.npz") as file:
        assert file["images"].shape == (1000, 28, 28)
    assert run(installed, "params", cwd=elsewhere).stdout.startswith("parameter")
    (elsewhere / "data").symlink_to(data_dir)
    told = run(installed, "doctor", "--json", cwd=elsewhere)
    states = {each["check"]: each["state"] for each in json.loads(told.stdout)}
    assert states["data"] == states["device"] == "well"
    assert "fault" not in states.values(), told.stdout
    scored = run(installed, "evaluate", "x.npz", "--json", cwd=elsewhere)
    assert scored.returncode == 0, scored.stderr
    assert json.loads(scored.stdout)["samples"] == 1000
    assert sorted(p.name for p in elsewhere.iterdir()) == ["data", "x.npz"]
    refused = run(installed, "run", "params/smoke.yaml", cwd=elsewhere)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


def test_a_project_is_made_and_runs(installed, elsewhere, data_dir):
    assert run(installed, "init", "demo", cwd=elsewhere).returncode == 0
    demo = elsewhere / "demo"
    (demo / "data").symlink_to(data_dir)
    overrides = [word for name, value in TINY.items() for word in ("-p", f"{name}={value}")]
    words = ["run", "params/smoke.yaml", "--name", "first", *overrides]
    done = run(installed, *words, cwd=demo, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    report = demo / "reports" / "first" / "index.html"
    assert "finished" in report.read_text()
    again = run(installed, "init", "demo", cwd=elsewhere)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "name a new folder" in again.stderr
