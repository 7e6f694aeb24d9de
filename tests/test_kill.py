"""kill -9 at random moments: what is resumed equals what was never stopped. benchmarks/kill.py runs as many as asked."""

import kill
import pytest


@pytest.mark.timeout(900)  # it takes five minutes on two busy cores
def test_killed_runs_resume_to_the_same_bits(project):
    results = kill.harness(project, count=3, seed=1)
    assert [r.problem for r in results] == [""] * 3
    assert {r.target for r in results} == {"kernel", "parent", "both"}
    assert sum(r.kills for r in results) >= 3
    assert any(0 < r.images < 6 * 512 for r in results), "no kill met the training"
