"""A notebook under plain papermill checks what it was given itself."""

import subprocess
import sys

import pytest


def papermill(project, *words):
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "papermill",
            "notebooks/04_sample.ipynb",
            "out.ipynb",
            "-k",
            "python3",
            "--cwd",
            str(project),
            *words,
        ],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=250,
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["-p", "per_clas", "3"], "did you mean per_class"),
        (["-p", "per_class", "many"], "per_class is 'many'"),
    ],
)
def test_wrong_values_stop_it_with_one_line(project, given, words):
    done = papermill(project, *given)
    assert done.returncode != 0
    assert words in done.stderr
    assert (project / "out.ipynb").exists()


def test_a_profile_may_be_handed_over_whole(project):
    from test_sync import fill

    from fashion_gan.config.params import Params
    from fashion_gan.runs.create import create_run

    run = create_run(Params(), name="r1")
    fill(run, 1.0)
    run.finish()
    (project / "p.yaml").write_text(
        "notebooks: [04_sample]\nepochs: 2\nsubset: 1000\nper_class: 3\n"
    )
    done = papermill(project, "-f", "p.yaml", "--inject-paths")
    assert done.returncode == 0, done.stderr[-1500:]
    assert (project / "reports" / "scratch" / "sample" / "images" / "samples_by_class.png").exists()
