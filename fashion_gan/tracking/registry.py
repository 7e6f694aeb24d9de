"""A run's generator as an MLflow model, its versions in the registry, who is champion."""

import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import fashion_gan
from fashion_gan.files import digest
from fashion_gan.models.serialization import DISCRIMINATOR, GENERATOR, load_generator
from fashion_gan.runs.run import Run
from fashion_gan.tracking.client import MODEL_NAME

# to load and run the packaged model
NEEDED = ("torch", "numpy", "safetensors", "pydantic", "filelock")


# the part of the package that pyfunc_model.py stands on
FILES = ("__init__.py", "device.py", "errors.py", "files.py", "rng.py", "text.py")
CODE = (*FILES, "config", "data", "distributed", "models")


def _copy_code(scratch: Path) -> Path:
    package = Path(fashion_gan.__file__).parent
    for name in CODE:
        for source in sorted([package / name, *(package / name).glob("*.py")]):
            if source.suffix == ".py":
                target = scratch / "fashion_gan" / source.relative_to(package)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
    return scratch / "fashion_gan"


def save_pyfunc(run: Run) -> Path:
    """Package a run's generator as an MLflow model in <run>/model: code, safetensors, no pickle,
    needs no fashion_gan. Its input is a table with `label` and `seed` (int64); its output one row
    an image, levels 0..255."""
    import numpy as np
    import pandas as pd
    from mlflow import pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    folder, versions = run.folder, run.info.tags
    temporary = folder / "model.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    generator = load_generator(folder / GENERATOR).generator
    colours, *sides = generator.shape
    sides += [colours] * (colours > 1)
    rows = [ColSpec("long", "label"), ColSpec("long", "seed")]
    images = [TensorSpec(np.dtype("uint8"), (-1, *sides))]
    with tempfile.TemporaryDirectory() as scratch:
        pyfunc.save_model(
            temporary,
            python_model=str(Path(__file__).with_name("pyfunc_model.py")),
            code_paths=[str(_copy_code(Path(scratch)))],
            artifacts={
                "generator": str(folder / GENERATOR),
                "discriminator": str(folder / DISCRIMINATOR),
            },
            pip_requirements=[f"{p}=={versions['version.' + p].split('+')[0]}" for p in NEEDED],
            signature=ModelSignature(Schema(rows), Schema(images)),
            input_example=pd.DataFrame({"label": [0, generator.class_count - 1], "seed": [0, 1]}),
        )
    for cache in temporary.rglob("__pycache__"):
        shutil.rmtree(cache)
    shutil.rmtree(folder / "model", ignore_errors=True)
    temporary.rename(folder / "model")
    return folder / "model"


COMPARED = ("distance", "recall", "label_accuracy")
FIGURES = ("measure", *COMPARED, "kernel_distance", "precision", "coverage", "spread", "warnings")


def register(client: Any, run: Run, run_id: str) -> None:
    """One version of the registered model for each generator that the run finished with (a resume
    may make more), with its figures as tags. Whether the alias champion moves to it, and why (not),
    is kept in its tags."""
    scores = run.read_json("scores") or {}
    figures = {name: scores.get(name) for name in FIGURES}
    version = _version(client, run, run_id, figures)
    champion = _champion(client)
    is_champion = champion and champion.version == version.version
    if is_champion or "champion" in version.tags:
        return  # it was decided before
    rival = json.loads(champion.tags.get("figures", "{}")) if champion else {}
    refusal = why_not_champion(figures, rival)
    if refusal:
        decision = f"refused: {refusal}"
    else:
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        decision = f"given at {now} for {figures['distance']:.4f}"
    if champion:
        tags = champion.tags
        decision += f", against version {champion.version} ({tags['run']}, {tags['distance']})"
    client.set_model_version_tag(MODEL_NAME, version.version, "champion", decision)
    if not refusal:
        client.set_registered_model_alias(MODEL_NAME, "champion", version.version)


def _version(client: Any, run: Run, run_id: str, figures: dict[str, Any]) -> Any:
    """The version of the run's generator, made where there is none yet."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(
            MODEL_NAME, description="Generators of Fashion-MNIST made by fashion-gan."
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    generator = digest(run.folder / GENERATOR)
    versions = client.search_model_versions(f"name='{MODEL_NAME}' and run_id='{run_id}'")
    for version in versions:
        if version.tags.get("generator") == generator:
            return version
    folder = f"model-{generator[:12]}" if versions else "model"
    client.log_artifacts(run_id, str(save_pyfunc(run)), folder)
    tags = {name: str(value) for name, value in figures.items()}
    tags |= {"run": run.name, "generator": generator, "figures": json.dumps(figures)}
    return client.create_model_version(MODEL_NAME, f"runs:/{run_id}/{folder}", run_id, tags=tags)


def _champion(client: Any) -> Any | None:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(MODEL_NAME, "champion")
    except MlflowException:
        return None  # there is none yet


def why_not_champion(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """The rule by which a model becomes champion, and "" where it does: a distance, by the same
    measure, that is better by more than the spread; recall and label accuracy that are not worse by
    more than theirs; no sign of memorising."""
    if ours.get("distance") is None:
        return "nothing was measured"
    if sign := next((words for words in ours["warnings"] or [] if "memorises" in words), ""):
        return sign
    if theirs.get("distance") is None:
        return ""
    (network, count), (their_network, their_count) = (
        figures["measure"].rpartition("-")[::2] for figures in (ours, theirs)
    )
    if network != their_network:
        return f"{network} looked, not {their_network}: the scores do not compare"
    if count != their_count:  # the same network on more images is the better measure
        return (
            ""
            if int(count) > int(their_count)
            else f"measured on {count} images, not {their_count}"
        )
    for name in COMPARED:
        if None in (ours.get(name), theirs.get(name)):
            continue
        spread = max((figures.get("spread") or {}).get(name, 0.0) for figures in (ours, theirs))
        gain = theirs[name] - ours[name] if name == "distance" else ours[name] - theirs[name]
        if gain <= (spread if name == "distance" else -spread - 1e-12):
            return f"{name} {ours[name]:.4f} against {theirs[name]:.4f}, spread {spread:.4f}"
    return ""
