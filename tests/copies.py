"""A run folder and its copy in MLflow, compared field by field."""

import json
import os
import tempfile
from collections import Counter
from pathlib import Path
from unittest import mock

import mlflow

from fashion_gan.config.stores import tracking_uri
from fashion_gan.files import digest
from fashion_gan.report import pages
from fashion_gan.tracking import mlflow_sync
from fashion_gan.tracking.client import EXPERIMENT, make_client


def differences(run):
    """What differs in the copy that lies where the environment says; [] if nothing. Reading tries
    again where a busy server drops a connection; the program's own client does not, since its
    copier does."""
    with mock.patch.dict(os.environ, MLFLOW_HTTP_REQUEST_MAX_RETRIES="3"):
        return _differences(run, make_client())


def _differences(run, client):
    (experiment,) = [e for e in client.search_experiments() if e.name == EXPERIMENT]
    copies = client.search_runs(
        [experiment.experiment_id], f"tags.`{mlflow_sync.RUN_TAG}` = '{run.info.uuid}'"
    )
    if len(copies) != 1:
        return [f"{len(copies)} runs"]
    (copy,) = copies
    return [
        *fields(run, copy),
        *points(run, copy, client),
        *artifacts(run, copy),
        *versions(run, copy, client),
    ]


def fields(run, copy):
    info, data = run.info, copy.data
    same = {f"tag {key}": data.tags.get(key) == str(value) for key, value in info.tags.items()} | {
        "status": copy.info.status == info.status,
        "params": data.params == {key: str(value) for key, value in info.params.items()},
        "note": data.tags.get("mlflow.note.content") == pages.note(run),
    }
    return [name for name, holds in same.items() if not holds]


def points(run, copy, client):
    for path in (run.folder / name for name in mlflow_sync.POINTS):
        here = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        for metric in {point["name"] for point in here}:
            wanted = Counter(
                (p["step"], int(p["time"] * 1000), p["value"]) for p in here if p["name"] == metric
            )
            there = Counter(
                (m.step, m.timestamp, m.value)
                for m in client.get_metric_history(copy.info.run_id, metric)
            )
            if there != wanted:
                yield (
                    f"{metric}: {(wanted - there).total()} lost, {(there - wanted).total()} doubled"
                    f" or new, of {wanted.total()}"
                )


def artifacts(run, copy):
    with tempfile.TemporaryDirectory() as folder:
        where = {"run_id": copy.info.run_id, "dst_path": folder, "tracking_uri": tracking_uri()}
        got = Path(mlflow.artifacts.download_artifacts(**where))
        names = [path.relative_to(run.folder) for path in mlflow_sync.files_of(run, final=True)]
        return [
            f"artifact {n}"
            for n in names
            if not (got / n).exists() or digest(got / n) != digest(run.folder / n)
        ]


def versions(run, copy, client):
    made = run.folder / "generator.safetensors"
    if run.info.status != "FINISHED" or not made.exists():
        return []
    marks = [
        version.tags.get("generator")
        for version in client.search_model_versions(f"run_id = '{copy.info.run_id}'")
    ]
    return [] if marks == [digest(made)] else [f"model versions {marks}"]
