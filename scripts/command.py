"""What each command begins and ends with: its words, its exit code, errors in one line."""

import os
import sys
from collections.abc import Callable

from fashion_gan.cli import COMMANDS, OneLineParser
from fashion_gan.errors import UserError


def parser_of(name: str, **more: str) -> OneLineParser:
    """The parser of a command's own words."""
    return OneLineParser(prog=f"fashion-gan {name}", description=COMMANDS[name], **more)


def guarded(work: Callable[[], None]) -> int:
    """A command's exit code: what `work` returns, None for 0; 2 for an error of the person's, said
    in one line; 130 when interrupted."""
    try:
        return work() or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"error: {error}; nothing more was written", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def add_overrides(parser: OneLineParser) -> None:
    parser.add_argument(
        "-p",
        dest="overrides",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set a parameter",
    )
