"""Set-up files agree with each other."""

import re
import subprocess
import tomllib

import pytest
import yaml
from conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def names(requirements):
    return {re.match(r"[A-Za-z0-9_.-]+", r)[0].lower().replace("_", "-") for r in requirements}


@pytest.mark.fast
def test_environment_yml_does_the_same_as_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, by_pip = environment["dependencies"]
    assert python == f"python{PROJECT['requires-python']}"
    assert pip == "pip"
    assert by_pip == {"pip": ["-e .[dev]"]}
    assert environment["name"] == PROJECT["name"]


@pytest.mark.fast
def test_the_lock_holds_every_requirement_with_hashes_and_no_address():
    text = (ROOT / "requirements.lock").read_text()
    locked = dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^ ;]+)", text, re.M))
    wanted = names(PROJECT["dependencies"]) | names(PROJECT["optional-dependencies"]["dev"])
    assert wanted <= locked.keys()
    assert "://" not in text
    assert "+cu" not in text
    for block in re.split(r"\n(?=[A-Za-z])", text[text.index("\n", text.rindex("#")) :].strip()):
        assert "--hash=sha256:" in block, block[:60]


@pytest.mark.fast
def test_the_users_libraries_are_there():
    given = {
        "torch",
        "torchvision",
        "jupyterlab",
        "papermill",
        "mlflow",
        "boto3",
        "matplotlib",
        "seaborn",
        "scikit-learn",
        "ipywidgets",
    }
    assert given <= names(PROJECT["dependencies"])


def test_make_alone_prints_what_it_can_do():
    said = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("run", "test", "lab", "explore", "app", "data", "setup"):
        assert f"make {target} " in said


@pytest.mark.fast
def test_notebooks_are_stripped():
    import nbformat

    for path in [
        *(ROOT / "notebooks").glob("*.ipynb"),
        *(ROOT / "tests" / "notebooks").glob("*.ipynb"),
    ]:
        for cell in nbformat.read(path, as_version=4).cells:
            assert not cell.get("outputs"), path
            assert not cell.get("execution_count"), path


@pytest.mark.fast
def test_a_file_is_about_one_thing():
    paths = [*(ROOT / "fashion_gan").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]
    lines = {path.name: len(path.read_text().splitlines()) for path in paths}
    assert max(lines.values()) <= 400, lines


@pytest.mark.fast
@pytest.mark.parametrize(
    "name", ["README.md", "LICENSE", "CITATION.cff", "CONTRIBUTING.md", "LOG.md"]
)
def test_top_level(name):
    assert (ROOT / name).stat().st_size > 100
