"""fashion-gan resume"""

import sys
from pathlib import Path

from fashion_gan import pipeline
from fashion_gan.cli import guarded, parser_of
from fashion_gan.params import read_overrides
from fashion_gan.run import close_vanished, find


def main() -> int:
    parser = parser_of("resume")
    parser.add_argument("run", metavar="RUN", help="a name, a path or latest")
    parser.add_argument("--checkpoint", default="", metavar="PATH", help="start from this checkpoint")
    parser.add_overrides()
    args = parser.parse_args()
    close_vanished(lambda _: None)
    again = find(args.run, tracked=True)
    again.lock.acquire(f"run {again.name} is being worked on by another process; wait for it, or stop it")
    pipeline.prepare_resume(again, read_overrides(args.overrides), Path(args.checkpoint) if args.checkpoint else None)
    return pipeline.run_all(again)


if __name__ == "__main__":
    sys.exit(guarded(main))
