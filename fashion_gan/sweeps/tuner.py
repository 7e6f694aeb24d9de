"""A sweep under Ray Tune, which places the trials, stops the poor ones early, tries the dead ones
again."""

import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

from fashion_gan.catalog import comparison
from fashion_gan.config.settings import project_root
from fashion_gan.distributed.ray_cluster import check_room, connect
from fashion_gan.pipeline import runner
from fashion_gan.runs.run import Run
from fashion_gan.signals import exit_at_once, on_ending
from fashion_gan.sweeps.spec import Sweep, base_of, points_of, space_of
from fashion_gan.sweeps.trial import PATIENCE, STOPPING
from fashion_gan.tracking import storage_sync
from fashion_gan.waiting import wait_until


def tuner_of(run: Run, sweep: Sweep, log: Callable[[str], None]) -> Any:
    """The sweep as Ray Tune knows it, new or as far as it had come."""
    from ray import tune
    from ray.tune.search.basic_variant import BasicVariantGenerator

    from fashion_gan.sweeps.trial import Trial, TrialLogger

    base = base_of(sweep)
    about = {"root": str(project_root()), "sweep": run.name, "spec": sweep.model_dump()}
    trial = tune.with_resources(
        tune.with_parameters(Trial, about=about), {"cpu": sweep.cores, "gpu": sweep.gpus}
    )
    folder = str(run.folder / "ray")
    if tune.Tuner.can_restore(folder):
        return tune.Tuner.restore(folder, trial, resume_unfinished=True, resume_errored=True)
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
            scheduler=_scheduler_of(sweep, base.params.epochs),
        ),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str(run.folder),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=sweep.retries),
            # a run keeps its own; where machines share no folder, Ray's one at the end fails
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[TrialLogger(Run(run.folder), sweep.metric, log)],
        ),
    )


def _scheduler_of(sweep: Sweep, epochs: int) -> Any:
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

    if sweep.scheduler == "none":
        return FIFOScheduler()
    return ASHAScheduler(
        time_attr="epoch", max_t=epochs + 1, grace_period=sweep.grace, reduction_factor=sweep.factor
    )


@contextlib.contextmanager
def interruptions(run: Run) -> Iterator[list[int]]:
    """Ctrl-C and its like: the trials close their runs, and Ray Tune ends, by the signal that it
    keeps for that (of its own handler of Ctrl-C nothing is left to see afterwards). Gives a list
    that is filled then."""
    received: list[int] = []
    flag = run.folder / STOPPING
    flag.unlink(missing_ok=True)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # until Ray Tune listens to it

    def stop(number: int) -> None:
        received.append(number)
        flag.touch()
        os.kill(os.getpid(), signal.SIGUSR1)

    with on_ending(stop, exit_at_once):
        yield received


def go_on(run: Run, sweep: Sweep, log: Callable[[str], None] = print) -> int:
    """Run the trials that have not ended yet, then the sweep's own notebook. Returns the exit code,
    1 where a trial failed."""
    import ray

    storage_sync.push_sweep(run, log)
    run.follow()
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what dies is told in a line
    with interruptions(run) as interrupts:
        tuner = tuner_of(run, sweep, log)
        results = None if interrupts else tuner.fit()
        ray.shutdown()
        # Ray gives what it stops at its end 10 s; a run takes longer to close
        trials = comparison.trials(run)
        wait_until(lambda: all(trial.lock.is_free() for trial in trials), PATIENCE)
    if interrupts:
        return runner.close(run, "KILLED", "interrupted", log)
    storage_sync.pull_trials(run, log)
    if results.num_errors:
        log(
            f"{results.num_errors} of {len(results)} trials failed; try them again: fashion-gan"
            f" resume {run.name}"
        )
    code = runner.run_all(run, log)
    return code or int(results.num_errors > 0)


def ready(sweep: Sweep, address: str = "") -> None:
    """Connect to a cluster that has room for a trial. Raises UserError where there is no Ray, no
    cluster or no room."""
    ray = connect("a sweep", address)
    check_room(ray, "a trial takes", 1, sweep.cores, sweep.gpus)
