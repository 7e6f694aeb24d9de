"""Get Fashion-MNIST and check it."""

import sys
from pathlib import Path

from command import guarded, parser_of
from fetch import fetch

from fashion_gan.errors import project_root


def main() -> None:
    parser = parser_of("data")
    parser.add_argument("--folder", default="", help="where to (default: data in the project folder)")
    folder = parser.parse_args().folder
    print(f"Fashion-MNIST is in {fetch(Path(folder) if folder else project_root() / 'data')}")


if __name__ == "__main__":
    sys.exit(guarded(main))
