"""The project folder that commands work on, and its settings: .env, .env.local, the environment."""

import os
from pathlib import Path

from fashion_gan.errors import UserError

PACKAGED = Path(__file__).parents[1] / "project"  # the files that a project is made of


def find_project(start: Path | None = None) -> Path | None:
    """The project folder that `start` (default: the working folder) stands in, None where there is
    none. FASHION_GAN_ROOT, when set, counts instead."""
    first = Path(os.environ.get("FASHION_GAN_ROOT") or start or Path.cwd()).resolve()
    for folder in (first, *first.parents):
        if (folder / "notebooks" / "02_train.ipynb").is_file() and (folder / "params").is_dir():
            return folder
    return None


def project_root(start: Path | None = None) -> Path:
    """The project folder, see `find_project`. Raises UserError where there is none."""
    if folder := find_project(start):
        return folder
    first = os.environ.get("FASHION_GAN_ROOT") or start or Path.cwd()
    raise UserError(
        f"{first} is in no fashion-gan project; change into one (it holds notebooks/ and params/),"
        " or make one: fashion-gan init DIR"
    )


def working_root() -> Path:
    """The project folder, outside of one the working folder: for what needs no project."""
    return find_project() or Path.cwd()


def read_settings(only_files: bool = False) -> dict[str, str]:
    """The environment over .env.local over .env, both in the project folder; what is empty is left
    out."""
    from dotenv import dotenv_values

    values: dict[str, str | None] = {}
    if project := find_project():
        values |= dotenv_values(project / ".env")
        values |= dotenv_values(project / ".env.local")
    if not only_files:
        values |= os.environ
    return {name: value.strip() for name, value in values.items() if value and value.strip()}
