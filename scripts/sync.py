"""fashion-gan sync"""

import os
import sys

import mirror
from command import guarded, parser_of
from copier import sync

from fashion_gan.errors import UserError
from fashion_gan.run import all_runs, find


def main() -> None:
    parser = parser_of("sync")
    parser.add_argument(
        "run", metavar="RUN", nargs="?", default="", help="a name, a path or latest"
    )
    parser.add_argument("--all", action="store_true", help="every run in reports/, oldest first")
    parser.add_argument(
        "--to",
        default="",
        metavar="URI",
        help="another MLflow than the usual one; the folder alone is enough",
    )
    parser.add_argument("--follow", action="store_true", help="keep it level until the run ends")
    args = parser.parse_args()
    if bool(args.run) == args.all:
        raise UserError("say one run to bring level, or --all: fashion-gan sync RUN")
    if args.to:
        os.environ["MLFLOW_TRACKING_URI"] = args.to
    for found in all_runs() if args.all else [find(args.run, tracked=True)]:
        with mirror.mirrored(found, args.follow):
            sync(found, follow=args.follow)
        print(f"run {found.name} is level; MLflow: {found.mlflow_url}")


if __name__ == "__main__":
    sys.exit(guarded(main))
