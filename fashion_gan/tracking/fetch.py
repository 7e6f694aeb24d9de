"""A run's files under RUNS_URI, brought here whole or not at all; the order in which they are
written and read. `python -m fashion_gan.tracking.fetch NAME` fetches one."""

import contextlib
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fashion_gan.config.settings import project_root
from fashion_gan.errors import UserError, exit_code_of
from fashion_gan.files import digest, file_stamp, read_json, replacing, write_json
from fashion_gan.runs.run import NAME
from fashion_gan.tracking.storage import OWNER, OutOfReachError, RunStorage, open_storage

# stay here
LOCAL = (
    "mirror.json",
    "sync.log",
    "progress.json",
    "stopping",
    "checkpoints/new.pt",
    "checkpoints/rewound.pt",
)


def order(name: str) -> tuple:
    """By what it says of others: a last checkpoint of the best one, run.json of everything."""
    return name == "run.json", name.startswith("checkpoints/"), "/last-" in name, name


def in_order(names: list[str]) -> list[str]:
    """Those that are mirrored, in the order in which they are written."""
    hidden = [
        n
        for n in names
        if n in (*LOCAL, OWNER) or n.endswith((".lock", ".tmp")) or re.search(r"(^|/)(\.|ray-)", n)
    ]
    return sorted(set(names) - set(hidden), key=order)


def check_storage(name: str = "") -> None:
    """Before a new run: that RUNS_URI is right, and no run of that name lies there. One out of
    reach is said, and no hindrance."""
    try:
        if (found := open_storage()) and name and found.get(f"{name}/run.json"):
            raise UserError(
                f"run {name!r} lies in {found.uri} already; choose another --name, or go on with:"
                f" fashion-gan resume {name}"
            )
    except OutOfReachError as error:
        print(f"{error}; the run goes on without it, and catches up", flush=True)


def fetch_run(name: str, target: Path) -> None:
    """Bring a run to the folder `target`, whole or not at all. Raises UserError where there is
    none."""
    found = open_storage()
    if found is None or not NAME.match(name) or not found.get(f"{name}/run.json"):
        there = (
            f", nor in {found.uri}, which holds:"
            f" {', '.join(sorted(found.listed())[-5:]) or 'none yet'}"
            if found
            else ""
        )
        raise UserError(f"no run {name!r} in reports/{there}")
    scratch = project_root() / "reports" / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    for _ in range(5):  # what is mirrored at this moment may change under our hands
        with tempfile.TemporaryDirectory(dir=scratch, prefix=f"{name}-") as temporary:
            if download(found, name, Path(temporary) / name):
                (Path(temporary) / name).rename(target)
                return
    raise OutOfReachError(
        f"run {name} in {found.uri} changes faster than it can be fetched; try again"
    )


def to_fetch(found: RunStorage, name: str) -> Iterator[str]:
    """The files of a run. What run.json speaks of was there before it, so the rest is listed after
    it was read."""
    yield "run.json"
    yield from (
        each
        for each in reversed(in_order(found.listed(name, recursive=True)))
        if each != "run.json"
    )


def download(found: RunStorage, name: str, folder: Path) -> bool:
    """All files of a run; False where one of them went meanwhile."""
    sent, seen = {}, found.owner(name)
    for each in to_fetch(found, name):
        content = found.get(f"{name}/{each}")
        if content is None:
            return False
        with replacing(folder / each) as temporary:
            temporary.write_bytes(content)
        sent[each] = [file_stamp(folder / each), digest(content)]
    with contextlib.suppress(json.JSONDecodeError):
        read_json(folder / "run.json")
        write_json(folder / "mirror.json", {"uri": found.uri, "sent": sent, "seen": seen})
    return (folder / "mirror.json").exists()


def main() -> None:
    fetch_run(sys.argv[1], project_root() / "reports" / sys.argv[1])


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
