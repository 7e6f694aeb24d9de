"""Set a run up to go on."""

import platform
from pathlib import Path

from fashion_gan.config.params import Params
from fashion_gan.config.profiles import with_changes
from fashion_gan.config.settings import project_root
from fashion_gan.data.datasets import dataset_fingerprints, dataset_info
from fashion_gan.errors import UserError
from fashion_gan.pipeline.preflight import preflight
from fashion_gan.runs.provenance import provenance
from fashion_gan.runs.run import Run
from fashion_gan.training.checkpoints import assert_resumable, load_checkpoint, rewind


def prepare(run: Run, changes: dict[str, str], path: Path | None) -> None:
    """Set a run up to go on: with changed free parameters, and from the checkpoint `path` if one is
    given. Raises UserError, changing nothing, where the run has nothing left to do or a frozen
    parameter would change."""
    info = run.info
    path = path or (Path(changes["checkpoint"]) if changes.get("checkpoint") else None)
    params = _changed_params(run, changes, path)
    assert_resumable(info.params, params.model_dump())
    _check_notebooks(run)
    trains = "02_train" in info.notebooks
    goes_on = bool(path) or (trains and params.epochs > (info.epochs_done or params.epochs))
    if info.status == "FINISHED" and not goes_on:
        raise UserError(
            f"run {run.name} is finished; say more epochs: fashion-gan resume {run.name} -p"
            f" epochs={params.epochs + 10}"
        )
    datasets = dataset_fingerprints(project_root() / params.data_dir, params.subset)
    if info.datasets != datasets and (info.datasets or Path(params.data_dir).is_absolute()):
        raise UserError(
            f"what lies in data_dir {params.data_dir} is not what run {run.name} was trained on;"
            " leave -p data_dir out, or begin a new run"
        )
    preflight(params)
    if path:
        assert_resumable(load_checkpoint(path)["params"], params.model_dump())
        rewind(run.folder / "checkpoints", path)
    options = [f"-p {name}={value}" for name, value in changes.items()]
    command = " ".join([info.tags.get("command", f"fashion-gan resume {run.name}"), *options])
    run.update(
        status="RUNNING",
        reason="",
        ended=None,
        params=params.model_dump(),
        # what follows the training is made again
        done=[name for name in info.done if not goes_on or name < "02_train"],
        tags=info.tags | provenance(project_root(), info.profile, info.notebooks, command),
        host=platform.node(),
        attempts=info.attempts + 1,
    )


def _check_notebooks(run: Run) -> None:
    folder = project_root() / "notebooks"
    missing = [name for name in run.info.notebooks if not (folder / f"{name}.ipynb").is_file()]
    if missing:
        names = ", ".join(sorted(path.stem for path in folder.glob("*.ipynb")))
        raise UserError(
            f"run {run.name} goes on with the notebooks {', '.join(missing)}, which are not in"
            f" {folder}; there are: {names}"
        )


def _changed_params(run: Run, changes: dict[str, str], path: Path | None) -> Params:
    values = {name: str(value) for name, value in run.info.params.items()}
    if path or any((run.folder / "checkpoints").glob("last-*")):
        values["checkpoint"] = ""  # the run's own last one, which `path` becomes
    changes = {name: value for name, value in changes.items() if name != "checkpoint"}
    params = Params.read(with_changes(values, changes))
    return params.with_epochs(dataset_info(project_root() / params.data_dir).counts["train"])
