"""A run folder that was copied is a run of its own; one that was renamed is the same run."""

import uuid

from fashion_gan.errors import UserError, warn_once
from fashion_gan.files import Lock
from fashion_gan.runs.run import Run, all_runs
from fashion_gan.waiting import wait_until


def original_of(run: Run) -> Run | None:
    """The run in reports/ that `run` was copied from, None where it is no copy. The original is the
    one whose folder has the name that run.json says. Raises UserError where none has it."""
    info, folder = run.info, run.folder.resolve()
    is_among_runs = folder.parent.name == "reports"
    if not info.uuid or (is_among_runs and info.name == folder.name):
        return None
    runs = all_runs(folder.parent if is_among_runs else None)
    others = [other for other in runs if other.folder.resolve() != folder]
    same = [other for other in others if other.info.uuid == info.uuid]
    for other in same:
        if other.name == other.info.name or not is_among_runs:
            return other
    if same:
        raise UserError(
            f"the folders {run.name} and {same[0].name} are both run {info.name}; give the original"
            f" its name back: mv reports/{run.name} reports/{info.name}"
        )
    return None


def separate_copy(run: Run) -> None:
    """Give a copy an identity of its own, before anything is written to the copies of its
    original."""
    if not original_of(run):
        return
    with Lock(run.folder / "identity.lock") as lock:
        wait_until(lock.acquire)
        if not (original := original_of(run)):
            return  # another process was first
        for name in ("mlflow.json", "mirror.json"):  # how far the original's copies are
            (run.folder / name).unlink(missing_ok=True)
        info = run.info
        tags = info.tags | {"copied_from": f"{original.name} ({info.uuid})"}
        tags.pop("within", None)  # a sweep counts its trials by it
        run.update(name=run.name, uuid=uuid.uuid4().hex, tags=tags)
        warn_once(
            f"{run.name} is a copy of run {original.name}; from now on it is a run of its own"
        )
