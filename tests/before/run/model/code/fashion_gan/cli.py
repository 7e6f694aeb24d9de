"""`fashion-gan COMMAND …`: each command is a script in scripts/, with its own --help. The package is what they and the
notebooks import. Nothing heavy is imported here, so that --help is quick."""

import argparse
import os
import sys
from pathlib import Path

COMMANDS = {
    "run": "run the notebooks of a profile in order, print where the report is",
    "resume": "go on where a run stopped, or train a finished one for more epochs",
    "sweep": "many runs over a space of parameters, on this machine or on a Ray cluster",
    "sample": "draw images from a generator into x.npz or x.png",
    "evaluate": "score any images: an .npz, a folder of PNGs, a run, a registered model",
    "compare": "set runs beside each other, seeds as spread",
    "champion": "who holds the alias champion, since when, by which figures",
    "sync": "bring MLflow level with a run folder",
    "doctor": "say what is well on this machine and what is not, with what to do",
    "params": "the table of all parameters",
    "data": "get Fashion-MNIST and check it; pack a data set of one's own",
    "train-features": "train the shipped feature networks again",
    "lab": "JupyterLab on the notebooks",
    "app": "the explorer as a page of its own, by Voilà",
}


class OneLineParser(argparse.ArgumentParser):
    """Says in one line what is wrong with a command's words."""

    def error(self, message: str) -> None:
        self.exit(2, f"error: {message}; see: {self.prog} --help\n")


def main() -> None:
    parser = OneLineParser(
        prog="fashion-gan",
        description="Train a GAN that designs clothes, measure it, keep every run.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, help in COMMANDS.items():
        commands.add_parser(name, help=help, add_help=False)
    name = parser.parse_known_args()[0].command
    script = Path(__file__).resolve().parents[1] / "scripts" / f"{name.replace('-', '_')}.py"
    os.execv(sys.executable, [sys.executable, str(script), *sys.argv[2:]])


if __name__ == "__main__":
    main()
