"""One trial of a sweep, as Ray Tune sees it: an ordinary run in a process of its own; a step is an
epoch."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune

from fashion_gan.catalog.comparison import AS_IT_IS
from fashion_gan.runs.run import Run
from fashion_gan.sweeps.spec import Sweep
from fashion_gan.text import plain_text
from fashion_gan.waiting import wait_until

PATIENCE = 120  # seconds for a run to write its checkpoint and its report
STOPPING = "stopping"  # a file in the sweep's folder: its trials close their runs


def as_by_hand() -> None:
    """In the run's process, before it begins: Ctrl-C is let through again, which Ray blocks and a
    run stops its kernels by; on Linux, SIGHUP where the trial's process has ended, so that the run
    closes, or goes on closing."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if sys.platform == "linux":
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # Ray's processes ignore it
        ctypes.CDLL(None).prctl(1, signal.SIGHUP)


class Trial(tune.Trainable):
    """A trial that died is begun again by Ray, perhaps elsewhere: its run goes on from its last
    checkpoint."""

    def setup(self, config: dict[str, Any], about: dict[str, Any]) -> None:
        sweep, root = about["sweep"], about["root"]
        name = run_name(sweep, self.trial_id)
        reports = Path(root) / "reports"
        self.metric = about["spec"]["metric"]
        self.process: subprocess.Popen | None = None
        # an epoch that the scheduler never heard of is not lost; one that it knows changes nothing
        self.reported = 0
        self.log = reports / sweep / f"{name}.log"
        self.run = Run(reports / name)
        record = self.run.folder / "run.json"
        if not record.exists():  # killed before it wrote one; there is nothing to go on with
            shutil.rmtree(self.run.folder, ignore_errors=True)
        # where machines share no folder, what RUNS_URI has of them
        fetch_missing(sweep, root)
        fetch_missing(name, root)
        if not record.exists():
            spec = Sweep.model_validate(about["spec"])
            words = ["run", spec.base, "--name", name, "--within", sweep]
            for value in spec.overrides_of(config):
                words += ["-p", value]
            if config.get("recipe", AS_IT_IS) != AS_IT_IS:
                words += ["--recipe", config["recipe"]]
            if spec.notebooks:
                words += ["--notebooks", ",".join(spec.notebooks)]
            self._start(words, root)
        elif self.run.info.status != "FINISHED":
            self._start(["resume", name], root)

    def _start(self, words: list[str], root: str) -> None:
        # the attempt before this one may still be closing
        wait_until(lambda: not self.run.folder.exists() or self.run.lock.is_free(), PATIENCE)
        cores = str(int(self.trial_resources.required_resources.get("CPU", 1)))
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fashion_gan", *words],
                cwd=root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"OMP_NUM_THREADS": cores, "CI": "true"},
                start_new_session=True,
                preexec_fn=as_by_hand,
            )

    def _values(self) -> list[float]:
        return self.run.series(self.metric)[1]

    def step(self) -> dict[str, Any]:
        while True:
            ended = self.process is None or self.process.poll() is not None
            values = self._values() if self.run.folder.exists() else []
            if len(values) > self.reported:
                self.reported += 1
                return {"epoch": self.reported, self.metric: values[self.reported - 1]}
            if ended and not (self.process and self.process.returncode):
                return {"epoch": self.reported, self.metric: values[-1], "done": True}
            if self.log.with_name(STOPPING).exists():
                self.cleanup()
                # Ray ends this process, and knows the trial as one that has not ended
                time.sleep(PATIENCE)
            if ended:
                raise RuntimeError(self._last_words())
            time.sleep(0.3)

    def _last_words(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return f"exit code {self.process.returncode}; {lines[-1] if lines else 'it said nothing'}"

    def cleanup(self) -> None:
        """Stop the run as Ctrl-C does: it writes a checkpoint and its report."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)

    def save_checkpoint(self, _: str) -> None:
        """The run keeps its own."""

    def load_checkpoint(self, _: Any) -> None:
        """The run finds its own."""


def fetch_missing(name: str, root: str) -> None:
    """Fetch a run that is not here from RUNS_URI, if it is set and has it."""
    if not (Path(root) / "reports" / name / "run.json").exists():
        command = [sys.executable, "-m", "fashion_gan.tracking.fetch", name]
        subprocess.run(command, cwd=root, stderr=subprocess.DEVNULL)


def run_name(sweep: str, trial_id: str) -> str:
    return f"{sweep}-{int(trial_id.rpartition('_')[2]) + 1:03d}"


class TrialLogger(tune.Callback):
    """A line for whatever happens to a trial."""

    def __init__(self, sweep: Run, metric: str, log: Callable[[str], None]):
        self.sweep = sweep
        self.metric = metric
        self.log = log
        self.epochs: dict[str, int] = {}  # the last one that was said, by trial

    def _log(self, trial: Any, words: str) -> None:
        values = []
        for name, value in trial.config.items():
            values.append(f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}")
        name = run_name(self.sweep.name, trial.trial_id)
        self.log(f"{name} ({', '.join(values)}): {words}")

    def _reason(self, trial: Any) -> str:
        """Why it died; its log may lie on another machine."""
        path = trial.error_file  # of this machine, where Ray writes it before it calls
        text = Path(path).read_text(encoding="utf-8", errors="replace") if path else ""
        lines = text.strip().splitlines() or ["nothing is known of it"]
        reason = plain_text(lines[-1].strip())
        name = run_name(self.sweep.name, trial.trial_id)
        return f"{reason}; its words: reports/{self.sweep.name}/{name}.log"

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **_: Any) -> None:
        self._log(trial, "started again" if trial.num_failures else "started")

    def on_trial_result(
        self, iteration: int, trials: list, trial: Any, result: dict, **_: Any
    ) -> None:
        epoch = result["epoch"]
        if not result.get("done") and epoch > self.epochs.get(trial.trial_id, 0):
            self.epochs[trial.trial_id] = epoch
            self._log(trial, f"epoch {epoch}, {self.metric} {result[self.metric]:.4f}")

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **_: Any) -> None:
        ended = sum(other.is_finished() or other is trial for other in trials)
        epoch = trial.last_result.get("epoch")
        count = f"{ended} of {len(trials)} begun have ended"
        self._log(trial, f"ended after epoch {epoch}; {count}")

    def on_trial_recover(self, iteration: int, trials: list, trial: Any, **_: Any) -> None:
        self._log(trial, f"died; it will be tried again ({self._reason(trial)})")

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **_: Any) -> None:
        self._log(trial, f"failed ({self._reason(trial)})")
