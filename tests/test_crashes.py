"""Every writer of files is killed, or finds a full disk, in the middle of its work: the same work
again ends whole. benchmarks/crashes.py takes as many points as asked."""

import random

import crashes
import pytest
from writers import WRITERS


@pytest.mark.parametrize("writer", WRITERS, ids=[writer.name for writer in WRITERS])
def test_the_same_work_again_ends_whole(writer, tmp_path):
    """Of each kind of crash one point of each writer, another writer by writer."""
    folder = tmp_path / "project"
    calls = list(enumerate(crashes.calls_of(writer, folder), 1))
    choose = random.Random(writer.name)
    for kind in crashes.KINDS:
        points = [point for point in calls if kind == "killed" or point[1] in crashes.MAKING]
        result = crashes.crash(writer, folder, kind, *choose.choice(points))
        assert result.problem == "", result
    assert len(calls) > 3


def test_a_writer_that_is_not_safe_is_noticed(tmp_path):
    """One that writes over its file in place."""

    def write(folder, note):
        (folder / "file").write_text("new " * 100)

    def check(folder, kept, again):
        assert (folder / "file").read_text() in ("old", "new " * 100)

    def prepare(folder):
        (folder / "file").write_text("old")

    writer = crashes.Writer("in place", prepare, write, check)
    problems = [
        crashes.crash(writer, tmp_path / "project", kind, number, "").problem
        for kind in crashes.KINDS
        for number in range(1, 4)
    ]
    assert sum(map(bool, problems)) == 2  # killed, or a full disk, in the middle of the write
