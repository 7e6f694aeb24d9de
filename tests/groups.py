"""Which tests one worker runs together, and in what order."""

import pytest

# A file stays on one worker, since its module's fixtures are dear. Some tests share what others
# have made, or leave their file.
GROUPS = {  # by the beginning of a test's name
    "tests/test_chain.py": "whole run",
    "tests/test_mlflow_page.py": "whole run",
    "tests/test_lab.py::test_the_report_opens": "whole run",
    "tests/test_explorer.py::test_dragging_in_jupyterlab": "tests/test_lab.py",
    "tests/test_explorer.py::test_the_page": "worlds",
    "tests/test_parallel.py": "Ray",
    "tests/test_parallel.py::test_two_workers": "arithmetic",
    # two clusters at once on two cores: their nodes are taken for dead
    "tests/test_sweep.py": "Ray",
}
LONGEST = (  # groups that come first, so that no worker is left alone with one of them at the end
    "engine",
    "Ray",
    "whole run",
    "tests/test_faults.py",
    "tests/test_kill.py",
    "worlds",
    "tests/test_server.py",
    "tests/test_explorer.py",
    "tests/test_own_images.py",
    "tests/test_pipeline.py",
    "tests/test_evaluate.py",
    "tests/test_package.py",
    "tests/test_evaluation.py",
    "tests/test_remote.py",
    "arithmetic",
    "tests/test_before.py",
    "tests/test_training.py",
    "tests/test_lab.py",
)


def group_of(nodeid: str) -> str:
    """The tests that one worker runs together."""
    if "[engine" in nodeid:  # there is one Docker engine, and its ports are fixed
        return "engine"
    beginnings = [beginning for beginning in GROUPS if nodeid.startswith(beginning)]
    return GROUPS[max(beginnings, key=len)] if beginnings else nodeid.split("::")[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(group_of(item.nodeid), len(order)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object | None:
    """With `--dist loadfile` groups, in place of files: xdist's own marks for groups do nothing
    under pytest 9.2."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return Groups(config, log)
