"""fashion-gan sweep: many runs over a space of parameters. Ray Tune places them, stops the poor
ones early, tries the dead ones again; each is an ordinary run (see trial.py)."""

import contextlib
import logging
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import mirror
import numpy as np
import pipeline
import remote
from cluster import check_room, connect
from command import guarded, parser_of
from copier import close_vanished
from profiles import Profile, read_profile, read_yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fashion_gan.comparison import trials
from fashion_gan.errors import UserError, project_root
from fashion_gan.run import Run, check_name

METRIC = "validation_distance"  # by the dev network, which makes the choices
PATIENCE = 120  # seconds for a run to write its checkpoint and its report
STOPPING = "stopping"  # a file in the sweep's folder: its trials close their runs
Values = Annotated[list[str], Field(min_length=1)]
Dimension = Annotated[
    dict[Literal["choice", "range", "log", "grid"], Values], Field(min_length=1, max_length=1)
]


class Sweep(BaseModel):
    """What a sweep's file says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str  # a profile: the first point, and what holds where the space says nothing
    set: dict[str, str] = {}  # for all trials, the first point too
    space: Annotated[dict[str, Dimension], Field(min_length=1)]
    # points drawn, each with every cell of the grid; fewer where the space has fewer
    trials: int = Field(10, ge=1, le=100_000)
    seeds: list[int] = Field([0, 1], min_length=1)  # each point is trained with each of them
    metric: Literal["validation_distance"] = METRIC
    scheduler: Literal["asha", "none"] = "asha"
    grace: int = Field(1, ge=1)  # epochs before a trial can be stopped
    # of the trials that reach a mark one in so many goes on; marks are so many times further on
    factor: float = Field(3, gt=1)
    cores: int = Field(1, ge=1)  # a trial
    gpus: float = Field(0, ge=0)  # a trial; 0.5: two share one
    retries: int = Field(2, ge=0, le=100)  # of a trial that died, from its last checkpoint
    draw_seed: int = Field(0, ge=0)  # the points follow from it

    @property
    def overrides(self) -> list[str]:
        return [f"{name}={value}" for name, value in self.set.items()]


def read(path: Path) -> Sweep:
    """A sweep's file. Raises UserError, in one line, for anything that is not right, values of the
    space included."""
    try:
        sweep = Sweep(**read_yaml(path))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise UserError(
            f"{path}: {where}: {problem['msg'][0].lower()}{problem['msg'][1:]}"
        ) from None
    if "workers" in sweep.space or base_of(sweep).params.workers > 1:
        raise UserError(f"{path}: a trial trains alone; leave workers out, and say cores")
    for name, dimension in sweep.space.items():
        if name == "seed" or name in sweep.set:
            raise UserError(
                f"{path}: {name} is in the space and in {'seeds' if name == 'seed' else 'set'};"
                " keep one"
            )
        for kind, texts in dimension.items():
            values = [value_of(sweep, name, text) for text in texts]
            rising = (
                len(values) == 2
                and all(type(value) in (int, float) for value in values)
                and values[0] < values[1]
            )
            if kind in ("range", "log") and not (rising and (kind == "range" or values[0] > 0)):
                raise UserError(
                    f"{path}: {name}: {kind} must be two rising"
                    f" numbers{', over 0' if kind == 'log' else ''}: [low, high]"
                )
    return sweep


def base_of(sweep: Sweep, *more: str) -> Profile:
    return read_profile(Path(sweep.base), [*sweep.overrides, *more])


def value_of(sweep: Sweep, name: str, text: str) -> Any:
    """A parameter's value from its text, in its own type and within its bounds."""
    return getattr(base_of(sweep, f"{name}={text}").params, name)


def space_of(sweep: Sweep) -> dict[str, Any]:
    """The space in Ray Tune's terms."""
    from ray import tune

    numbers = {
        ("range", float): tune.uniform,
        ("range", int): tune.randint,
        ("log", float): tune.loguniform,
        ("log", int): tune.lograndint,
    }
    found = {"seed": tune.grid_search(sweep.seeds)}
    for name, dimension in sweep.space.items():
        ((kind, texts),) = dimension.items()
        values = [value_of(sweep, name, text) for text in texts]
        if kind in ("choice", "grid"):
            found[name] = (tune.choice if kind == "choice" else tune.grid_search)(values)
        else:
            low, high = values
            found[name] = numbers[kind, type(low)](low, high + isinstance(high, int))
    return found


def points_of(sweep: Sweep, base: Profile) -> list[dict[str, Any]]:
    """The base's own point, then those drawn, none twice: of a small space fewer than `trials`."""
    from ray.tune.search.sample import Domain

    draws = np.random.RandomState(sweep.draw_seed)
    domains = {
        name: domain for name, domain in space_of(sweep).items() if isinstance(domain, Domain)
    }
    points = [{name: getattr(base.params, name) for name in sweep.space}]
    # a drawn point has all cells of the grid
    known = {tuple(points[0].values())} if domains.keys() == sweep.space.keys() else set()
    for _ in range(20 * sweep.trials):
        if len(points) > sweep.trials:
            break
        point = {name: domain.sample(random_state=draws) for name, domain in domains.items()}
        if tuple(point.values()) not in known:
            known.add(tuple(point.values()))
            points.append(point)
    return points


def tuner_of(run: Run, sweep: Sweep, say: Callable[[str], None]) -> Any:
    """The sweep as Ray Tune knows it, new or as far as it had come."""
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
    from ray.tune.search.basic_variant import BasicVariantGenerator
    from trial import Told, Trial

    base = base_of(sweep)
    about = {
        "root": str(project_root()),
        "sweep": run.name,
        "base": sweep.base,
        "overrides": sweep.overrides,
        "metric": sweep.metric,
    }
    trial = tune.with_resources(
        tune.with_parameters(Trial, about=about), {"cpu": sweep.cores, "gpu": sweep.gpus}
    )
    kept = run.folder / "ray"
    if tune.Tuner.can_restore(str(kept)):
        return tune.Tuner.restore(str(kept), trial, resume_unfinished=True, resume_errored=True)
    marks = {
        "time_attr": "epoch",
        "max_t": base.params.epochs + 1,
        "grace_period": sweep.grace,
        "reduction_factor": sweep.factor,
    }
    points = points_of(sweep, base)
    search = BasicVariantGenerator(points, constant_grid_search=True, random_state=sweep.draw_seed)
    return tune.Tuner(
        trial,
        param_space=space_of(sweep),
        tune_config=tune.TuneConfig(
            metric=sweep.metric,
            mode="min",
            num_samples=len(points),
            search_alg=search,
            scheduler=ASHAScheduler(**marks) if sweep.scheduler == "asha" else FIFOScheduler(),
        ),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str(run.folder),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=sweep.retries),
            callbacks=[Told(Run(run.folder), sweep.metric, say)],
        ),
    )


@contextlib.contextmanager
def interruptions(run: Run) -> Iterator[list[bool]]:
    """Ctrl-C and SIGTERM: the trials close their runs, and Ray Tune ends, by the signal that it
    keeps for that (of its own handler of Ctrl-C nothing is left to see afterwards). Gives a list
    that is filled then."""
    asked, flag = [], run.folder / STOPPING
    flag.unlink(missing_ok=True)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # until Ray Tune listens to it

    def stop(*_: object) -> None:
        asked.append(True)
        flag.touch()
        os.kill(os.getpid(), signal.SIGUSR1)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def go_on(run: Run, sweep: Sweep, say: Callable[[str], None] = print) -> int:
    """Run the trials that have not ended yet, then the sweep's own notebook. Returns the exit
    code."""
    import ray

    mirror.share(run, say)
    run.follow()
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what dies is told in a line
    with interruptions(run) as asked:
        tuner = tuner_of(run, sweep, say)
        found = None if asked else tuner.fit()
        ray.shutdown()
        # Ray gives what it stops at its end 10 s; a run takes longer to close
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and not all(trial.lock.is_free() for trial in trials(run)):
            time.sleep(0.5)
    if asked:
        return pipeline.close(run, "KILLED", "interrupted", say)
    mirror.gather(run, say)
    if found.num_errors:
        say(
            f"{found.num_errors} of {len(found)} trials failed; try them again: fashion-gan resume"
            f" {run.name}"
        )
    return pipeline.run_all(run, say)


def ready(sweep: Sweep, address: str = "") -> None:
    """Connect to a cluster that has room for a trial. Raises UserError where there is no Ray, no
    cluster or no room."""
    ray = connect("a sweep", address)
    check_room(ray, "a trial takes", 1, sweep.cores, sweep.gpus)


def main() -> int:
    parser = parser_of("sweep")
    parser.add_argument(
        "file", metavar="FILE", help="what to try: a YAML file, params/sweeps/width.yaml for one"
    )
    parser.add_argument("--name", default="", help="name of the sweep (default: time and file)")
    parser.add_argument(
        "--address",
        default="",
        help="a Ray cluster, host:port (default: RAY_ADDRESS, else this machine alone)",
    )
    args = parser.parse_args()
    path = Path(args.file)
    sweep = read(path)
    base = base_of(sweep)
    if args.name:
        check_name(args.name)
    remote.check(args.name)
    pipeline.preflight(pipeline.with_data(base.params))
    ready(sweep, args.address)
    close_vanished(print)
    command = shlex.join(["fashion-gan", "sweep", args.file])
    run = Run.create(
        base.params, name=args.name, profile=path.stem, notebooks=("07_sweep",), command=command
    )
    run.log_json(sweep.model_dump(), "sweep")
    print(
        f"sweep {run.name}: {len(sweep.seeds)} seeds of each point; {base.name} as it is comes"
        " first",
        flush=True,
    )
    return go_on(run, sweep)


if __name__ == "__main__":
    sys.exit(guarded(main))
