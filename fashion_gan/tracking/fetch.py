"""A run's files under RUNS_URI, brought here whole or not at all; the order in which they are
written and read. `python -m fashion_gan.tracking.fetch NAME` fetches one."""

import contextlib
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fashion_gan.config.settings import project_root
from fashion_gan.errors import UserError, exit_code_of
from fashion_gan.files import DamagedError, digest, file_stamp, read_json, replacing, write_json
from fashion_gan.runs.create import NAME
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


def order(name: str) -> tuple[bool, bool, bool, str]:
    """A file comes after those that it speaks of: a last checkpoint after the best one, run.json
    after everything."""
    return name == "run.json", name.startswith("checkpoints/"), "/last-" in name, name


def in_order(names: list[str]) -> list[str]:
    """Those that are mirrored, in the order in which they are written."""
    return sorted({name for name in names if _is_mirrored(name)}, key=order)


def _is_mirrored(name: str) -> bool:
    if name in (*LOCAL, OWNER) or name.endswith((".lock", ".tmp")):
        return False
    # a key of a bucket may be any text: /etc/passwd, ../x
    return all(re.fullmatch(r"(?!\.|ray-)[^\0\\]+", part) for part in name.split("/"))


def check_storage(name: str = "") -> None:
    """Before a new run: that RUNS_URI is right, and no run of that name lies there. One out of
    reach is said, and no hindrance."""
    try:
        storage = open_storage()
        if storage and name and storage.get(f"{name}/run.json"):
            raise UserError(
                f"run {name!r} lies in {storage.uri} already; choose another --name, or go on with:"
                f" fashion-gan resume {name}"
            )
    except OutOfReachError as error:
        print(f"{error}; the run goes on without it, and catches up", flush=True)


def fetch_run(name: str, target: Path) -> None:
    """Bring a run to the folder `target`, whole or not at all. Raises UserError where there is
    none."""
    storage = open_storage()
    if storage is None:
        raise UserError(f"no run {name!r} in reports/")
    if not NAME.match(name) or not storage.get(f"{name}/run.json"):
        names = ", ".join(sorted(storage.names())[-5:]) or "none yet"
        raise UserError(f"no run {name!r} in reports/, nor in {storage.uri}, which holds: {names}")
    scratch = project_root() / "reports" / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    for _ in range(5):  # what is mirrored at this moment may change under our hands
        with tempfile.TemporaryDirectory(dir=scratch, prefix=f"{name}-") as temporary:
            if download(storage, name, Path(temporary) / name):
                (Path(temporary) / name).rename(target)
                return
    raise OutOfReachError(
        f"run {name} in {storage.uri} changes faster than it can be fetched; try again"
    )


def to_fetch(storage: RunStorage, run: str) -> Iterator[str]:
    """The files of a run. What run.json speaks of was there before it, so the others are listed
    after it was read."""
    yield "run.json"
    names = in_order(storage.names(run, recursive=True))
    yield from (name for name in reversed(names) if name != "run.json")


def download(storage: RunStorage, run: str, folder: Path) -> bool:
    """All files of a run; False where one of them went meanwhile."""
    sent, owner = {}, storage.owner(run)
    for name in to_fetch(storage, run):
        content = storage.get(f"{run}/{name}")
        if content is None:
            return False
        with replacing(folder / name) as temporary:
            temporary.write_bytes(content)
        sent[name] = [file_stamp(folder / name), digest(content)]
    with contextlib.suppress(DamagedError):
        read_json(folder / "run.json")
        write_json(folder / "mirror.json", {"uri": storage.uri, "sent": sent, "seen": owner})
    return (folder / "mirror.json").exists()


def main() -> None:
    fetch_run(sys.argv[1], project_root() / "reports" / sys.argv[1])


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
