"""Make a run folder."""

import datetime
import platform
import re
import time
import uuid

from fashion_gan.config.params import Params
from fashion_gan.config.settings import project_root
from fashion_gan.data.datasets import dataset_dir, dataset_fingerprints
from fashion_gan.errors import UserError
from fashion_gan.models.feature_network import dataset_record
from fashion_gan.runs.provenance import provenance
from fashion_gan.runs.record import SCHEMA, RunInfo
from fashion_gan.runs.run import Run, all_runs

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")


def create_run(
    params: Params,
    *,
    name: str = "",
    profile: str = "",
    notebooks: tuple[str, ...] = (),
    command: str = "",
    **tags: str,
) -> Run:
    """A new run folder under reports/, locked by this process. Raises UserError where the name is
    taken or bad."""
    root, folder = project_root(), dataset_dir(params)
    run = _new_folder(name or _unique_name(profile or "notebook"))
    command = command or f"fashion-gan run --name {run.name}"
    info = RunInfo(
        schema_version=SCHEMA,
        name=run.name,
        uuid=uuid.uuid4().hex,
        profile=profile,
        notebooks=list(notebooks),
        params=params.model_dump(),
        status="RUNNING",
        created=_behind_all_runs(time.time()),
        attempts=1,
        host=platform.node(),
        tags=tags | provenance(root, profile, notebooks, command),
        datasets=dataset_fingerprints(folder, params.subset),
        data=dataset_record(folder),
    )
    run.write(info)
    return run


def _new_folder(name: str) -> Run:
    run = Run(project_root() / "reports" / check_name(name))
    if run.folder.exists():
        raise UserError(
            f"run {name!r} is there already; choose another --name, or go on with: fashion-gan"
            f" resume {name}"
        )
    run.lock.acquire(f"run {name} is being made by another process")
    return run


def _behind_all_runs(now: float) -> float:
    """`now`, or just behind the newest run where the clock was set back: `latest` stays the latest.
    A time so far ahead that no clock had it is left out."""
    times = [run.info.created + 0.001 for run in all_runs()]
    return max([now, *(time for time in times if time < 2 * now)])


def _unique_name(profile: str) -> str:
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return f"{stamp}-{profile}-{uuid.uuid4().hex[:4]}"


def check_name(name: str) -> str:
    """Raises UserError for a name that is no plain folder name."""
    if not NAME.match(name) or ".." in name or name in ("scratch", "showcase", "latest"):
        raise UserError(
            f"run name {name!r} is not allowed; use letters, digits, '.', '_', '-', no '..', not"
            " scratch, showcase or latest"
        )
    return name
