"""The run folder's copy in MLflow: brought level while a run goes on, or later, or in another
store."""

import contextlib
import json
import platform
import shlex
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fashion_gan.config.stores import is_server, shown_uri
from fashion_gan.errors import UserError
from fashion_gan.files import file_stamp, write_json
from fashion_gan.models.serialization import GENERATOR
from fashion_gan.report import pages
from fashion_gan.runs import points
from fashion_gan.runs.identity import separate_copy
from fashion_gan.runs.run import Run, all_runs
from fashion_gan.tracking import registry, sync_loop, system_metrics
from fashion_gan.tracking.client import experiment, make_client, short_message
from fashion_gan.tracking.sync_loop import Ledger, SupersededError

RUN_TAG = "fashion_gan.uuid"
# folders that are copied whole; of checkpoints only the final and the best
COPIED = ("images", "notebooks")
FILES = (
    "run.json",
    "scores.json",
    "training.json",
    "generator.safetensors",
    "discriminator.safetensors",
)
POINTS = ("metrics.jsonl", "system.jsonl")


def files_of(run: Run, final: bool) -> list[Path]:
    """What is copied as artifacts: figures, notebooks and pages as they come; points and
    checkpoints at the end."""
    folder = run.folder
    paths = [p for part in COPIED for p in sorted((folder / part).rglob("*")) if p.is_file()]
    paths += [
        folder / name for name in FILES + (POINTS if final else ()) if (folder / name).exists()
    ]
    paths += sorted(folder.glob("*.html")) + sorted(folder.glob("*.md"))
    if final:
        paths += [
            p
            for kind in ("last", "best")
            for p in sorted((folder / "checkpoints").glob(f"{kind}-*.pt"))[-1:]
        ]
    return [p for p in paths if not p.name.startswith(".") and p.suffix != ".tmp"]


def pending(run: Run) -> tuple[int, int]:
    """How many points and files MLflow has not been sent yet."""
    copy, count = run.copy(shown_uri()), 0
    for path in (run.folder / name for name in POINTS if (run.folder / name).exists()):
        count += path.read_bytes()[copy.get("offsets", {}).get(path.name, 0) :].count(b"\n")
    sent = copy.get("sent", {})
    files = [
        p
        for p in files_of(run, final=True)
        if sent.get(p.relative_to(run.folder).as_posix(), [""])[0] != file_stamp(p)
    ]
    return count, len(files)


def pending_message(run: Run) -> str:
    count, files = pending(run)
    return f"{count:,} points and {files} files are still to be sent: fashion-gan sync {run.name}"


class Copier:
    """Brings one MLflow run level with one run folder. Every step can be done again without a
    duplicate. What was sent is remembered in <run>/mlflow.json, for each store by itself."""

    def __init__(self, run: Run, client: Any, progress: Callable[[int], Any] = lambda _: None):
        separate_copy(run)
        self.run, self.client, self.progress = run, client, progress
        self.experiment_id = experiment(client).experiment_id
        self.run_id = self._find_or_make()
        noted = run.copy(shown_uri())
        if noted.get("run_id") != self.run_id:
            noted = {}
        self.offsets = noted.get("offsets", {})
        self.ledger = Ledger(noted.get("sent", {}))
        self.closed: float | None = None
        self._remember()

    def _remember(self) -> None:
        noted = {
            "run_id": self.run_id,
            "url": self.url,
            "offsets": self.offsets,
            "sent": self.ledger.sent,
            "closed": self.closed,
            "trouble": "",
        }
        remember(self.run, noted)

    @property
    def url(self) -> str:
        """Where a browser shows the run; for the local store the command that starts the page."""
        uri, path = shown_uri(), f"#/experiments/{self.experiment_id}/runs/{self.run_id}"
        if is_server():
            return f"{uri.rstrip('/')}/{path}"
        command = f".venv/bin/mlflow ui --backend-store-uri {shlex.quote(uri)}"
        return f"http://127.0.0.1:5000/{path} (after: {command})"

    def _copy_of(self, uuid: str) -> Any | None:
        """The copy of a run in this store, if it has one."""
        return next(
            iter(self.client.search_runs([self.experiment_id], f"tags.`{RUN_TAG}` = '{uuid}'")),
            None,
        )

    def _find_or_make(self) -> str:
        info = self.run.info
        if copy := self._copy_of(info.uuid):
            self._check_latest(copy.data.tags)
            if copy.info.status != "RUNNING" and info.status == "RUNNING":
                self.client.update_run(copy.info.run_id, status="RUNNING")
            return copy.info.run_id
        started, tags = int(info.created * 1000), {RUN_TAG: info.uuid}
        return self.client.create_run(self.experiment_id, started, tags, info.name).info.run_id

    def _check_latest(self, tags: dict[str, str]) -> None:
        """Raises SupersededError where the run went on in a folder of another machine."""
        info = self.run.info
        attempts, host = int(tags.get("attempts", 0)), tags.get("host", info.host)
        if attempts > info.attempts or (attempts == info.attempts and host != info.host):
            raise SupersededError(
                f"run {self.run.name} went on on {host}, and MLflow has it from there;"
                f" to go on here instead: fashion-gan resume {self.run.name}"
            )

    def copy_description(self) -> None:
        """Parameters and data sets once, as they were first; tags as they are now (a resume may
        change free parameters)."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

        info, copy = self.run.info, self.client.get_run(self.run_id)
        logged, tags = copy.data.params, self._tags(copy.data)
        params = [Param(k, str(v)) for k, v in info.params.items() if k not in logged]
        new = [RunTag(k, str(v)) for k, v in tags.items() if copy.data.tags.get(k) != str(v)]
        if params or new:
            self.client.log_batch(self.run_id, params=params, tags=new)
        if not copy.inputs.dataset_inputs:
            for record in info.datasets:
                dataset = Dataset(
                    record["name"],
                    record["digest"],
                    "local",
                    record["source"],
                    profile=json.dumps(record["profile"]),
                )
                tag = InputTag("mlflow.data.context", record["context"])
                self.client.log_inputs(self.run_id, [DatasetInput(dataset, [tag])])

    def _tags(self, logged: Any) -> dict[str, Any]:
        """The tags as they are to be, beside what the copy has (`logged`)."""
        info = self.run.info
        tags = info.tags | {"reason": info.reason, "attempts": info.attempts, "host": info.host}
        for name, value in info.params.items():
            if logged.params.get(name, str(value)) != str(value):
                tags[f"resumed.{name}"] = value
        is_nested = "within" in tags and "mlflow.parentRunId" not in logged.tags
        if is_nested and (parent := self._copy_of(tags["within"])):
            tags["mlflow.parentRunId"] = parent.info.run_id
        # scores of another version of the program
        with contextlib.suppress(UserError):
            tags["mlflow.note.content"] = pages.note(self.run)
        return tags

    def copy_points(self, name: str) -> None:
        """Whole new lines of metrics.jsonl or system.jsonl, with the time stamps of the record, so
        that a replay adds nothing."""
        from mlflow.entities import Metric

        lines = points.read(self.run.folder / name, self.offsets.get(name, 0))
        for start in range(0, len(lines), 500):
            batch = lines[start : start + 500]
            metrics = [
                Metric(p["name"], p["value"], int(p["time"] * 1000), p["step"])
                for p, _ in batch
                if p
            ]
            if metrics:
                self.client.log_batch(self.run_id, metrics=metrics)
            self.offsets[name] = batch[-1].end
            self.progress(len(batch))

    def copy_files(self, final: bool) -> None:
        """Files that are new, or whose content has another digest than what was sent."""
        for path in files_of(self.run, final):
            relative, stamp = path.relative_to(self.run.folder), file_stamp(path)
            if not self.ledger.has(relative.as_posix(), stamp):
                parent = relative.parent.as_posix()
                upload = partial(
                    self.client.log_artifact,
                    self.run_id,
                    str(path),
                    None if parent == "." else parent,
                )
                self.ledger.send(relative.as_posix(), stamp, path, upload)
                self.progress(1)

    def copy(self, final: bool = False) -> None:
        try:
            for name in POINTS:
                self.copy_points(name)
            self.copy_description()
            self.copy_files(final)
        finally:
            self._remember()

    def close(self) -> None:
        """The last pass: package and register the model if the run finished, then set the
        status."""
        self.copy(final=True)
        info = self.run.info
        if info.status == "FINISHED" and (self.run.folder / GENERATOR).exists():
            registry.register(self.client, self.run, self.run_id)
        ended = info.ended or time.time()
        self.client.set_terminated(self.run_id, info.status, int(ended * 1000))
        self.closed = ended
        self._remember()


def remember(run: Run, known: dict[str, Any]) -> None:
    """Note in mlflow.json how far the copy in this store is; those in other stores stay noted."""
    new = {"last": shown_uri(), "copies": run.copies | {shown_uri(): run.copy(shown_uri()) | known}}
    if new["copies"] != run.copies or run.copy() != new["copies"][shown_uri()]:
        write_json(run.folder / "mlflow.json", new)


def sync(
    run: Run, follow: bool = False, log: Callable[[str], None] = print, every: float = 2.0
) -> None:
    """Bring MLflow level with the run folder; with `follow` keep it level until the run has ended.
    Raises UserError where it did not become level."""
    with sync_loop.lock_of(run, "sync") as lock:
        if not follow:
            lock.acquire(
                f"another process is copying run {run.name} already; look again in a minute"
            )
        try:
            _follow(run, log, every) if follow else _once(run)
        except SupersededError:
            raise
        except Exception as error:  # any fault of a store or network
            reason = short_message(error)
            raise UserError(f"MLflow at {shown_uri()}: {reason}; {pending_message(run)}") from None


def _once(run: Run) -> None:
    from tqdm import tqdm

    close_vanished(lambda _: None, [run])
    with tqdm(
        total=sum(pending(run)), desc=run.name, unit=" points and files", disable=None
    ) as bar:
        copier = Copier(run, make_client(), bar.update)
        copier.copy() if run.info.status == "RUNNING" else copier.close()


def _follow(run: Run, log: Callable[[str], None], every: float) -> None:
    ended = threading.Event()
    threading.Thread(target=system_metrics.watch, args=(run, ended), daemon=True).start()

    def has_ended() -> bool:
        if run.lock.is_free() and not ended.is_set():
            ended.set()
            close_vanished(log, [run])
        return run.lock.is_free()

    sync_loop.follow(
        run,
        copy="sync",
        name="MLflow",
        connect=lambda: Copier(run, make_client()),
        has_ended=has_ended,
        note_fault=lambda reason: remember(run, {"trouble": reason}),
        log=log,
        interval=every,
    )


def wait_for_copier(run: Run, log: Callable[[str], None]) -> None:
    """Wait for the copier's last pass; say where it did not make MLflow level."""

    def state() -> tuple[float | None, str]:
        copy = run.copy()
        return copy.get("closed"), copy.get("trouble", "")

    # the copier may be about to start
    if not sync_loop.wait_until_level(run, "sync", state, 15, lambda text: log(f"MLflow: {text}")):
        log(f"MLflow is not level: {pending_message(run)}")


def close_vanished(log: Callable[[str], None], runs: list[Run] | None = None) -> list[Run]:
    """Mark those of `runs` (default: all) FAILED that say RUNNING but whose process is gone (power
    cut, kill -9). One of another machine is left alone, since a lock does not tell from here
    whether it is alive."""
    gone = []
    for run in all_runs() if runs is None else runs:
        if (
            run.info.status != "RUNNING"
            or run.info.host not in ("", platform.node())
            or not run.lock.acquire()
        ):
            continue
        if run.info.status == "RUNNING":  # nobody resumed it in between
            run.finish("FAILED", "its process vanished")
            gone.append(run)
            log(
                f"run {run.name} had vanished; it is marked FAILED, go on with: fashion-gan resume"
                f" {run.name}"
            )
        run.lock.release()
        if runs is None and run in gone:
            run.follow()  # so that MLflow is told as well, where its copier is gone too
    return gone
