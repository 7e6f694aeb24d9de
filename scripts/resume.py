"""fashion-gan resume"""

import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import mirror
import pipeline
from command import add_overrides, guarded, parser_of
from copier import close_vanished
from profiles import read_overrides

from fashion_gan import checkpoint, data
from fashion_gan.errors import UserError, project_root
from fashion_gan.files import digest, replacing
from fashion_gan.params import Params
from fashion_gan.provenance import provenance
from fashion_gan.run import Run, find


def rewind(folder: Path, path: Path) -> None:
    """Make the checkpoint `path` the newest in `folder`; the ones after it are kept, renamed to
    aside-..."""
    images, mark = checkpoint.load(path)["images"], digest(path)[:12]
    target = folder / f"last-{images:010d}-{mark}.pt"
    with replacing(folder / "rewound.pt") as temporary:
        shutil.copyfile(path, temporary)
    for other in [*checkpoint.found(folder, "last"), *checkpoint.found(folder, "best")]:
        seen = int(checkpoint.NAME.match(other.name)[2])
        if seen > images or (seen == images and other.name.startswith("last-") and other != target):
            other.rename(folder / f"aside-{other.name}")
    os.replace(folder / "rewound.pt", target)


def prepare(run: Run, changes: dict[str, str], path: Path | None) -> None:
    """Set a run up to go on: with changed free parameters, and from the checkpoint `path` if one is
    given. Raises UserError, changing nothing, where the run has nothing left to do or a frozen
    parameter would change."""
    info = run.info
    path = path or (Path(changes["checkpoint"]) if changes.get("checkpoint") else None)
    stored = {name: str(value) for name, value in info["params"].items()}
    if path or any((run.folder / "checkpoints").glob("last-*")):
        stored["checkpoint"] = ""  # the run's own last one, which `path` becomes
    params = Params.read(
        stored | {name: value for name, value in changes.items() if name != "checkpoint"}
    )
    checkpoint.check_same(info["params"], params.model_dump())
    trains = "02_train" in info["notebooks"]
    goes_on = bool(path) or (trains and params.epochs > info.get("epochs_done", params.epochs))
    if info["status"] == "FINISHED" and not goes_on:
        raise UserError(
            f"run {run.name} is finished; say more epochs: fashion-gan resume {run.name} -p"
            f" epochs={params.epochs + 10}"
        )
    pipeline.preflight(params)
    there = data.described(data.place(params), params.subset)
    if there != info.get("datasets", there):
        raise UserError(
            f"what lies in data_dir {params.data_dir} is not what run {run.name} was trained on;"
            " leave -p data_dir out, or begin a new run"
        )
    if path:
        checkpoint.check_same(checkpoint.load(path)["params"], params.model_dump())
        rewind(run.folder / "checkpoints", path)
    # what follows is made again
    done = [name for name in info.get("done", []) if not goes_on or name < "02_train"]
    command = " ".join(
        [info["tags"]["command"], *(f"-p {name}={value}" for name, value in changes.items())]
    )
    tags = info["tags"] | provenance(project_root(), info["profile"], info["notebooks"], command)
    changed = {
        "params": params.model_dump(),
        "done": done,
        "tags": tags,
        "host": platform.node(),
        "attempts": info["attempts"] + 1,
    }
    run.update(status="RUNNING", reason="", ended=None, **changed)


def resume_sweep(run: Run, changes: Any) -> int:
    """The trials of a sweep that have not ended, or failed."""
    import sweep

    if changes:
        raise UserError(
            f"{run.name} is a sweep, it goes on as it was begun; leave -p and --checkpoint out"
        )
    known = sweep.Sweep(**run.read_json("sweep"))
    sweep.ready(known)
    run.update(status="RUNNING", reason="", ended=None, attempts=run.info["attempts"] + 1, done=[])
    return sweep.go_on(run, known)


def main() -> int:
    parser = parser_of("resume")
    parser.add_argument("run", metavar="RUN", help="a name, a path or latest")
    parser.add_argument(
        "--checkpoint", default="", metavar="PATH", help="start from this checkpoint"
    )
    add_overrides(parser)
    args = parser.parse_args()
    close_vanished(lambda _: None)
    again = mirror.newest(find(args.run, tracked=True))
    again.lock.acquire(
        f"run {again.name} is being worked on by another process; wait for it, or stop it"
    )
    if again.read_json("sweep"):
        return resume_sweep(again, args.overrides or args.checkpoint)
    prepare(
        again, read_overrides(args.overrides), Path(args.checkpoint) if args.checkpoint else None
    )
    return pipeline.run_all(again)


if __name__ == "__main__":
    sys.exit(guarded(main))
