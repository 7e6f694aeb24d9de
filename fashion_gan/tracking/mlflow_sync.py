"""The run folder's copy in MLflow: brought level while a run goes on, or later, or in another
store."""

import contextlib
import json
import platform
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2

from fashion_gan.config.settings import closing_seconds, is_server, shown_uri
from fashion_gan.errors import UserError
from fashion_gan.files import Lock, digest, file_stamp, write_json
from fashion_gan.models.serialization import GENERATOR
from fashion_gan.report import pages
from fashion_gan.runs.run import Run, all_runs
from fashion_gan.tracking import registry, system_metrics
from fashion_gan.tracking.client import experiment, make_client, short_message

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
LONGEST_PAUSE = 30.0  # seconds between two tries


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
    copy, points = run.copy(shown_uri()), 0
    for path in (run.folder / name for name in POINTS if (run.folder / name).exists()):
        points += path.read_bytes()[copy.get("offsets", {}).get(path.name, 0) :].count(b"\n")
    sent = copy.get("sent", {})
    files = [
        p
        for p in files_of(run, final=True)
        if sent.get(p.relative_to(run.folder).as_posix(), [""])[0] != file_stamp(p)
    ]
    return points, len(files)


def left(run: Run) -> str:
    points, files = pending(run)
    return f"{points:,} points and {files} files are still to be sent: fashion-gan sync {run.name}"


class Copier:
    """Brings one MLflow run level with one run folder. Every step can be done again without a
    duplicate. What was sent is remembered in <run>/mlflow.json, for each store by itself."""

    def __init__(self, run: Run, client: Any, progress: Callable[[int], Any] = lambda _: None):
        self.run, self.client, self.progress = run, client, progress
        self.experiment_id = experiment(client).experiment_id
        self.run_id = self._find_or_make()
        known = run.copy(shown_uri())
        known = known if known.get("run_id") == self.run_id else {}
        self.offsets, self.sent, self.closed = known.get("offsets", {}), known.get("sent", {}), None
        self._remember()

    def _remember(self) -> None:
        known = {
            "run_id": self.run_id,
            "url": self.url,
            "offsets": self.offsets,
            "sent": self.sent,
            "closed": self.closed,
            "trouble": "",
        }
        remember(self.run, known)

    @property
    def url(self) -> str:
        """Where a browser shows the run; for the local store the command that starts the page."""
        uri, path = shown_uri(), f"#/experiments/{self.experiment_id}/runs/{self.run_id}"
        if is_server():
            return f"{uri.rstrip('/')}/{path}"
        return (
            f"http://127.0.0.1:5000/{path} (after: .venv/bin/mlflow ui --backend-store-uri {uri})"
        )

    def _copy_of(self, uuid: str) -> Any | None:
        """The copy of a run in this store, if it has one."""
        return next(
            iter(self.client.search_runs([self.experiment_id], f"tags.`{RUN_TAG}` = '{uuid}'")),
            None,
        )

    def _find_or_make(self) -> str:
        info = self.run.info
        if found := self._copy_of(info["uuid"]):
            if found.info.status != "RUNNING" and info["status"] == "RUNNING":
                self.client.update_run(found.info.run_id, status="RUNNING")
            return found.info.run_id
        begun, tags = int(info["created"] * 1000), {RUN_TAG: info["uuid"]}
        return self.client.create_run(self.experiment_id, begun, tags, info["name"]).info.run_id

    def copy_description(self) -> None:
        """Parameters and data sets once, as they were first; tags as they are now (a resume may
        change free parameters)."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

        info, there = self.run.info, self.client.get_run(self.run_id)
        known, context = there.data, "mlflow.data.context"
        params = [Param(k, str(v)) for k, v in info["params"].items() if k not in known.params]
        changed = {
            f"resumed.{k}": str(v)
            for k, v in info["params"].items()
            if known.params.get(k, str(v)) != str(v)
        }
        told = {
            "reason": info.get("reason", ""),
            "attempts": info.get("attempts", 1),
            "host": info.get("host", ""),
        }
        tags = info["tags"] | changed | told
        if (
            "within" in tags
            and "mlflow.parentRunId" not in known.tags
            and (parent := self._copy_of(tags["within"]))
        ):
            tags["mlflow.parentRunId"] = parent.info.run_id
        # scores of another version of the program
        with contextlib.suppress(KeyError, TypeError, jinja2.TemplateError):
            tags["mlflow.note.content"] = pages.note(self.run)
        new = [RunTag(k, str(v)) for k, v in tags.items() if known.tags.get(k) != str(v)]
        if params or new:
            self.client.log_batch(self.run_id, params=params, tags=new)
        if info.get("datasets") and not there.inputs.dataset_inputs:
            for d in info["datasets"]:
                told = Dataset(
                    d["name"], d["digest"], "local", d["source"], profile=json.dumps(d["profile"])
                )
                self.client.log_inputs(
                    self.run_id, [DatasetInput(told, [InputTag(context, d["context"])])]
                )

    def copy_points(self, name: str) -> None:
        """Whole new lines of metrics.jsonl or system.jsonl, with the time stamps of the record, so
        that a replay adds nothing."""
        from mlflow.entities import Metric

        path = self.run.folder / name
        if not path.exists():
            return
        with path.open("rb") as stream:
            stream.seek(self.offsets.get(name, 0))
            lines = [
                line for line in stream.read().splitlines(keepends=True) if line.endswith(b"\n")
            ]
        for start in range(0, len(lines), 500):
            part = lines[start : start + 500]
            points = [json.loads(line) for line in part]
            metrics = [
                Metric(p["name"], p["value"], int(p["time"] * 1000), p["step"]) for p in points
            ]
            self.client.log_batch(self.run_id, metrics=metrics)
            self.offsets[name] = self.offsets.get(name, 0) + sum(map(len, part))
            self.progress(len(part))

    def copy_files(self, final: bool) -> None:
        """Files that are new, or whose content has another digest than what was sent."""
        for path in files_of(self.run, final):
            name, mark = path.relative_to(self.run.folder).as_posix(), file_stamp(path)
            known = self.sent.get(name, ["", ""])
            if known[0] == mark:
                continue
            if known[1] != (now := digest(path)):
                parent = Path(name).parent.as_posix()
                self.client.log_artifact(self.run_id, str(path), None if parent == "." else parent)
            self.sent[name] = [mark, now]
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
        """The last look: package and register the model if the run finished, then set the
        status."""
        self.copy(final=True)
        info = self.run.info
        if info["status"] == "FINISHED" and (self.run.folder / GENERATOR).exists():
            registry.register(self.client, self.run, self.run_id)
        ended = info.get("ended") or time.time()
        self.client.set_terminated(self.run_id, info["status"], int(ended * 1000))
        self.closed = ended
        self._remember()


def remember(run: Run, known: dict[str, Any]) -> None:
    """Note in mlflow.json how far the copy in this store is; those in other stores stay noted."""
    new = {"last": shown_uri(), "copies": run.copies | {shown_uri(): run.copy(shown_uri()) | known}}
    if new["copies"] != run.copies or run.copy() != new["copies"][shown_uri()]:
        write_json(run.folder / "mlflow.json", new)


def sync(
    run: Run, follow: bool = False, say: Callable[[str], None] = print, every: float = 2.0
) -> None:
    """Bring MLflow level with the run folder; with `follow` keep it level until the run has ended.
    A store that does not answer is tried again while following, and never stops anything else.
    Raises UserError where it did not become level."""
    with Lock(run.folder / "sync.lock") as lock:
        while not lock.acquire():  # the copier of an earlier attempt may still be closing
            if not follow:
                raise UserError(
                    f"another process is copying run {run.name} already; look again in a minute"
                )
            time.sleep(0.3)
        if follow:
            _follow(run, say, every)
            return
        try:
            _once(run)
        except Exception as error:  # any fault of a store or network
            raise UserError(
                f"MLflow at {shown_uri()}: {short_message(error)}; {left(run)}"
            ) from None


def _once(run: Run) -> None:
    from tqdm import tqdm

    close_vanished(lambda _: None, [run])
    with tqdm(
        total=sum(pending(run)), desc=run.name, unit=" points and files", disable=None
    ) as bar:
        copier = Copier(run, make_client(), bar.update)
        copier.copy() if run.info["status"] == "RUNNING" else copier.close()


def _follow(run: Run, say: Callable[[str], None], every: float) -> None:
    """Copy until the run's lock is free, then close. After a fault the pauses grow; after the end
    there is a last limit."""
    ended, copier, pause, until, closing = threading.Event(), None, every, None, closing_seconds()
    threading.Thread(target=system_metrics.watch, args=(run, ended), daemon=True).start()
    while True:
        running = not run.lock.is_free()
        if not running and until is None:
            ended.set()
            close_vanished(say, [run])
            pause, until = every, time.monotonic() + closing
        try:
            copier = copier or Copier(run, make_client())
            if not running:
                copier.close()
                return
            copier.copy()
            pause = every
        except Exception as error:  # any fault of a store or network
            reason = short_message(error)
            remember(run, {"trouble": reason})
            if until and time.monotonic() + pause > until:
                raise UserError(f"MLflow at {shown_uri()}: {reason}; {left(run)}") from None
            pause = min(2 * pause, LONGEST_PAUSE)
            say(f"{time.strftime('%H:%M:%S')} MLflow: {reason}; trying again in {pause:.0f} s")
        wake = time.monotonic() + pause
        while time.monotonic() < wake and (until or not run.lock.is_free()):
            time.sleep(0.2)


def close_vanished(say: Callable[[str], None], runs: list[Run] | None = None) -> list[Run]:
    """Mark those of `runs` (default: all) FAILED that say RUNNING but whose process is gone (power
    cut, kill -9). One of another machine is left alone, since a lock does not tell from here
    whether it is alive."""
    gone = []
    for run in all_runs() if runs is None else runs:
        if (
            run.info["status"] != "RUNNING"
            or run.info.get("host", platform.node()) != platform.node()
            or not run.lock.acquire()
        ):
            continue
        if run.info["status"] == "RUNNING":  # nobody resumed it in between
            run.update(status="FAILED", reason="its process vanished", ended=time.time())
            gone.append(run)
            say(
                f"run {run.name} had vanished; it is marked FAILED, go on with: fashion-gan resume"
                f" {run.name}"
            )
        run.lock.release()
        if runs is None and run in gone:
            run.follow()  # so that MLflow is told as well, where its copier is gone too
    return gone
