"""fashion-gan run"""

import shlex
import sys
from pathlib import Path

import pipeline
import remote
from command import add_overrides, guarded, parser_of
from copier import close_vanished
from profiles import read_profile

from fashion_gan.run import Run, check_name, find


def main() -> int:
    parser = parser_of("run")
    parser.add_argument(
        "profile", metavar="PARAMS", help="a YAML file, params/default.yaml for one"
    )
    parser.add_argument("--name", default="", help="name of the run (default: time and profile)")
    parser.add_argument(
        "--within",
        default="",
        metavar="RUN",
        help="a run that this one is a part of: MLflow shows it beneath that one",
    )
    add_overrides(parser)
    args = parser.parse_args()
    profile = read_profile(Path(args.profile), args.overrides)
    if args.name:
        check_name(args.name)
    remote.check(args.name)
    profile.params = pipeline.with_data(profile.params)
    pipeline.preflight(profile.params)
    close_vanished(print)
    tags = {"within": find(args.within, tracked=True).info["uuid"]} if args.within else {}
    command = shlex.join(
        ["fashion-gan", "run", args.profile, *(word for o in args.overrides for word in ("-p", o))]
    )
    made = Run.create(
        profile.params,
        name=args.name,
        profile=profile.name,
        notebooks=profile.notebooks,
        command=command,
        **tags,
    )
    print(f"run {made.name}: {', '.join(profile.notebooks)}", flush=True)
    return pipeline.run_all(made)


if __name__ == "__main__":
    sys.exit(guarded(main))
