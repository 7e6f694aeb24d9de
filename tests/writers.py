"""All that writes files of its own, at a tiny size, for tests/crashes.py."""

import json
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch
from crashes import Note, Writer

from fashion_gan.config.params import Params
from fashion_gan.data import pack, sources
from fashion_gan.data.datasets import Split
from fashion_gan.files import digest, read_json, write_json
from fashion_gan.report import pages
from fashion_gan.runs import points
from fashion_gan.runs.record import RunInfo
from fashion_gan.runs.run import Run
from fashion_gan.tracking import mlflow_sync, storage_sync
from fashion_gan.training import checkpoints, feature_networks


def run_in(folder: Path) -> Run:
    return Run(folder / "reports" / "r")


def a_run(folder: Path) -> None:
    """With some points, a figure and checkpoints."""
    run = run_in(folder)
    params = Params().model_dump()
    known = {"uuid": "u", "created": 1.0, "ended": 2.0, "params": params, "notebooks": ["02_train"]}
    run.write(RunInfo(name="r", status="FINISHED", tags={"command": "run"}, **known))
    run.log_metrics({"loss_d": 0.5, "loss_g": 1.0}, 1)
    for name in ("images/1.txt", "checkpoints/last-1.txt", "02_train.html"):
        (run.folder / name).parent.mkdir(exist_ok=True)
        (run.folder / name).write_text(name * 100)


# run.json


def update_record(folder: Path, note: Note) -> None:
    for images in (1, 2, 3):
        run_in(folder).update(images_seen=images)
        note(images)


def check_record(folder: Path, kept: list[str], again: bool) -> None:
    images = run_in(folder).info.images_seen or 0
    assert images == 3 if again else images >= max(map(int, kept), default=0)


# metrics.jsonl, system.jsonl


def log_metrics(folder: Path, note: Note) -> None:
    run = run_in(folder)
    for step in range(2, 6):
        try:
            run.log_metrics({"loss_d": 0.5, "loss_g": 1.0}, step)
            note(step)
        except OSError:  # it is tried again, as by what goes on in the same process
            run = run_in(folder)
            run.log_metrics({"loss_d": 0.5, "loss_g": 1.0}, step)
            note(step)


def check_metrics(folder: Path, kept: list[str], again: bool) -> None:
    lines = points.read(run_in(folder).folder / "metrics.jsonl")
    assert all(line.point for line in lines), "a damaged line"
    pairs = [(line.point["name"], line.point["step"]) for line in lines]
    assert len(set(pairs)) == len(pairs), "a point twice"
    steps = range(1, 6) if again else [1, *map(int, kept)]
    assert {(name, step) for name in ("loss_d", "loss_g") for step in steps} <= set(pairs)


def sample_system(folder: Path, note: Note) -> None:
    """As system_metrics.watch: what fails is left out."""
    path = run_in(folder).folder / "system.jsonl"
    begun = len(points.read(path))
    for step in range(begun, begun + 4):
        try:
            points.append(path, [{"name": "system/x", "step": step, "time": 1.0, "value": 1.0}])
            note(step)
        except OSError:
            pass


def check_system(folder: Path, kept: list[str], again: bool) -> None:
    lines = points.read(run_in(folder).folder / "system.jsonl")
    assert all(line.point for line in lines), "a damaged line"
    assert {line.point["step"] for line in lines} >= set(map(int, kept))


# Checkpoints


def save_checkpoints(folder: Path, note: Note) -> None:
    content = checkpoints.load_latest(folder)
    done = content["images"] if content else 0
    for images in range(done + 10, 50, 10):
        state = {"x": torch.full((100,), float(images))}
        checkpoints.save_checkpoint(folder, state, {}, images, 2, best=images == 20)
        note(images)


def check_checkpoints(folder: Path, kept: list[str], again: bool) -> None:
    damaged = []
    content = checkpoints.load_latest(folder, damaged.append)
    images = content["images"] if content else 0
    assert not damaged
    assert images >= max(map(int, kept), default=0)
    if images:
        assert torch.equal(content["state"]["x"], torch.full((100,), float(images)))
    if images >= 20:
        assert checkpoints.load_latest(folder, kind="best")["images"] == 20
    if again:
        assert images == 40
        # one too many, after a kill before the last was removed, goes at the next save
        assert len(list(folder.glob("last-*"))) in (2, 3)
        assert len(list(folder.glob("best-*"))) in (1, 2)
        assert not list(folder.glob("new*"))


# A packed data set


def pictures(folder: Path) -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (300, 16, 16), dtype=np.uint8)
    np.savez(folder / "few.npz", images=images, labels=np.arange(300) % 2)


def pack_pictures(folder: Path, note: Note) -> None:
    with mock.patch.object(sources, "BATCH", 100):
        pack.pack_dataset(str(folder / "few.npz"), folder, lambda _: None)


PACKED: list[dict] = []  # what the first one gave, where nothing had happened


def check_packed(folder: Path, kept: list[str], again: bool) -> None:
    for record in folder.glob("sets/*/dataset.json"):
        content = {name: digest(record.parent / name) for name in pack.FILES}
        PACKED.append(content)
        assert content == PACKED[0]
        assert sum(read_json(record)["counts"].values()) == 300
        return
    assert not again


# Feature networks


def train_networks(folder: Path, note: Note) -> None:
    """Networks of three weights, of which nothing is measured."""
    network = SimpleNamespace(state_dict=lambda: {"x": torch.ones(3)})
    split = Split(torch.zeros(2), torch.zeros(2), ("x",))
    features = (None, torch.zeros(2))
    with mock.patch.multiple(
        feature_networks,
        train_feature_network=lambda *_: network,
        extract_features=lambda *_: features,
        load_split=lambda *_: split,
        dataset_info=lambda _: SimpleNamespace(name="few"),
        compare_networks=lambda *_: {"spearman": 1.0},
        save_file=lambda tensors, path: torch.save(tensors, path),
    ):
        feature_networks.train_for(folder, lambda _: None)


def check_networks(folder: Path, kept: list[str], again: bool) -> None:
    networks = folder / "networks"
    is_whole = (networks / "agreement.json").exists()
    assert is_whole or not again
    if is_whole:
        assert read_json(networks / "agreement.json") == {"spearman": 1.0}
        for role, record in read_json(networks / "features.json").items():
            assert digest(networks / f"{role}.safetensors") == record["sha256"]


# The report


def write_report(folder: Path, note: Note) -> None:
    pages.write_report(run_in(folder))


def check_report(folder: Path, kept: list[str], again: bool) -> None:
    page = run_in(folder).folder / "index.html"
    assert page.exists() or not again
    if page.exists():
        assert page.read_text().rstrip().endswith("</html>")


# The mirror


def beside(folder: Path) -> Path:
    return folder.with_name(folder.name + "-beside")


def mirror(folder: Path, note: Note) -> None:
    with mock.patch.object(storage_sync, "HEARTBEAT", 0):
        storage_sync.Mirror(run_in(folder), storage_sync.RunStorage(str(folder / "share"))).close()


def a_mirrored_run(folder: Path) -> None:
    a_run(folder)
    (folder / "share").mkdir()


def check_mirror(folder: Path, kept: list[str], again: bool) -> None:
    """What lies there can be fetched, and is what is here."""
    if again:
        here = files_in(run_in(folder).folder)
        there = files_in(folder / "share" / "r")
        assert {name: there.get(name) for name in here} == here


def files_in(folder: Path) -> dict[str, str]:
    mirrored = [path for path in folder.rglob("*") if path.is_file()]
    names = storage_sync.fetch.in_order([p.relative_to(folder).as_posix() for p in mirrored])
    return {name: digest(folder / name) for name in names}


# MLflow's copy


class Store:
    """MLflow in one file, which no crash befalls: what was sent before one has arrived."""

    def __init__(self, folder: Path):
        self.path, self.run = beside(folder), SimpleNamespace(run_id="1")

    def content(self) -> dict:
        return json.loads(self.path.read_text()) if self.path.exists() else {"points": []}

    def put(self, values: dict) -> None:
        number = self.path.with_suffix(".part")
        number.write_text(json.dumps(values))
        number.rename(self.path)

    def search_runs(self, *_: object) -> list:
        return []

    def create_run(self, *_: object) -> SimpleNamespace:
        return SimpleNamespace(info=self.run)

    def log_batch(self, _: str, metrics: list) -> None:
        sent = [[m.key, m.step, m.timestamp, m.value] for m in metrics]
        old = self.content()
        # as MLflow's key has it, a point that is sent twice is there once
        self.put(old | {"points": old["points"] + [p for p in sent if p not in old["points"]]})

    def log_artifact(self, _: str, path: str, parent: str | None) -> None:
        self.put(self.content() | {f"{parent or '.'}/{Path(path).name}": digest(Path(path))})


def a_run_for_mlflow(folder: Path) -> None:
    a_run(folder)
    beside(folder).unlink(missing_ok=True)


def send_to_mlflow(folder: Path, note: Note) -> None:
    store = SimpleNamespace(experiment_id="1")
    run = run_in(folder)
    run.log_metrics({"loss_d": 0.25}, 2)
    with (
        mock.patch.object(mlflow_sync, "experiment", lambda _: store),
        mock.patch.object(mlflow_sync.Copier, "copy_description", lambda _: None),
    ):
        mlflow_sync.Copier(run, Store(folder)).copy()
        run.log_metrics({"loss_d": 0.125}, 3)
        mlflow_sync.Copier(run, Store(folder)).copy(final=True)


def check_mlflow(folder: Path, kept: list[str], again: bool) -> None:
    run, content = run_in(folder), Store(folder).content()
    pairs = [(name, step) for name, step, *_ in content["points"]]
    assert len(set(pairs)) == len(pairs), "a point twice"
    if again:
        assert pairs == [(p["name"], p["step"]) for p in run.metrics()]
        for path in mlflow_sync.files_of(run, True):
            parent = path.relative_to(run.folder).parent.as_posix()
            assert content[f"{parent}/{path.name}"] == digest(path)


def nothing(_: Path) -> None:
    """There is nothing to prepare."""


def packed_pictures(folder: Path) -> None:
    known = {"name": "few", "shape": [1, 16, 16], "classes": [], "digest": "x", "schema": 1}
    counts = dict.fromkeys(("train", "validation", "test"), 2)
    write_json(folder / "dataset.json", known | {"counts": counts, "source": "x"})


WRITERS = [
    Writer("run.json", a_run, update_record, check_record),
    Writer("metrics.jsonl", a_run, log_metrics, check_metrics),
    Writer("system.jsonl", a_run, sample_system, check_system),
    Writer("checkpoints", nothing, save_checkpoints, check_checkpoints),
    Writer("packing", pictures, pack_pictures, check_packed),
    Writer("feature networks", packed_pictures, train_networks, check_networks),
    Writer("report", a_run, write_report, check_report),
    Writer("mirror", a_mirrored_run, mirror, check_mirror),
    Writer("MLflow", a_run_for_mlflow, send_to_mlflow, check_mlflow),
]
