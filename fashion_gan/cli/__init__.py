"""`fashion-gan COMMAND …`: a thin module a command, imported when it is called, so that --help is
quick."""

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from fashion_gan.cli.output import open_standard_streams, outlast_output
from fashion_gan.errors import UserError, exit_code_of
from fashion_gan.signals import interruptible

COMMANDS = {
    "init": "make a project folder: notebooks, profiles, the server's files",
    "run": "run the notebooks of a profile in order, print where the report is",
    "resume": "go on where a run stopped, or train a finished one for more epochs",
    "sweep": "many runs over a space of parameters, on this machine or on a Ray cluster",
    "sample": "draw images from a generator into x.npz or x.png",
    "evaluate": "score any images: an .npz, a folder of images, a run, a registered model",
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
# what these do is worth more than what they print
LONG = {"run", "resume", "sweep", "sync", "data", "train-features"}


class LazyGroup(click.Group):
    """Imports a command's module only when the command is called."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"fashion_gan.cli.{name.replace('-', '_')}")
        return module.command

    def resolve_command(self, context: click.Context, words: list[str]) -> tuple:
        if words[0] not in COMMANDS:
            raise UserError(f"no command {words[0]!r}; there are: {', '.join(COMMANDS)}")
        return super().resolve_command(context, words)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group("fashion-gan", cls=LazyGroup, no_args_is_help=False)
def group() -> None:
    """Train a GAN on Fashion-MNIST or your own images, measure it, keep every run."""


class Between(click.ParamType):
    """A number from `low` to `high`. Raises UserError for anything else."""

    def __init__(self, kind: type, low: float, high: float):
        self.kind, self.low, self.high, self.name = kind, low, high, kind.__name__

    def convert(self, value: Any, param: click.Parameter, context: click.Context) -> Any:
        try:
            number = self.kind(value)
        except ValueError:
            number = None
        if number is None or not self.low <= number <= self.high:
            option = param.opts[0]
            raise UserError(f"{option} is {value}; allowed: {self.low:,} to {self.high:,}")
        return number


def make_command(name: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Makes a function a command of COMMANDS."""
    return click.command(name, help=COMMANDS[name])


def text_option(name: str, help: str, metavar: str | None = None, default: str = "") -> Callable:
    return click.option(name, default=default, metavar=metavar, help=help)


def number_option(
    name: str, default: float, low: float, high: float, help: str | None = None
) -> Callable:
    """An option that holds a number of its default's type."""
    return click.option(name, type=Between(type(default), low, high), default=default, help=help)


overrides_option = click.option(
    "-p", "overrides", multiple=True, metavar="NAME=VALUE", help="set a parameter"
)


def run_command(words: Sequence[str]) -> int:
    """Runs a command by its words. Returns the exit code: what the command returns, None for 0; 2
    for an error of the person's, which is said in one line; 130 when interrupted."""
    return exit_code_of(lambda: _invoke(words))


def _invoke(words: Sequence[str]) -> int | None:
    try:
        with group.make_context("fashion-gan", list(words)) as context:
            return group.invoke(context)
    except click.exceptions.Exit as stop:  # --help
        return stop.exit_code
    except click.UsageError as error:
        program = error.ctx.command_path if error.ctx else "fashion-gan"
        raise UserError(f"{error.format_message()}; see: {program} --help") from None


def main() -> None:
    open_standard_streams()
    if not LONG.isdisjoint(sys.argv[1:2]):
        outlast_output()
    with interruptible():
        code = run_command(sys.argv[1:])
    sys.exit(code)
