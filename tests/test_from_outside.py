"""A run folder that others made is data: nothing in it is executed, followed or printed raw."""

import shutil

import pytest
from conftest import ROOT, fashion_gan_here

from fashion_gan.catalog.runs import find_run
from fashion_gan.errors import UserError
from fashion_gan.files import DamagedError, read_json, write_json
from fashion_gan.pipeline.resume import prepare
from fashion_gan.sweeps.spec import sweep_of
from fashion_gan.text import plain_text


@pytest.fixture
def sent(project):
    """A run of somebody else's, killed after 02_train."""
    shutil.copytree(ROOT / "tests" / "before" / "run", project / "reports" / "sent")
    run = find_run("sent")
    run.update(status="KILLED", notebooks=["02_train", "03_evaluate"], done=["02_train"])
    return run


def test_it_goes_on_with_the_notebooks_of_this_project_alone(sent):
    hostile = sent.folder / "images" / "payload.ipynb"
    hostile.parent.mkdir(exist_ok=True)
    shutil.copy(ROOT / "notebooks" / "04_sample.ipynb", hostile)
    sent.update(notebooks=["payload"])
    before = read_json(sent.folder / "run.json")
    with pytest.raises(UserError, match=r"the notebooks payload, which are not in .*01_explore"):
        prepare(sent, {}, None)
    assert read_json(sent.folder / "run.json") == before


@pytest.mark.parametrize("name", ["../reports/sent/images/payload", "/tmp/payload", "a/b", ".x"])
def test_a_path_is_no_notebook(sent, name):
    write_json(sent.folder / "run.json", read_json(sent.folder / "run.json") | {"done": [name]})
    done = fashion_gan_here("resume", "sent")
    assert done.returncode == 2
    assert "is damaged (done.0" in done.stderr


def test_a_data_folder_elsewhere_must_be_the_one_it_was_trained_on(sent, tmp_path):
    sent.update(params=sent.info.params | {"data_dir": str(tmp_path)}, datasets=[])
    with pytest.raises(UserError, match=f"what lies in data_dir {tmp_path} is not what run sent"):
        prepare(sent, {}, None)


def test_a_record_without_a_command_goes_on(sent):
    sent.update(tags={}, datasets=[])
    prepare(sent, {}, None)
    assert sent.info.tags["command"] == "fashion-gan resume sent"


@pytest.mark.parametrize(
    "text", ["\x1b[2Jgone", "a\nfashion-gan: all is well", "\x9b31mred", "user\u202etxt.exe"]
)
def test_text_reaches_the_terminal_as_text(sent, text):
    record = read_json(sent.folder / "run.json")
    changes = {"host": text, "reason": text, "tags": {"command": text}}
    write_json(sent.folder / "run.json", record | changes | {"status": "RUNNING"})
    done = fashion_gan_here("doctor")
    assert f"sent ({plain_text(text)})" in done.stdout
    assert text not in done.stdout + done.stderr
    assert sent.info.host == sent.info.reason == sent.info.tags["command"] == plain_text(text)
    assert str(UserError(f"no run {text}")) == f"no run {plain_text(text)}"


@pytest.mark.parametrize(
    "sweep", [7, [], {"base": "x"}, {"base": 1, "space": {}}, {"base": "x", "space": {"lr_g": "1"}}]
)
def test_a_sweep_that_is_none(sent, sweep):
    write_json(sent.folder / "sweep.json", sweep)
    with pytest.raises(UserError, match=r"sweep\.json: "):
        sweep_of(sent)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": 1} 2'])
@pytest.mark.parametrize("name", ["scores", "mlflow", "sweep"])
def test_a_damaged_file_of_a_run_is_named(sent, name, content):
    (sent.folder / f"{name}.json").write_bytes(content)
    with pytest.raises(DamagedError, match=f"reports/sent/{name}.json is damaged"):
        sent.read_json(name)
