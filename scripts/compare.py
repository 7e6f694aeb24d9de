"""fashion-gan compare"""

import os
import shutil
import sys
from pathlib import Path

import pipeline
from command import guarded, parser_of
from progress import Progress

from fashion_gan.comparison import told
from fashion_gan.errors import UserError, project_root
from fashion_gan.files import write_json
from fashion_gan.params import Params
from fashion_gan.run import RUN_VARIABLE, Run, find


def show(compared: dict) -> None:
    groups = list(compared["figures"])
    for i, name in enumerate(groups):
        print(f"{i + 1}: {name}")
    print(f"{'':18}" + "".join(f"{i + 1:>22}" for i in range(len(groups))))
    for key in compared["figures"][groups[0]]:
        cells = [
            told(compared["figures"][name][key], compared["best"].get(key) == name)
            for name in groups
        ]
        print(
            f"{key:18}"
            + "".join(f"{cell if cell.endswith('*') else cell + ' ':>22}" for cell in cells)
        )
    print("* better than every other one by more than the spread")


def main() -> None:
    parser = parser_of("compare")
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="+",
        help="names or paths; runs that differ in the seed alone are taken together",
    )
    parser.add_argument(
        "--html",
        default="",
        metavar="FOLDER",
        help="keep the notebook and its page in a new folder",
    )
    args = parser.parse_args()
    folder = (
        Path(args.html).resolve()
        if args.html
        else project_root() / "reports" / "scratch" / "compare"
    )
    if args.html and folder.exists():
        raise UserError(f"--html {args.html} is there already; name a new folder")
    names = ",".join(str(find(name).folder) for name in args.runs)
    if len(args.runs) < 2:
        raise UserError("one run compares with nothing; name two or more")
    shutil.rmtree(folder, ignore_errors=True)
    write_json(
        folder / "run.json",
        {
            "name": folder.name,
            "params": Params(runs=names).model_dump(),
            "status": "SCRATCH",
            "tags": {},
        },
    )
    run, os.environ[RUN_VARIABLE] = Run(folder), str(folder)
    pipeline.register_engine()
    with Progress(run, sys.stderr) as progress:
        failure = pipeline.run_notebook(
            run, project_root() / "notebooks" / "06_compare.ipynb", progress
        )
    if failure:
        raise UserError(failure.removeprefix("UserError: "))
    show(run.read_json("compare"))
    if args.html:
        print(f"page: {folder / '06_compare.html'}")


if __name__ == "__main__":
    sys.exit(guarded(main))
