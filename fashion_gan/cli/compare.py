"""fashion-gan compare"""

import shutil
from pathlib import Path
from typing import Any

import click

from fashion_gan.catalog.comparison import format_score
from fashion_gan.catalog.runs import find_run
from fashion_gan.cli import make_command, text_option
from fashion_gan.config.params import Params
from fashion_gan.config.settings import project_root
from fashion_gan.errors import UserError
from fashion_gan.pipeline.runner import run_one_notebook
from fashion_gan.runs.record import RunInfo
from fashion_gan.runs.run import Run


def show(compared: dict[str, Any]) -> None:
    """The figures as a table for people, a column a group."""
    figures, best = compared["figures"], compared["best"]
    groups = list(figures)
    for number, name in enumerate(groups, 1):
        print(f"{number}: {name}")
    print(f"{'':18}" + "".join(f"{number:>22}" for number in range(1, len(groups) + 1)))
    for key in figures[groups[0]]:
        cells = [format_score(figures[name][key], best.get(key) == name) for name in groups]
        # a star stands beside the figure, so that all figures end in one column
        aligned = [cell if cell.endswith("*") else f"{cell} " for cell in cells]
        print(f"{key:18}" + "".join(f"{cell:>22}" for cell in aligned))
    print("* better than every other one by more than the spread")


@make_command("compare")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@text_option("--html", "keep the notebook and its page in a new folder", "FOLDER")
def command(runs: tuple[str, ...], html: str) -> None:
    root = project_root()
    folder = Path(html).resolve() if html else root / "reports" / "scratch" / "compare"
    if html and folder.exists():
        raise UserError(f"--html {html} is there already; name a new folder")
    names = ",".join(str(find_run(name).folder) for name in runs)
    if len(runs) < 2:
        raise UserError("one run compares with nothing; name two or more")
    shutil.rmtree(folder, ignore_errors=True)
    params = Params(runs=names).model_dump()
    run = Run(folder)
    run.write(RunInfo(name=folder.name, params=params, status="SCRATCH"))
    if failure := run_one_notebook(run, "06_compare"):
        raise UserError(failure.removeprefix("UserError: "))
    show(run.read_json("compare"))
    if html:
        print(f"page: {folder / '06_compare.html'}")
