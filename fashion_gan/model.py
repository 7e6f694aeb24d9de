"""Save and load a generator; find one by run, file or registry name; its MLflow packaging."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from fashion_gan import run as runs
from fashion_gan.errors import UserError, project_root
from fashion_gan.files import digest, replacing
from fashion_gan.networks import Discriminator, Generator

FILE, DISCRIMINATOR = "generator.safetensors", "discriminator.safetensors"
SHIPPED = Path("reports") / "showcase" / FILE
NEEDED = ("torch", "numpy", "safetensors", "pydantic", "pyyaml")  # to load and run the packaged model
SHAPE = ("latent_dim", "channels", "conditional", "refine")


@dataclass(frozen=True)
class Model:
    """A loaded generator: the network in evaluation mode, where it came from, and the parameters it was trained with."""

    generator: Generator
    source: str
    folder: Path  # of the run it came from: its discriminator, curves and pictures lie there
    params: dict[str, Any]
    digest: str


def save_network(path: Path, network: nn.Module, params: dict[str, Any], half: bool = False) -> None:
    """Write weights and parameters as safetensors. `half` stores float16: half the size, at most a grey level off."""
    from safetensors.torch import save_file

    tensors = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    if half:
        tensors = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
    with replacing(path) as temporary:
        # One entry: safetensors writes several in a random order, and equal networks shall have equal digests.
        save_file(tensors, temporary, metadata={"params": json.dumps({"schema": 1} | params, sort_keys=True)})


def _read_network(path: Path, make: Callable[[dict[str, Any]], nn.Module]) -> tuple[nn.Module, dict[str, Any]]:
    """The network that save_network wrote, and its parameters. Raises UserError where the file is none, or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stored:
            params = json.loads((stored.metadata() or {})["params"])
            params.pop("schema", None)
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - it is no dict
        network = make(params)
        network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()})
    except (SafetensorError, KeyError, ValueError, RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0][:120]
        raise UserError(f"{path} is no model of fashion-gan, or it is damaged ({reason}); give a run, or a {FILE}") from None
    return network.eval().requires_grad_(False), params


def load_generator(path: Path, source: str = "") -> Model:
    """Read a generator. Raises UserError where the file is no model, or damaged."""
    generator, params = _read_network(path, lambda p: Generator(**{name: p[name] for name in SHAPE}))
    return Model(generator, source or str(path), path.parent, params, digest(path))


def load_discriminator(folder: Path) -> Discriminator:
    """The discriminator beside a generator. Raises UserError where there is none."""
    path = folder / DISCRIMINATOR
    if not path.exists():
        raise UserError(f"there is no {DISCRIMINATOR} in {folder}; give a run, or a registered model, which keep both")
    return _read_network(path, lambda p: Discriminator(p["channels"], p["conditional"], p["d_norm"]))[0]


def find(where: str, own: Path | None = None) -> Model:
    """A generator by `where`: a run's name or path, a file, models:/fashion-gan@champion, or "auto". "auto" is the
    folder `own` if it holds one, else the newest finished run, else the one shipped with the project. Raises
    UserError where there is none."""
    if where == "auto":
        return _find_auto(own)
    if where.startswith("models:/"):
        return load_generator(_download(where), source=where)
    path = Path(where)
    if path.is_file():
        return load_generator(path)
    if path.is_dir() and (path / FILE).exists():
        return load_generator(path / FILE)
    try:
        folder = runs.find(where).folder
    except UserError:
        raise UserError(
            f"no model {where!r}: neither a run, nor a file, nor models:/fashion-gan@champion; fashion-gan sample --model auto takes what is there"
        ) from None
    if not (folder / FILE).exists():
        raise UserError(f"run {folder.name} has no generator yet; go on with: fashion-gan resume {folder.name}")
    return load_generator(folder / FILE, source=f"run {folder.name}")


def _find_auto(own: Path | None) -> Model:
    if own and (own / FILE).exists():
        return load_generator(own / FILE, source=f"this run, {own.name}")
    newest = runs.newest_finished()
    if newest:
        return load_generator(newest.folder / FILE, source=f"the newest finished run, {newest.name}")
    return load_generator(project_root() / SHIPPED, source="the generator shipped with the project")


def _download(uri: str) -> Path:
    """The generator file of a registered model, from MLflow."""
    from fashion_gan import store

    mlflow = store.import_mlflow()
    try:
        store.check_there()
        folder = Path(mlflow.artifacts.download_artifacts(uri, tracking_uri=store.tracking_uri()))
        return next(folder.rglob(FILE))
    except (mlflow.exceptions.MlflowException, StopIteration, OSError) as error:
        raise UserError(
            f"no model {uri} in MLflow at {store.shown_uri()} ({store.first_line(error)}); models are named models:/fashion-gan@champion or models:/fashion-gan/1"
        ) from None


def save_pyfunc(folder: Path) -> Path:
    """Package a run's generator as an MLflow model in <run>/model: code, safetensors, no pickle, needs no fashion_gan.
    Its input is a table with `label` and `seed` (int64); its output one row an image, 784 grey levels 0..255."""
    import shutil

    import numpy as np
    import pandas as pd
    from mlflow import pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    temporary, package = folder / "model.tmp", Path(__file__).parent
    shutil.rmtree(temporary, ignore_errors=True)
    rows, images = [ColSpec("long", "label"), ColSpec("long", "seed")], [TensorSpec(np.dtype("uint8"), (-1, 28, 28))]
    versions = runs.read_json(folder / "run.json")["tags"]
    pyfunc.save_model(
        temporary,
        python_model=str(package / "served.py"),
        code_paths=[str(package)],
        artifacts={"generator": str(folder / FILE), "discriminator": str(folder / DISCRIMINATOR)},
        pip_requirements=[f"{p}=={versions['version.' + p].split('+')[0]}" for p in NEEDED],
        signature=ModelSignature(Schema(rows), Schema(images)),
        input_example=pd.DataFrame({"label": [0, 9], "seed": [0, 1]}),
    )
    for cache in temporary.rglob("__pycache__"):
        shutil.rmtree(cache)
    shutil.rmtree(folder / "model", ignore_errors=True)
    temporary.rename(folder / "model")
    return folder / "model"


def register(client: Any, run: runs.Run, run_id: str) -> None:
    """One version of the registered model for each generator that the run finished with (a resume may make more), with its
    figures as tags. Whether the alias champion moves to it, and why (not), is kept in its tags."""
    from mlflow.exceptions import MlflowException

    from fashion_gan.store import MODEL_NAME

    try:
        client.create_registered_model(MODEL_NAME, description="Generators of Fashion-MNIST made by fashion-gan.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    mark, scores = digest(run.folder / FILE), run.read_json("scores") or {}
    versions = client.search_model_versions(f"name='{MODEL_NAME}' and run_id='{run_id}'")
    version = next((v for v in versions if v.tags.get("generator") == mark), None)
    figures = {name: scores.get(name) for name in ("measure", *COMPARED, "kernel_distance", "precision", "coverage", "spread", "warnings")}
    tags = {name: str(value) for name, value in figures.items()} | {"run": run.name, "generator": mark, "figures": json.dumps(figures)}
    if version is None:
        place = f"model-{mark[:12]}" if versions else "model"
        client.log_artifacts(run_id, str(save_pyfunc(run.folder)), place)
        version = client.create_model_version(MODEL_NAME, f"runs:/{run_id}/{place}", run_id, tags=tags)
    try:
        champion = client.get_model_version_by_alias(MODEL_NAME, "champion")
    except MlflowException:
        champion = None  # there is none yet
    if (champion and champion.version == version.version) or "champion" in version.tags:
        return  # it was decided before
    refusal = why_not_champion(figures, json.loads(champion.tags.get("figures", "{}")) if champion else {})
    words = f"refused: {refusal}" if refusal else f"given at {time.strftime('%Y-%m-%d %H:%M:%S')} for {figures['distance']:.4f}"
    against = f", against version {champion.version} ({champion.tags['run']}, {champion.tags['distance']})" if champion else ""
    client.set_model_version_tag(MODEL_NAME, version.version, "champion", words + against)
    if not refusal:
        client.set_registered_model_alias(MODEL_NAME, "champion", version.version)


COMPARED = ("distance", "recall", "label_accuracy")


def why_not_champion(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """The rule by which a model becomes champion, and "" where it does: a distance, by the same measure, that is better by
    more than the spread; recall and label accuracy that are not worse by more than theirs; no sign of memorising."""
    if ours.get("distance") is None:
        return "nothing was measured"
    if sign := next((words for words in ours["warnings"] or [] if "memorises" in words), ""):
        return sign
    if theirs.get("distance") is None:
        return ""
    (network, count), (their_network, their_count) = (figures["measure"].rpartition("-")[::2] for figures in (ours, theirs))
    if network != their_network:
        return f"{network} looked, not {their_network}: the scores do not compare"
    if count != their_count:  # the same network on more images is the better measure
        return "" if int(count) > int(their_count) else f"measured on {count} images, not {their_count}"
    for name in COMPARED:
        if None in (ours.get(name), theirs.get(name)):
            continue
        spread = max((figures.get("spread") or {}).get(name, 0.0) for figures in (ours, theirs))
        gain = theirs[name] - ours[name] if name == "distance" else ours[name] - theirs[name]
        if gain <= (spread if name == "distance" else -spread - 1e-12):
            return f"{name} {ours[name]:.4f} against {theirs[name]:.4f}, spread {spread:.4f}"
    return ""
