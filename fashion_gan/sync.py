"""The run folder's copy in MLflow, and the registry. With `model` the only module that imports mlflow."""

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from fashion_gan.errors import UserError, project_root
from fashion_gan.files import Lock, digest, read_json, write_json
from fashion_gan.run import Run

EXPERIMENT = MODEL_NAME = "fashion-gan"
RUN_TAG = "fashion_gan.uuid"
COPIED = ("images", "notebooks")  # folders that are copied whole; of checkpoints only the final and the best
FILES = ("run.json", "metrics.jsonl", "scores.json", "training.json", "generator.safetensors", "discriminator.safetensors")


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, else the project's own SQLite store, by its absolute path. Raises UserError for no address."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if not uri:
        return f"sqlite:///{project_root() / 'mlflow.db'}"
    parts = urlparse(uri)
    if parts.scheme in ("http", "https") and parts.hostname:
        return uri
    if re.match(r"sqlite$|postgresql|mysql", parts.scheme) and (parts.path.strip("/") or parts.hostname):
        return uri
    raise UserError(f"MLFLOW_TRACKING_URI is {uri!r}, which is no address; say http://127.0.0.1:5009, or unset it for the local store")


def import_mlflow() -> Any:
    """mlflow, set up so that a hanging server holds nothing up and no pickle is ever loaded."""
    wanted = {"ENABLE_ARTIFACTS_PROGRESS_BAR": "false", "HTTP_REQUEST_TIMEOUT": "20", "HTTP_REQUEST_MAX_RETRIES": "2"}
    wanted |= {"ENABLE_PROXY_MULTIPART_DOWNLOAD": "false"}  # it would ask the S3 store itself, which a client need not reach
    wanted |= {"ALLOW_PICKLE_DESERIALIZATION": "false", "DISABLE_TELEMETRY": "true", "LOGGING_LEVEL": "WARNING"}
    for name, value in wanted.items():
        os.environ.setdefault(f"MLFLOW_{name}", value)
    import mlflow

    return mlflow


def check_there() -> None:
    """Raises FileNotFoundError where the local store was never made, so that reading does not make an empty one."""
    path = tracking_uri().removeprefix("sqlite:///")
    if tracking_uri().startswith("sqlite:") and not Path(path).exists():
        raise FileNotFoundError(f"there is no {Path(path).name} yet")


def make_client() -> Any:
    """An MlflowClient on a store that is there: a fresh SQLite store is made by one process at a time."""
    mlflow = import_mlflow()
    uri = tracking_uri()
    if not uri.startswith("sqlite:"):
        return mlflow.MlflowClient(uri, uri)
    with Lock(project_root() / "mlflow.db.lock") as lock:
        while not lock.acquire():
            time.sleep(0.1)
        client = mlflow.MlflowClient(uri, uri)
        client.search_experiments(max_results=1)
    return client


class Copier:
    """Brings one MLflow run level with one run folder. Every step can be done again without a duplicate."""

    def __init__(self, run: Run, client: Any):
        self.run, self.client = run, client
        self.offset, self.sent, self.closed = 0, {}, None
        self.run_id = self._find_or_make()
        memory = self._memory()
        if memory.get("run_id") == self.run_id and memory.get("store") == tracking_uri():
            self.offset, self.sent = memory["offset"], memory["sent"]

    def _memory(self) -> dict[str, Any]:
        path = self.run.folder / "mlflow.json"
        return read_json(path) if path.exists() else {}

    def _remember(self) -> None:
        known = {"run_id": self.run_id, "store": tracking_uri(), "url": self.url, "offset": self.offset, "sent": self.sent}
        known["closed"] = self.closed
        if known != self._memory():
            write_json(self.run.folder / "mlflow.json", known)

    @property
    def url(self) -> str:
        """Where a browser shows the run; for the local store the command that starts the page."""
        uri, path = re.sub(r"//[^@/]+@", "//", tracking_uri()), f"#/experiments/{self.experiment_id}/runs/{self.run_id}"
        if uri.startswith("http"):
            return f"{uri.rstrip('/')}/{path}"
        return f"http://127.0.0.1:5000/{path} (after: .venv/bin/mlflow ui --backend-store-uri {uri})"

    def _find_or_make(self) -> str:
        info = self.run.info
        self.experiment_id = self._experiment()
        found = self.client.search_runs([self.experiment_id], f"tags.`{RUN_TAG}` = '{info['uuid']}'")
        if found:
            if found[0].info.status != "RUNNING" and info["status"] == "RUNNING":
                self.client.update_run(found[0].info.run_id, status="RUNNING")
            return found[0].info.run_id
        begun, tags = int(info["created"] * 1000), {RUN_TAG: info["uuid"]}
        return self.client.create_run(self.experiment_id, begun, tags, info["name"]).info.run_id

    def _experiment(self) -> str:
        found = self.client.get_experiment_by_name(EXPERIMENT)
        if found:
            return found.experiment_id
        local = tracking_uri().startswith("sqlite:")
        return self.client.create_experiment(EXPERIMENT, artifact_location=(project_root() / "mlartifacts").as_uri() if local else None)

    def copy_description(self) -> None:
        """Parameters once, as they were first; tags as they are now (a resume may change free parameters)."""
        from mlflow.entities import Param, RunTag

        info, known = self.run.info, self.client.get_run(self.run_id).data
        params = [Param(k, str(v)) for k, v in info["params"].items() if k not in known.params]
        changed = {f"resumed.{k}": str(v) for k, v in info["params"].items() if known.params.get(k, str(v)) != str(v)}
        tags = {**info["tags"], **changed, "reason": info.get("reason", ""), "attempts": str(info.get("attempts", 1))}
        tags["mlflow.note.content"] = f"Run folder: `reports/{info['name']}`. Open `index.html` below for the report."
        new = [RunTag(k, str(v)) for k, v in tags.items() if known.tags.get(k) != str(v)]
        if params or new:
            self.client.log_batch(self.run_id, params=params, tags=new)

    def copy_metrics(self) -> None:
        """Whole new lines of metrics.jsonl, with the time stamps of the record, so that a replay adds nothing."""
        from mlflow.entities import Metric

        path = self.run.folder / "metrics.jsonl"
        if not path.exists():
            return
        with path.open("rb") as stream:
            stream.seek(self.offset)
            content = stream.read()
        whole = content[: content.rfind(b"\n") + 1]
        points = [json.loads(line) for line in whole.splitlines()]
        metrics = [Metric(p["name"], p["value"], int(p["time"] * 1000), p["step"]) for p in points]
        for start in range(0, len(metrics), 500):
            self.client.log_batch(self.run_id, metrics=metrics[start : start + 500])
        self.offset += len(whole)

    def copy_files(self, final: bool) -> None:
        """Files that are new or changed: figures and notebooks as they come, checkpoints and the model at the end."""
        folder = self.run.folder
        paths = [p for part in COPIED for p in (folder / part).rglob("*") if p.is_file()]
        paths += [folder / name for name in FILES if (folder / name).exists() and (final or name != "metrics.jsonl")]
        paths += sorted(folder.glob("*.html")) + sorted(folder.glob("*.md"))
        if final:
            paths += [p for kind in ("last", "best") for p in sorted((folder / "checkpoints").glob(f"{kind}-*.pt"))[-1:]]
        for path in paths:
            if path.name.startswith(".") or path.suffix == ".tmp":
                continue
            name, stat = path.relative_to(folder).as_posix(), path.stat()
            mark = f"{stat.st_size}-{stat.st_mtime_ns}"
            if self.sent.get(name) != mark:
                parent = Path(name).parent.as_posix()
                self.client.log_artifact(self.run_id, str(path), None if parent == "." else parent)
                self.sent[name] = mark

    def copy(self, final: bool = False) -> None:
        self.copy_description()
        self.copy_metrics()
        self.copy_files(final)
        self._remember()

    def close(self, status: str) -> None:
        """The last look: package and register the model if the run finished, then set the status."""
        self.copy(final=True)
        if status == "FINISHED" and (self.run.folder / "generator.safetensors").exists():
            self.register()
        ended = self.run.info.get("ended") or time.time()
        self.client.set_terminated(self.run_id, status, int(ended * 1000))
        self.closed = ended
        self._remember()

    def register(self) -> None:
        """One version of the registered model for each generator that the run finished with (a resume may make more).
        The alias champion moves only to a better score by the same measure."""
        from mlflow.exceptions import MlflowException

        from fashion_gan.model import save_pyfunc

        try:
            self.client.create_registered_model(MODEL_NAME, description="Generators of Fashion-MNIST made by fashion-gan.")
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        mark = digest(self.run.folder / "generator.safetensors")
        versions = self.client.search_model_versions(f"name='{MODEL_NAME}' and run_id='{self.run_id}'")
        version = next((v for v in versions if v.tags.get("generator") == mark), None)
        scores = self.run.read_json("scores") or {}
        tags = {"run": self.run.name, "generator": mark, "measure": str(scores.get("measure")), "distance": str(scores.get("distance"))}
        if version is None:
            place = f"model-{mark[:12]}" if versions else "model"
            self.client.log_artifacts(self.run_id, str(save_pyfunc(self.run.folder)), place)
            version = self.client.create_model_version(MODEL_NAME, f"runs:/{self.run_id}/{place}", self.run_id, tags=tags)
        if self._is_better(tags):
            self.client.set_registered_model_alias(MODEL_NAME, "champion", version.version)

    def _is_better(self, tags: dict[str, str]) -> bool:
        from mlflow.exceptions import MlflowException

        if tags["distance"] == "None":
            return False  # nothing was measured
        try:
            champion = self.client.get_model_version_by_alias(MODEL_NAME, "champion")
        except MlflowException:
            return True  # there is none yet
        theirs, ours = champion.tags["measure"].rpartition("-"), tags["measure"].rpartition("-")
        if theirs[0] != ours[0]:
            return False  # another network looked: the scores do not compare
        if theirs[2] != ours[2]:
            return int(ours[2]) > int(theirs[2])  # the same network on more images is the better measure
        return float(tags["distance"]) < float(champion.tags["distance"])


def sync(run: Run, follow: bool = False, say: Callable[[str], None] = print, every: float = 2.0) -> None:
    """Bring MLflow level with the run folder; with `follow` keep it level until the run's lock is free. A store that
    does not answer is tried again while following, and never stops anything else."""
    with Lock(run.folder / "sync.lock") as lock:
        while not lock.acquire():  # the copier of an earlier attempt may still be closing
            if not follow:
                raise UserError(f"another process is copying run {run.name} already; look again in a minute")
            time.sleep(0.3)
        copier = None
        while True:
            running = not run.lock.is_free()
            try:
                copier = copier or Copier(run, make_client())
                if not running:
                    status = run.info["status"]  # one that still says RUNNING has vanished
                    copier.close("FAILED" if status == "RUNNING" else status)
                    return
                copier.copy()
            except Exception as error:  # any fault of a store or network
                reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
                if not (follow and running):
                    words = f"MLflow at {tracking_uri()} was not brought level ({reason}); later: fashion-gan sync {run.name}"
                    raise UserError(words) from None
                say(f"MLflow: {reason}; trying again")
            if not follow:
                return
            time.sleep(every)
