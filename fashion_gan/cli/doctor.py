"""What is well on this machine and what is not: data, device, disk, runs, MLflow and its store;
each fault with what to do."""

import json
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import click

from fashion_gan.cli import make_command
from fashion_gan.config import settings, stores
from fashion_gan.errors import UserError
from fashion_gan.tracking.client import experiment, import_mlflow, make_client, short_message
from fashion_gan.tracking.local_store import former_address, store_path

FREE_GB = 2  # what a few default runs leave, with room for the database
CLOCK_SECONDS = 5  # the server tells its time in whole seconds


def check_data() -> str:
    from fashion_gan.data.datasets import verify_files

    if problems := verify_files(settings.working_root() / "data"):
        raise UserError(f"{'; '.join(problems)}; run: make data")
    return "Fashion-MNIST is there, all four files by their digests"


def check_device() -> str:
    import torch

    from fashion_gan.device import pick_device

    device = pick_device()
    name = f"{torch.get_num_threads()} threads"
    if device.type == "cuda":
        name = torch.cuda.get_device_name()
    return f"{device.type} ({name}), torch {torch.__version__}"


def check_disk() -> str:
    free = shutil.disk_usage(settings.working_root()).free / 1e9
    if free < FREE_GB:
        raise UserError(
            f"{free:.1f} GB are free; a run can fail on a full disk: free some space, or remove old"
            " runs from reports/"
        )
    return f"{free:.0f} GB are free"


def check_runs() -> str:
    from fashion_gan.runs.run import all_runs
    from fashion_gan.tracking import mlflow_sync

    problems: list[str] = []
    mlflow_sync.close_vanished(problems.append)
    runs = all_runs()
    running = [run for run in runs if run.info.status == "RUNNING"]
    ended = [run for run in runs if run not in running]
    elsewhere = [f"{run.name} ({run.info.host})" for run in running if run.lock.is_free()]
    if elsewhere:
        problems.append(
            f"say RUNNING on other machines: {', '.join(elsewhere)}; if one is gone: fashion-gan"
            " resume RUN"
        )
    behind = []
    for run in ended:
        if run.copy(stores.shown_uri()).get("closed") != run.info.ended:
            behind.append(run.name)
    if behind:
        problems.append(
            f"{len(behind)} not level in MLflow ({', '.join(behind[-3:])}); run: fashion-gan sync"
            " --all"
        )
    if problems:
        raise UserError("; ".join(problems))
    return f"{len(runs)} runs, {len(running)} going on, none vanished, all level in MLflow"


def check_reachable() -> str:
    import requests

    import_mlflow()  # sets the login that the checks below use
    uri = stores.shown_uri()
    if not stores.is_server():
        if (path := store_path()) and (former := former_address(path)):
            raise UserError(
                f"{path} was moved, and still names {former}; run: fashion-gan doctor --fix"
            )
        return f"the local store {uri}"
    address = stores.tracking_uri().rstrip("/")
    try:
        requests.get(f"{address}/health", timeout=5).raise_for_status()
    except requests.RequestException as error:
        answer = error.response
        words = "does not answer" if answer is None else f"answers {answer.status_code}"
        raise UserError(
            f"MLflow at {uri} {words}; start it (make server), or unset MLFLOW_TRACKING_URI"
        ) from None
    return f"{uri} answers"


def has_store() -> bool:
    """Whether there is an MLflow store to try: a server, or a project that may have its own."""
    return stores.is_server() or settings.find_project() is not None


def server_log(*services: str) -> str:
    """Where to look further, where there is a server."""
    advice = f"; look at its log: docker compose logs {' '.join(services)}"
    return advice if stores.is_server() else ""


def check_login() -> str | None:
    if not has_store():
        return None
    from mlflow.exceptions import MlflowException

    try:
        make_client().search_experiments(max_results=1)
    except UserError:
        raise
    except Exception as error:  # whatever a store answers
        code = error.get_http_status_code() if isinstance(error, MlflowException) else 0
        if code in (401, 403):
            raise UserError(
                f"MLflow refuses the login ({code}); set MLFLOW_TRACKING_USERNAME and"
                " MLFLOW_TRACKING_PASSWORD, in the environment or .env.local"
            ) from None
        raise UserError(f"MLflow answers {short_message(error)}{server_log('mlflow')}") from None
    return "accepted" if stores.is_server() else "none needed"


def check_artifacts() -> str | None:
    """Write, read and remove a file where the runs' artifacts go, as a client does."""
    if not has_store():
        return None
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    token = uuid.uuid4().hex
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"doctor-{token}.txt"
        back = Path(folder) / "back"
        back.mkdir()
        path.write_text(token)
        try:
            uri = experiment(make_client()).artifact_location
            repository = get_artifact_repository(uri, tracking_uri=stores.tracking_uri())
            repository.log_artifact(str(path))
            copy = Path(repository.download_artifacts(path.name, str(back)))
            is_same = copy.read_text() == token
            repository.delete_artifacts(path.name)
        except Exception as error:  # whatever a server, a store or a disk answers
            raise UserError(
                f"not written and read back ({short_message(error)}){server_log('mlflow', 'store')}"
            ) from None
    if not is_same:
        raise UserError(
            "read back otherwise than written; look at: docker compose logs mlflow store"
        )
    return "written, read back the same, removed"


def check_keys() -> str | None:
    """The same by the S3 store's own keys; None where this machine has none, since a client needs
    none."""
    from botocore.exceptions import BotoCoreError, ClientError

    from fashion_gan.tracking.storage import Bucket

    values = settings.read_settings()
    names = ("S3_BUCKET", "S3_ACCESS_KEY", "S3_SECRET_KEY")
    if not stores.is_server() or not all(name in values for name in names):
        return None
    name, access_key, secret_key = (values[name] for name in names)
    endpoint = stores.s3_endpoint(values)
    token = uuid.uuid4().hex
    try:
        bucket = Bucket(name, endpoint, access_key, secret_key)
        bucket.write(f"doctor/{token}", token.encode())
        is_same = bucket.read(f"doctor/{token}") == token.encode()
        bucket.delete(f"doctor/{token}")
    except (BotoCoreError, ClientError, ValueError) as error:
        raise UserError(
            f"the store at {endpoint} refuses: {short_message(error)}; compare S3_ACCESS_KEY,"
            " S3_SECRET_KEY with the server's"
        ) from None
    if not is_same:
        raise UserError(
            f"the store at {endpoint} gave back other bytes; look at: docker compose logs store"
        )
    return f"{endpoint}: written, read back the same, removed"


def clock_difference(date: float, before: float, after: float) -> float:
    """By how many seconds at least a server's clock differs that said `date`, in whole seconds, at
    some moment from `before` to `after`."""
    return max(date - after, 0.0) + min(date + 1 - before, 0.0)


def check_clocks() -> str | None:
    import requests

    if not stores.is_server():
        return None
    # a busy server writes an old date: it makes one a second, when it comes to it
    for _ in range(5):
        before = time.time()
        answer = requests.get(f"{stores.tracking_uri().rstrip('/')}/health", timeout=5)
        date = parsedate_to_datetime(answer.headers["Date"]).timestamp()
        difference = clock_difference(date, before, time.time())
        if abs(difference) <= CLOCK_SECONDS:
            return f"the server's is less than {CLOCK_SECONDS} s off"
        time.sleep(1)
    raise UserError(
        f"the server's clock is {difference:+.0f} s off this one; set both by NTP, or points and"
        " runs sort wrongly"
    )


# by name: the check, and what it needs to be well
CHECKS: dict[str, tuple[Callable[[], str | None], tuple[str, ...]]] = {
    "data": (check_data, ()),
    "device": (check_device, ()),
    "disk": (check_disk, ()),
    "MLflow": (check_reachable, ()),
    "login": (check_login, ("MLflow",)),
    "artifacts": (check_artifacts, ("MLflow", "login")),
    "S3 keys": (check_keys, ()),
    "clocks": (check_clocks, ("MLflow",)),
    "runs": (check_runs, ()),
}


def findings() -> Iterator[dict[str, Any]]:
    """One a check: "check", "state" (well, fault, not tried), "words"."""
    states: dict[str, str] = {}
    for name, (check, needed) in CHECKS.items():
        missing = [other for other in needed if states[other] != "well"]
        try:
            words = None if missing else check()
            states[name] = "not tried" if words is None else "well"
            words = words or (f"needs {missing[0]}" if missing else "nothing to try here")
        except UserError as error:
            states[name], words = "fault", str(error)
        except Exception as error:  # a doctor says what it met, and goes on
            states[name] = "fault"
            words = (
                f"{type(error).__name__}: {short_message(error)}; this should not happen,"
                " please report it"
            )
        yield {"check": name, "state": states[name], "words": words}


@make_command("doctor")
@click.option("--json", "as_json", is_flag=True, help="for programs")
@click.option("--fix", is_flag=True, help="set MLflow's local store right where it was moved")
def command(as_json: bool, fix: bool) -> int:
    """Print all findings. Exit code 0 where nothing is at fault, else 1."""
    if fix and (path := store_path()) and former_address(path):
        try:
            make_client()
        except Exception as error:  # whatever a disk or a store answers
            raise UserError(f"{path} is not set right: {short_message(error)}") from None
    shown = []
    for finding in findings():
        shown.append(finding)
        if not as_json:
            print(f"{finding['state']:9}  {finding['check']:9}  {finding['words']}", flush=True)
    if as_json:
        print(json.dumps(shown, indent=1))
    return int(any(finding["state"] == "fault" for finding in shown))
