"""Failure modes of a run, each with its fixture notebook; whole pipelines are in test_chain."""

import os
import pkgutil
import shutil
import signal
import subprocess
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT, TINY, command, wait_until

from fashion_gan import UserError
from fashion_gan.config.params import Params
from fashion_gan.files import Lock
from fashion_gan.pipeline import runner
from fashion_gan.pipeline.resume import prepare
from fashion_gan.runs.create import create_run
from fashion_gan.runs.run import Run
from fashion_gan.text import duration
from fashion_gan.tracking.client import EXPERIMENT, make_client
from fashion_gan.training.checkpoints import load_latest

NOTEBOOKS = ROOT / "tests" / "notebooks"


@pytest.fixture(autouse=True)
def fixture_notebooks(project):
    for path in NOTEBOOKS.glob("*.ipynb"):
        shutil.copy(path, project / "notebooks")


def start(notebooks, **changes):
    return create_run(Params.checked(TINY | changes), name="r", profile="tiny", notebooks=notebooks)


def mlflow_run(run):
    client = make_client()
    (experiment,) = [e for e in client.search_experiments() if e.name == EXPERIMENT]
    (found,) = client.search_runs([experiment.experiment_id])
    artifacts = {
        a.path
        for folder in ("", "notebooks")
        for a in client.list_artifacts(found.info.run_id, folder or None)
    }
    return found, artifacts


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("exception", {}, "ZeroDivisionError: division by zero"),
        ("dead_kernel", {}, "DeadKernelError"),
        ("slow", {"timeout_minutes": 0.05}, "CellTimeoutError"),
    ],
)
def test_a_failure_is_said_everywhere(project, name, changes, words):
    run, said = start(("good", name, "good"), **changes), []
    code = runner.run_all(run, said.append)
    assert code == 1
    assert "fashion-gan resume r" in said[-1]
    assert words.split(":")[0] in said[-1]
    notebook = nbformat.read(run.folder / "notebooks" / f"{name}.ipynb", as_version=4)
    assert "An Exception was encountered" in notebook.cells[0].source  # at its top
    errors = [o for c in notebook.cells for o in c.get("outputs", []) if o.output_type == "error"]
    assert words.split(":")[0] in errors[0].ename
    assert not any(
        "never" in "".join(o.get("text", "")) for c in notebook.cells for o in c.get("outputs", [])
    )
    assert words.split(":")[0] in (run.folder / f"{name}.html").read_text()
    index = (run.folder / "index.html").read_text()
    assert "FAILED" in index
    assert words.split(":")[0] in index
    found, artifacts = mlflow_run(run)
    assert found.info.status == "FAILED"
    assert words.split(":")[0] in found.data.tags["reason"]
    assert {f"notebooks/{name}.ipynb", f"{name}.html", "index.html", "good.html"} <= artifacts


def test_the_time_out_is_the_notebooks_not_the_cells(project):
    """Five cells of 2 s each against 6 s: none is too long by itself."""
    path = project / "notebooks" / "good.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells += [
        nbformat.v4.new_code_cell(f"import time; time.sleep(2); print('cell {i}')")
        for i in range(5)
    ]
    nbformat.write(notebook, path)
    run = start(("good",), timeout_minutes=0.1)
    assert runner.run_all(run, lambda _: None) == 1
    assert "CellTimeoutError" in run.info.reason
    outputs = [
        o.text
        for c in nbformat.read(run.folder / "notebooks" / "good.ipynb", as_version=4).cells
        for o in c.get("outputs", [])
        if "text" in o
    ]
    assert any("cell 0" in text for text in outputs)
    assert not any("cell 4" in text for text in outputs)


def test_a_resume_skips_what_finished_and_keeps_the_earlier_attempt(project):
    run = start(("good", "exception"))
    assert runner.run_all(run, lambda _: None) == 1
    before = (run.folder / "notebooks" / "good.ipynb").stat().st_mtime_ns
    shutil.copy(NOTEBOOKS / "good.ipynb", project / "notebooks" / "exception.ipynb")  # mended
    prepare(run, {}, None)
    run.lock.acquire()
    assert runner.run_all(run, lambda _: None) == 0
    assert (run.folder / "notebooks" / "good.ipynb").stat().st_mtime_ns == before
    assert {p.name for p in (run.folder / "notebooks").iterdir()} == {
        "good.ipynb",
        "exception.ipynb",
        "exception.attempt1.ipynb",
    }
    assert mlflow_run(run)[0].info.status == "FINISHED"
    assert run.info.attempts == 2


def start_process(project, name):
    """A pipeline in a process group of its own, as a terminal would start it, training without
    end."""
    code = (
        "import sys; from fashion_gan.pipeline import runner;"
        " from fashion_gan.runs.create import create_run;"
        " from fashion_gan.config.params import Params; run ="
        f" create_run(Params.checked({TINY | {'epochs': 100_000}!r}), name={name!r},"
        " notebooks=('train_forever',)); sys.exit(runner.run_all(run))"
    )
    return subprocess.Popen(
        [command().replace("fashion-gan", "python"), "-c", code],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def kernels(run_folder):
    """Process ids of the kernels that belong to a run, by their environment."""
    found = []
    for process in os.listdir("/proc"):
        try:
            environment = Path(f"/proc/{process}/environ").read_bytes()
            line = Path(f"/proc/{process}/cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if str(run_folder).encode() in environment and b"ipykernel" in line:
            found.append(int(process))
    return found


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc to look for orphans")
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, id="ctrl-c"),
        pytest.param(signal.SIGTERM, id="sigterm", marks=pytest.mark.slow),
    ],
)
def test_an_interrupt_leaves_a_checkpoint_no_orphan_and_says_how_to_go_on(project, number):
    process = start_process(project, "r")
    folder = project / "reports" / "r"
    wait_until(lambda: list((folder / "checkpoints").glob("last-*.pt")), 90)
    images = max(int(p.name[5:15]) for p in (folder / "checkpoints").glob("last-*.pt"))
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 130, said
    assert said.strip().splitlines()[-1].endswith("fashion-gan resume r"), said
    assert kernels(folder) == []
    run = Run(folder)
    assert run.info.status == "KILLED"
    assert max(int(p.name[5:15]) for p in (folder / "checkpoints").glob("last-*.pt")) >= images
    notebook = nbformat.read(folder / "notebooks" / "train_forever.ipynb", as_version=4)
    assert "An Exception was encountered" in notebook.cells[0].source
    assert mlflow_run(run)[0].info.status == "KILLED"


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc to look for orphans")
def test_a_killed_parent_leaves_no_kernel_and_mlflow_says_failed(project):
    process = start_process(project, "r")
    folder = project / "reports" / "r"
    wait_until(lambda: list((folder / "checkpoints").glob("last-*.pt")), 90)
    process.kill()
    process.wait()
    wait_until(lambda: kernels(folder) == [], 90)
    wait_until(
        lambda: (folder / "mlflow.json").exists() and Lock(folder / "sync.lock").is_free(), 90
    )
    assert mlflow_run(Run(folder))[0].info.status == "FAILED"


def test_a_full_disk_is_one_line_exit_code_2_and_the_old_checkpoint_stays_good(project):
    run, said = start(("disk_full",)), []
    with pytest.raises(UserError) as error:  # the command prints it as one line and exits with 2
        runner.run_all(run, said.append)
    assert "checkpoint not written" in str(error.value)
    assert "\n" not in str(error.value)
    assert said[-1].endswith("fashion-gan resume r")
    assert run.info.status == "FAILED"
    assert load_latest(run.folder / "checkpoints")["images"] == 512
    assert mlflow_run(run)[0].info.status == "FAILED"


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, id="ctrl-c"),
        pytest.param(signal.SIGTERM, id="sigterm", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    "place",
    ["jupyter_client.connect:ConnectionFileMixin.write_connection_file", "zmq:Context._add_socket"],
)
def test_an_interrupt_while_a_kernel_starts_is_said_like_any_other(
    project, monkeypatch, place, number
):
    def interrupted(*args, **kwargs):
        if not_yet:
            signal.raise_signal(not_yet.pop())
        return original(*args, **kwargs)

    not_yet = [number]
    original = pkgutil.resolve_name(place)
    monkeypatch.setattr(place.replace(":", "."), interrupted)
    run, said = start(("good",)), []
    assert runner.run_all(run, said.append) == 130
    assert (
        said[-1] == "KILLED: good: KeyboardInterrupt: interrupted while this cell ran; go on with:"
        " fashion-gan resume r"
    )
    assert kernels(run.folder) == []
    assert "KILLED" in (run.folder / "index.html").read_text()


@pytest.mark.parametrize(
    "where", ["papermill.execute_notebook", "fashion_gan.report.pages.write_notebook_html"]
)
def test_a_fault_of_a_library_still_ends_the_run(project, monkeypatch, where):
    def broken(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr(where, broken)
    run, said = start(("good",)), []
    assert runner.run_all(run, said.append) == 1
    assert said[-1] == "FAILED: OSError: No space left on device; go on with: fashion-gan resume r"
    assert mlflow_run(run)[0].info.status == "FAILED"


def test_only_declared_parameters_reach_a_notebook():
    values = Params().model_dump()
    assert runner.parameters_for(NOTEBOOKS / "good.ipynb", values) == {"seed": 0}
    assert set(runner.parameters_for(ROOT / "notebooks" / "04_sample.ipynb", values)) == {
        "model",
        "sample_seed",
        "per_class",
        "run_name",
    }


def test_a_resume_counts_in_images_or_in_epochs(project, tiny):
    run = create_run(tiny(images=512), name="r", profile="p", notebooks=("02_train",))
    run.update(status="FINISHED", epochs_done=2)
    run.close()
    with pytest.raises(UserError, match="is finished"):
        prepare(run, {}, None)
    prepare(run, {"images": "1000"}, None)
    assert (run.params.images, run.params.epochs) == (1000, 4)
    prepare(run, {"epochs": "7"}, None)
    assert (run.params.images, run.params.epochs) == (0, 7)


def test_a_plain_log_has_a_line_for_each_event(project, capsys):
    run = start(("good",))
    assert runner.run_all(run, print) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "good: started"
    assert lines[1].startswith("good: done, ")
    assert lines[-1] == "report: reports/r/index.html"
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize(
    ("seconds", "words"), [(3.2, "3 s"), (61, "1 min 01 s"), (600, "10 min 00 s")]
)
def test_clock(seconds, words):
    assert duration(seconds) == words
