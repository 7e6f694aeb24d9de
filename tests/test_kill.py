"""kill -9 at random moments: what is resumed equals what was never stopped. benchmarks/kill.py runs
as many as asked."""

import pytest

from benchmarks import kill


def test_a_run_killed_with_9_resumes_to_the_same_bits(project):
    """One kill, of the kernel and its parent, after the first checkpoint."""
    (result,) = kill.harness(project, count=1, seed=1, targets=("both",), kills=1)
    assert (result.problem, result.kills) == ("", 1)
    assert 0 < result.images < 6 * 512


@pytest.mark.slow
@pytest.mark.timeout(900)  # it takes five minutes on two busy cores
def test_killed_runs_resume_to_the_same_bits(project):
    results = kill.harness(project, count=3, seed=1)
    assert [r.problem for r in results] == [""] * 3
    assert {r.target for r in results} == {"kernel", "parent", "both"}
    assert sum(r.kills for r in results) >= 3
    assert any(0 < r.images < 6 * 512 for r in results), "no kill met the training"
