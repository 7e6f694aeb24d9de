"""CONTRIBUTING's page "How to add things": one thing of each row is added to a copy of the project,
in the files that the row names and in no other, and all of them are run."""

import os
import re
import subprocess
import sys
from shutil import copytree, ignore_patterns

import nbformat
import pytest
import yaml
from conftest import ROOT, TINY, make_project
from test_pack import make_idx

from fashion_gan.files import read_json

LOSS = """\
def margin_d(real, fake):
    return relu(0.5 - real).mean() + relu(0.5 + fake).mean()


def margin_g(real, fake):
    return -fake.mean()


LOSSES = {
    "margin": (margin_d, margin_g),"""
AUGMENTATION = """\
def darken(images, uniforms):
    chosen = uniforms[:, 0] < 0.5
    return torch.where(chosen[:, None, None, None], (images - 1) / 2, images)


AUGMENTATIONS = {
    "darken": ((darken, 1),),"""
METRIC = """\
def mean_gap(a, b):
    return (a.mean(dim=0) - b.mean(dim=0)).norm().item()


def frechet_distance("""
COMMAND = """\
from fashion_gan.cli import make_command
from fashion_gan.config.settings import project_root


@make_command("hello")
def command():
    print(f"hello {project_root().name}")
"""
CELL = """\
from fashion_gan.catalog.runs import open_run
from fashion_gan.config.params import Params

params = Params.from_notebook()
run = open_run(params, kind="hello")
print(params.greeting, run.read_json("scores")["mean_gap"])"""
# by row and file: patterns that the file holds once, and what takes their place
ROWS = {
    "a loss": {
        "models/losses.py": {r"LOSSES = {": LOSS},
        "config/params.py": {r"(loss: Literal\[)": r'\1"margin", '},
    },
    "an augmentation": {
        "data/augment.py": {r"AUGMENTATIONS = {": AUGMENTATION},
        "config/params.py": {r"(augment: Literal\[)": r'\1"darken", '},
    },
    "a metric": {
        "metrics/distances.py": {
            r"def frechet_distance\(": METRIC,
            r"(FIGURES = {)": r'\1"mean_gap": ("gap of the means", -1), ',
        },
        "metrics/evaluator.py": {
            r"(metrics.distances import )": r"\1mean_gap, ",
            r'("distance": )(frechet_distance)(\(.*\))': r'\1\2\3, "mean_gap": mean_gap\3',
            r"(VERSION = )": r"\g<1>100 + ",
        },
    },
    "a parameter": {
        "config/params.py": {
            r"( run_name: str = .*)": r'\1\n    greeting: str = parameter("", "said by 08_hello")'
        }
    },
    "a data set with a name": {
        "data/sources.py": {r'("mnist": )(\("MNIST", .*\),)': r'\1\2 "digits": \2'}
    },
    "a notebook": {"config/profiles.py": {r'("05_explorer")': r'\1, "08_hello"'}},
    "a command": {"cli/__init__.py": {r"(COMMANDS = {)": r'\1"hello": "greet the project",'}},
}
NEW_FILES = {"a notebook": "notebooks/08_name.ipynb", "a command": "cli/name.py"}
PROFILE = TINY | {
    "notebooks": ["02_train", "03_evaluate", "08_hello"],
    "dataset": "digits",
    "loss": "margin",
    "augment": "darken",
    "epochs": 1,
    "greeting": "good day",
}


@pytest.mark.fast
def test_a_row_names_the_files_that_it_takes():
    """One or two of them, and those that are changed here."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = page.split("## How to add things")[1].split("\n## ")[0]
    named = {}
    for row, words in re.findall(r"^\| (an? [^|]+) \| (.+) \|$", section, re.MULTILINE):
        named[row] = set(re.findall(r"`([\w/]+\.(?:py|ipynb))`", words))
    changed = {row: set(files) for row, files in ROWS.items()}
    for row, name in NEW_FILES.items():
        changed[row].add(name)
    assert named == changed
    assert {len(files) for files in named.values()} <= {1, 2}


@pytest.fixture
def extended(tmp_path, empty_store, monkeypatch):
    """A copy of the project with one more thing of each row."""
    (tmp_path / "data").mkdir()
    root = make_project(tmp_path / "project", tmp_path / "data", monkeypatch, empty_store)
    package = root / "fashion_gan"
    copytree(ROOT / "fashion_gan", package, symlinks=True, ignore=ignore_patterns("__pycache__"))
    for files in ROWS.values():
        for name, changes in files.items():
            for pattern, new in changes.items():
                text, count = re.subn(pattern, new, (package / name).read_text())
                assert count == 1, (name, pattern)
                (package / name).write_text(text)
    (package / "cli" / "hello.py").write_text(COMMAND)
    notebook = nbformat.read(root / "notebooks" / "04_sample.ipynb", as_version=4)
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in ('greeting: str = ""', CELL)]
    notebook.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, root / "notebooks" / "08_hello.ipynb")
    (root / "params" / "added.yaml").write_text(yaml.safe_dump(PROFILE))
    make_idx(root / "data" / "MNIST" / "raw", counts=(330, 60))
    return root


def run(root, *words):
    return subprocess.run(
        [sys.executable, "-m", "fashion_gan", *words],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.mark.slow
def test_one_of_each_is_added_and_runs(extended):
    done = run(extended, "run", "params/added.yaml", "--name", "added")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = extended / "reports" / "added"
    record = read_json(folder / "run.json")
    assert (record["params"]["loss"], record["params"]["augment"]) == ("margin", "darken")
    assert record["data"]["name"] == "digits"
    scores = read_json(folder / "scores.json")
    assert scores["mean_gap"] > scores["real"]["mean_gap"] > 0
    assert scores["spread"]["mean_gap"] > 0
    assert f"good day {scores['mean_gap']}" in (folder / "08_hello.html").read_text()
    assert 'href="08_hello.html"' in (folder / "index.html").read_text()
    assert "greet the project" in run(extended, "hello", "--help").stdout
    assert run(extended, "hello").stdout == "hello project\n"
