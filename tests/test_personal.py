"""A person's own settings of Matplotlib, IPython and Jupyter reach into no run; the explorer's app
lets in who has its address."""

import http.client
import json
import os
import random
import re
import stat
import subprocess
import sys
import webbrowser
from pathlib import Path
from urllib.parse import unquote, urlparse

import matplotlib
import nbformat
import pytest
import torch
from conftest import ROOT, TINY, fashion_gan_here, make_project, wait_until
from ports import free_port
from traitlets.utils.importstring import import_item

from fashion_gan.cli import app
from fashion_gan.config.params import Params
from fashion_gan.errors import warn_once
from fashion_gan.files import write_text
from fashion_gan.pipeline.kernels import ProjectKernels
from fashion_gan.pipeline.runner import run_one_notebook
from fashion_gan.report import charts, plots
from fashion_gan.runs.record import RunInfo
from fashion_gan.runs.run import Run

NOT_TEXT = random.Random(0).randbytes(300)
FILES = {  # of a person: where Matplotlib looks for them, what is in them
    "LaTeX that is not there": ("matplotlibrc", b"text.usetex: True\n"),
    "white on white": ("matplotlibrc", b"axes.facecolor: white\ntext.color: white\n"),
    "damaged": ("matplotlibrc", NOT_TEXT),
    "an unknown key": ("matplotlibrc", b"no.such.key: 1\n"),
    "a damaged style": ("stylelib/mine.mplstyle", NOT_TEXT),
}
VALUES = {
    "LaTeX that is not there": {"text.usetex": True},
    "white on white": {"text.color": "white", "axes.labelcolor": "white", "xtick.color": "white"},
    "large": {"font.size": 30, "lines.linewidth": 9, "savefig.dpi": 300, "figure.dpi": 33},
    "letters as paths": {"svg.fonttype": "path", "font.family": ["serif"]},
}
IMPORT = """
import fashion_gan.report, matplotlib.pyplot
values = dict(matplotlib.rcParams)
print(values == dict(matplotlib.rcParamsDefault) | {"backend": values["backend"]})
"""


def drawn():
    """A chart by Matplotlib and one by seaborn."""
    losses = plots.curves({"a": ([1, 2], [3.0, 4.0])}, "Losses", "loss", {"level": 2.0})
    return losses, charts.confusion_matrix([[90.0, 10.0], [25.0, 75.0]], "test")


@pytest.fixture(scope="module")
def pictures():
    with matplotlib.style.context("default"):
        return drawn()


@pytest.mark.fast
@pytest.mark.parametrize("case", VALUES)
def test_pictures_are_the_same_whatever_a_person_has_set(pictures, case):
    with matplotlib.rc_context(VALUES[case]):
        assert drawn() == pictures
        assert VALUES[case].items() <= matplotlib.rcParams.items()


@pytest.mark.parametrize("case", [*FILES, "in the working folder", "a backend that is none"])
def test_a_persons_files_are_not_read(tmp_path, case):
    name, content = FILES.get(case, ("matplotlibrc", NOT_TEXT))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    env = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    if case == "a backend that is none":
        env["MPLBACKEND"] = "nonsense"
    elif case != "in the working folder":
        env["MPLCONFIGDIR"] = str(tmp_path)
    folder = tmp_path if case == "in the working folder" else ROOT
    words = [sys.executable, "-c", IMPORT]
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


def scratch_run(root):
    run = Run(root / "reports" / "r")
    run.write(RunInfo(name="r", params=Params.checked(TINY).model_dump(), status="SCRATCH"))
    return run


@pytest.mark.fast
def test_a_picture_that_fails_is_named_once_and_ends_nothing(tmp_path, capsys):
    warn_once.cache_clear()
    run = scratch_run(tmp_path)
    run.log_figure(plots.curves({"a": ([1], [1.0])}, "Losses", "loss"), "losses")
    assert (run.folder / "images" / "losses.png").exists()
    for _ in range(2):
        picture = plots.curves({"a": ([1], [object()])}, "Losses", "loss")
        run.log_figure(picture, "losses")
    plots.grid(torch.zeros(1), 2, "no images")
    charts.confusion_matrix([], "test")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" was not drawn: ")[0] for line in lines] == [
        "warning: picture curves 'Losses'",
        "warning: picture grid 'no images'",
        "warning: picture confusion_matrix 'test'",
    ]
    assert "TypeError" in lines[0]
    assert not (run.folder / "images" / "losses.png").exists()
    assert picture._repr_mimebundle_()[0] == {"text/plain": picture.alt}


@pytest.mark.fast
def test_a_picture_that_cannot_be_kept_ends_nothing(tmp_path, capsys):
    warn_once.cache_clear()
    run = scratch_run(tmp_path)
    (run.folder / "images").write_text("a file where the folder would be")
    run.log_figure(plots.grid(torch.zeros(1, 1, 4, 4, dtype=torch.uint8), 1, "black"), "black")
    assert capsys.readouterr().err.startswith("warning: picture black was not kept: ")


@pytest.mark.fast
@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0, 0o664)])
def test_files_are_as_private_as_a_person_wants_them(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_text(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A person's kernel and start-up files, each of which would be noticed."""
    kernel = {
        "argv": ["/bin/false", "{connection_file}"],
        "display_name": "x",
        "language": "python",
    }
    profile = tmp_path / "ipython" / "profile_default"
    files = {
        tmp_path / "kernels" / "python3" / "kernel.json": json.dumps(kernel),
        profile / "startup" / "a.py": "started = 'IPYTHONDIR'",
        profile
        / "ipython_config.py": "get_config().InteractiveShellApp.exec_lines = ['started=1']",
        tmp_path / "startup.py": "started = 'PYTHONSTARTUP'",
    }
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "startup.py"))


@pytest.mark.fast
def test_there_is_one_kernel_that_of_this_environment(foreign):
    kernels = ProjectKernels()
    assert set(kernels.get_all_specs()) == {"python3"}
    assert kernels.get_kernel_spec("python3").argv[:3] == [
        sys.executable,
        "-m",
        "ipykernel_launcher",
    ]


@pytest.mark.fast
def test_jupyterlab_has_that_kernel_alone(bare_project, monkeypatch):
    words = []
    monkeypatch.setattr(os, "execv", lambda _, command: words.extend(command))
    fashion_gan_here("lab", "--port", str(free_port()))
    option = "--ServerApp.kernel_spec_manager_class="
    (name,) = [word.removeprefix(option) for word in words if word.startswith(option)]
    assert import_item(name) is ProjectKernels


CODE = """
import sys
from fashion_gan.report import plots
print(sys.executable, "started" in globals())
plots.curves({"a": ([1], [object()])}, "Losses", "loss")
"""


def test_a_run_takes_its_own_kernel_and_names_what_was_not_drawn(foreign, bare_project, capsys):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CODE)])
    notebook.metadata.kernelspec = {"name": "python3", "language": "python", "display_name": "x"}
    nbformat.write(notebook, bare_project / "notebooks" / "own.ipynb")
    run = scratch_run(bare_project)
    assert run_one_notebook(run, "own") == ""
    (cell,) = nbformat.read(run.folder / "notebooks" / "own.ipynb", as_version=4).cells[-1:]
    (words,) = [output.text for output in cell.outputs if output.get("name") == "stdout"]
    assert words == f"{sys.executable} False\n"
    assert (
        "own: warning: picture curves 'Losses' was not drawn: TypeError" in capsys.readouterr().err
    )


def test_a_kernel_that_dies_is_told_with_its_python_and_its_log(
    bare_project, tmp_path, monkeypatch
):
    """A module of PYTHONPATH hides one of the kernel's."""
    (tmp_path / "ipykernel_launcher.py").write_text("raise SystemExit('no such module')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run = scratch_run(bare_project)
    failure = run_one_notebook(run, "04_sample")
    log = run.folder / "kernel.log"
    assert failure.startswith("RuntimeError: Kernel died before replying to kernel_info; ")
    assert failure.endswith(f"its Python is {sys.executable}; more is in {log}")
    assert "no such module" in log.read_text()


@pytest.mark.slow
def test_a_trainings_pictures_are_the_same(data_dir, tmp_path, monkeypatch):
    pictures = []
    for settings in ("", "text.usetex: True\naxes.facecolor: white\ntext.color: white\n"):
        root = make_project(tmp_path / f"project{len(pictures)}", data_dir, monkeypatch)
        (root / "matplotlibrc").write_text(settings)
        run = scratch_run(root)
        assert run_one_notebook(run, "02_train") == ""
        pictures.append({p.name: p.read_bytes() for p in (run.folder / "images").glob("*.*g")})
    assert {"losses.png", "losses.svg", "epoch_0001.png"} <= set(pictures[0])
    assert pictures[0] == pictures[1]


@pytest.fixture
def server(bare_project):
    """An app for one page at once: its log, its port, the token that it has printed."""
    port = free_port()
    log = bare_project / "app.log"
    words = ["-m", "fashion_gan", "app", "--no-browser", "--kernels", "1", "--port", str(port)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with log.open("w") as output:
        process = subprocess.Popen([sys.executable, *words], stdout=output, stderr=output, env=env)
    try:
        wait_until(lambda: "is running at" in log.read_text(), 60, log, process)
        yield log, port, re.search(r"token=(\w+)", log.read_text())[1]
    finally:
        process.terminate()
        process.wait(timeout=60)


def test_the_app_lets_in_who_has_its_address(server):
    log, port, token = server

    def get(path, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET", path, headers={"Host": f"127.0.0.1:{port}"} | named)
        return connection.getresponse()

    assert get("/").status == get("/?token=wrong").status == 302
    assert b"token" in get("/login").read().lower()
    assert get(f"/api/kernels/{'0' * 8}-0000-0000-0000-{'0' * 12}").status == 403
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "10.0.0.1"):
        assert get(f"/?token={token}", Host=host).status == 403, host
    for host in (f"localhost:{port}", f"[::1]:{port}"):
        assert get("/", Host=host).status == 302, host
    assert "Kernel started" not in log.read_text()
    page = get(f"/?token={token}", Sec_Fetch_Site="cross-site")
    assert page.status == 200
    (cookie,) = [c for c in page.headers.get_all("Set-Cookie") if c.startswith("username")]
    assert "samesite=strict" in cookie.lower()
    cookie = cookie.split(";")[0]
    for site in 15 * ["cross-site", "same-site"]:  # as images of a page of another origin
        assert get("/", Cookie=cookie, Sec_Fetch_Site=site).status == 403
    full = get("/", Cookie=cookie)
    assert full.status == 503
    assert "1 pages are open" in full.read().decode()
    assert log.read_text().count("Kernel started") == 1


@pytest.mark.fast
def test_the_browsers_command_line_shows_no_token(monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    explorer = app.ExplorerApp(token="secret", ip="127.0.0.1", port=8866)
    explorer.launch_browser()
    page = Path(unquote(urlparse(wait_until(lambda: opened, 10)[0]).path))
    assert "secret" not in page.name
    assert "url=http://127.0.0.1:8866/?token=secret" in page.read_text()
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    page.unlink()
