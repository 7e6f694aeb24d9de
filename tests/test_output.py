"""Commands whose output goes away, or was never there."""

import os
import pty
import subprocess
import sys
import time

import pytest

from fashion_gan.runs.run import Run

WORK = """
import sys, time
from fashion_gan.cli.output import open_standard_streams, outlast_output
open_standard_streams()
outlast_output()
for number in range(200):
    print("line", number, "x" * 200)
    print("error", number, file=sys.stderr, flush=True)
    time.sleep(0.005)
file = open(sys.argv[1], "w")
print("this is for the terminal")
file.write("whole")
"""


def work(tmp_path, shell):
    """The exit code of WORK where `shell` says what its streams are, and what it wrote to its own
    file."""
    (tmp_path / "work.py").write_text(WORK)
    line = f"{sys.executable} {tmp_path}/work.py {tmp_path}/result {shell}"
    done = subprocess.run(["bash", "-c", f"{line}; exit ${{PIPESTATUS[0]}}"], timeout=60)
    return done.returncode, (tmp_path / "result").read_text()


@pytest.mark.parametrize(
    "shell",
    [
        "| head -1",
        "2>&1 | head -1",
        "2>&1 | true",
        "> /dev/full",
        "> /dev/full 2>&1",
        ">&-",
        ">&- 2>&-",
        "<&- >&- 2>&-",
        "| (sleep 0.3; exec 0<&-)",
    ],
)
def test_the_work_goes_on(tmp_path, shell):
    assert work(tmp_path, shell) == (0, "whole")


def test_a_terminal_that_is_closed(tmp_path):
    (tmp_path / "work.py").write_text(WORK)
    ours, theirs = pty.openpty()
    words = [sys.executable, str(tmp_path / "work.py"), str(tmp_path / "result")]
    process = subprocess.Popen(words, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    os.read(ours, 100)
    os.close(ours)
    assert process.wait(60) == 0
    assert (tmp_path / "result").read_text() == "whole"


def test_letters_that_a_terminal_does_not_have():
    words = [sys.executable, "-m", "fashion_gan", "params"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    done = subprocess.run(words, capture_output=True, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"lr_g" in done.stdout


def test_a_run_whose_reader_goes_away_is_finished(project):
    """Its reader takes one line of it and ends, as `| head -1` does."""
    (project / "params" / "short.yaml").write_text("notebooks: [04_sample]\n")
    words = [sys.executable, "-m", "fashion_gan", "run", "params/short.yaml", "--name", "r"]
    process = subprocess.Popen(
        words, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout.readline().startswith("run r: ")
    process.stdout.close()
    assert process.wait(120) == 0
    run = Run(project / "reports" / "r")
    assert (run.info.status, run.info.done) == ("FINISHED", ["04_sample"])
    assert (run.folder / "index.html").exists()
    until = time.monotonic() + 60
    while not run.copy().get("closed") and time.monotonic() < until:
        time.sleep(0.2)
    assert run.copy()["closed"] == run.info.ended
