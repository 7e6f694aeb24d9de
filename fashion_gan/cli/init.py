"""fashion-gan init"""

import shutil
from pathlib import Path

import click

from fashion_gan.cli import make_command
from fashion_gan.config.settings import PACKAGED
from fashion_gan.errors import UserError

COPIED = (
    ".env",
    "docker-compose.yml",
    "docker/*.sh",
    "docker/mlflow/*",
    "notebooks/*.ipynb",
    "params/*.yaml",
    "params/sweeps/*.yaml",
)


@make_command("init")
@click.argument("folder", metavar="DIR")
def command(folder: str) -> None:
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{folder} is there already; name a new folder, or an empty one")
    for pattern in COPIED:
        for source in filter(Path.is_file, sorted(PACKAGED.glob(pattern))):
            copy = target / source.relative_to(PACKAGED)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy)
    (target / "reports").mkdir(exist_ok=True)
    print(f"a project is in {folder}; next: cd {folder} && fashion-gan run params/smoke.yaml")
