"""`fashion-gan …`: thin. torch and mlflow are imported where they are used, so that --help is quick."""

import argparse
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from fashion_gan.errors import UserError, project_root

TOOLS = {  # what neither notebooks nor runs need: each is a script in scripts/, with its own --help
    "sample": "draw images from a generator into x.npz or x.png",
    "doctor": "say what is well on this machine and what is not, with what to do",
    "train-features": "train the shipped feature networks again",
    "lab": "JupyterLab on the notebooks",
}


def run(args: argparse.Namespace) -> int:
    from fashion_gan import params, pipeline
    from fashion_gan.run import Run, check_name, close_vanished

    profile = params.read_profile(Path(args.profile), args.overrides)
    if args.name:
        check_name(args.name)
    pipeline.preflight(profile.params)
    close_vanished(print)
    command = shlex.join(["fashion-gan", "run", args.profile, *(word for o in args.overrides for word in ("-p", o))])
    made = Run.create(profile.params, name=args.name, profile=profile.name, notebooks=profile.notebooks, command=command)
    print(f"run {made.name}: {', '.join(profile.notebooks)}", flush=True)
    return pipeline.run_all(made)


def resume(args: argparse.Namespace) -> int:
    from fashion_gan import pipeline
    from fashion_gan.params import read_overrides
    from fashion_gan.run import close_vanished, find

    close_vanished(lambda _: None)
    again = find(args.run, tracked=True)
    again.lock.acquire(f"run {again.name} is being worked on by another process; wait for it, or stop it")
    pipeline.prepare_resume(again, read_overrides(args.overrides), Path(args.checkpoint) if args.checkpoint else None)
    return pipeline.run_all(again)


def sync(args: argparse.Namespace) -> int:
    from fashion_gan import sync as copying
    from fashion_gan.run import all_runs, find

    if bool(args.run) == args.all:
        raise UserError("say one run to bring level, or --all: fashion-gan sync RUN")
    if args.to:
        os.environ["MLFLOW_TRACKING_URI"] = args.to
    for found in all_runs() if args.all else [find(args.run, tracked=True)]:
        copying.sync(found, follow=args.follow)
        print(f"run {found.name} is level; MLflow: {found.mlflow_url}")
    return 0


def data(args: argparse.Namespace) -> int:
    from fashion_gan.data import ensure_data

    folder = Path(args.folder) if args.folder else project_root() / "data"
    print(f"Fashion-MNIST is in {ensure_data(folder)}")
    return 0


def params(args: argparse.Namespace) -> int:
    from fashion_gan.params import table

    rows = [("parameter", "default", "allowed", "unit", "on resume", "what it is"), *table()]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row[:5], widths, strict=True)), row[5]]).rstrip())
    return 0


class OneLineParser(argparse.ArgumentParser):
    """Says in one line what is wrong with a command's words."""

    def error(self, message: str) -> None:
        self.exit(2, f"error: {message}; see: {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="fashion-gan", description="Train a GAN that designs clothes, measure it, keep every run.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(function: Callable, help: str) -> argparse.ArgumentParser:
        command = commands.add_parser(function.__name__.replace("_", "-"), help=help, description=help)
        command.set_defaults(function=function)
        return command

    def overrides(command: argparse.ArgumentParser) -> None:
        command.add_argument("-p", dest="overrides", action="append", default=[], metavar="NAME=VALUE", help="set a parameter")

    command = add(run, "run the notebooks of a profile in order, print where the report is")
    command.add_argument("profile", metavar="PARAMS", help="a YAML file, params/default.yaml for one")
    command.add_argument("--name", default="", help="name of the run (default: time and profile)")
    overrides(command)
    command = add(resume, "go on where a run stopped, or train a finished one for more epochs")
    command.add_argument("run", metavar="RUN", help="a name, a path or latest")
    command.add_argument("--checkpoint", default="", metavar="PATH", help="start from this checkpoint")
    overrides(command)
    command = add(sync, "bring MLflow level with a run folder")
    command.add_argument("run", metavar="RUN", nargs="?", default="", help="a name, a path or latest")
    command.add_argument("--all", action="store_true", help="every run in reports/, oldest first")
    command.add_argument("--to", default="", metavar="URI", help="another MLflow than the usual one; the folder alone is enough")
    command.add_argument("--follow", action="store_true", help="keep it level until the run ends")
    command = add(data, "get Fashion-MNIST and check it")
    command.add_argument("--folder", default="")
    add(params, "the table of all parameters")
    for name, help in TOOLS.items():
        commands.add_parser(name, help=help)
    return parser


def guarded(work: Callable[[], int]) -> int:
    """A command's exit code: what `work` returns; 2 for an error of the person's, said in one line; 130 when interrupted."""
    try:
        return work()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error}; nothing more was written", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def main() -> int:
    words = sys.argv[1:]
    if words and words[0] in TOOLS:
        script = Path(__file__).resolve().parents[1] / "scripts" / f"{words[0].replace('-', '_')}.py"
        os.execv(sys.executable, [sys.executable, str(script), *words[1:]])
    args = _parser().parse_args(words)
    return guarded(lambda: args.function(args))


if __name__ == "__main__":
    sys.exit(main())
