"""Find a generator by run, file or registry name."""

from pathlib import Path

from fashion_gan.catalog.runs import find_run
from fashion_gan.config.settings import PACKAGED
from fashion_gan.errors import UserError
from fashion_gan.models.serialization import GENERATOR, Model, load_generator
from fashion_gan.runs.run import newest_finished

SHIPPED = PACKAGED / "showcase" / GENERATOR


def find_generator(where: str, own: Path | None = None) -> Model:
    """A generator by `where`: a run's name or path, a file, models:/fashion-gan@champion, or
    "auto". "auto" is the folder `own` if it holds one, else the newest finished run, else the one
    shipped with the project. Raises UserError where there is none."""
    if where == "auto":
        return _find_auto(own)
    if where.startswith("models:/"):
        from fashion_gan.tracking.client import download_model

        return load_generator(download_model(where, GENERATOR), source=where)
    path = Path(where)
    if path.is_file():
        return load_generator(path)
    if path.is_dir() and (path / GENERATOR).exists():
        return load_generator(path / GENERATOR)
    try:
        folder = find_run(where).folder
    except UserError as error:
        raise UserError(
            f"no model {where!r}: no file, no models:/fashion-gan@champion, and {error}; auto takes"
            " what is there"
        ) from None
    if not (folder / GENERATOR).exists():
        raise UserError(
            f"run {folder.name} has no generator yet; go on with: fashion-gan resume {folder.name}"
        )
    return load_generator(folder / GENERATOR, source=f"run {folder.name}")


def _find_auto(own: Path | None) -> Model:
    if own and (own / GENERATOR).exists():
        return load_generator(own / GENERATOR, source=f"this run, {own.name}")
    if newest := newest_finished():
        source = f"the newest finished run, {newest.name}"
        return load_generator(newest.folder / GENERATOR, source=source)
    return load_generator(SHIPPED, source="the generator shipped with the project")
