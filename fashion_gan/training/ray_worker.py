"""A training by several processes: Ray Train places them, and starts them again where one died.
train_distributed starts the driver, a process, which prints the file of each epoch's record."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from fashion_gan.config.params import Params
from fashion_gan.config.settings import project_root
from fashion_gan.distributed.ray_cluster import check_room, connect
from fashion_gan.errors import UserError, exit_code_of
from fashion_gan.files import replacing, write_text
from fashion_gan.signals import ENDING

RETRIES = 5  # of all workers together, from the last checkpoint
STOPPING = "stopping"  # a file in the run folder: the workers stop after their step
FAILURE = "failure.txt"  # another: why no further attempt is made, for a person


def train_distributed(params: Params, folder: Path) -> Iterator[dict]:
    """Train with `params.processes` processes; yields what each epoch left, of an earlier attempt
    too. Raises the driver's UserError; an interruption is passed on to it and waited for."""
    job = {"params": params.model_dump(), "folder": str(folder), "root": str(project_root())}
    command = [sys.executable, "-m", "fashion_gan.training.ray_worker", json.dumps(job)]
    log = folder / "workers.log"
    with log.open("w") as stream:
        driver = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stream, text=True, start_new_session=True
        )
        try:
            for line in driver.stdout:  # a file an epoch
                path = Path(line.rstrip("\n"))
                yield torch.load(path, weights_only=True)
                path.unlink()  # it stands in the run's record now
        except BaseException:
            driver.terminate()
            raise
        finally:
            driver.wait()
    if driver.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() or [
            "the training's processes did not start"
        ]
        raise UserError(lines[-1].removeprefix("error: "))


def work(job: dict[str, Any]) -> None:
    """One worker: the plain loop, with its part of each batch. The first keeps what is written."""
    import ray.train
    import torch

    from fashion_gan.config.params import Params
    from fashion_gan.data.datasets import dataset_dir, load_split
    from fashion_gan.device import pick_device
    from fashion_gan.training import loop

    params, folder = Params.checked(job["params"]), Path(job["folder"])
    if (folder / FAILURE).exists():
        return
    os.chdir(job["root"])
    is_first = ray.train.get_context().get_world_rank() == 0
    try:
        pick_device(params.device)
        data_dir = dataset_dir(params)
        splits = load_split(data_dir, "train", params.subset), load_split(data_dir, "validation")
        state = loop.start_or_resume(params, folder)
        kept_in = folder if is_first else None
        results = loop.train_in_process(state, *splits, params, kept_in, folder / STOPPING)
        for result in results:
            if is_first:
                with replacing(folder / "records" / f"{result.epoch:06d}.pt") as temporary:
                    torch.save(vars(result), temporary)
    except KeyboardInterrupt:
        return  # all of them have stopped; the driver knows why
    except UserError as error:
        # of any worker: the others wait for it in a step, and Ray would begin all of them again
        write_text(folder / FAILURE, str(error))
        raise


def fit(job: dict[str, Any], use_gpu: bool, errors: list[Exception]) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    scaling = ScalingConfig(num_workers=job["params"]["processes"], use_gpu=use_gpu)
    retries = FailureConfig(max_failures=RETRIES)
    name = f"ray-{time.time_ns()}"
    run = RunConfig(name=name, storage_path=job["folder"], failure_config=retries)
    try:
        TorchTrainer(work, train_loop_config=job, scaling_config=scaling, run_config=run).fit()
    except Exception as error:  # whatever Ray says; main raises it
        errors.append(error)


def main() -> int:
    job = json.loads(sys.argv[1])
    folder, processes = Path(job["folder"]), job["params"]["processes"]
    stopping, failure = folder / STOPPING, folder / FAILURE
    for path in (stopping, failure):
        path.unlink(missing_ok=True)
    records = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # Ray writes of dead workers there
    ray = connect(f"processes={processes}")
    for number in ENDING:  # after Ray has set its own
        signal.signal(number, lambda *_: stopping.touch())
    has_gpu = any(node["Resources"].get("GPU") for node in ray.nodes())
    use_gpu = has_gpu and job["params"]["device"] in ("auto", "cuda")
    check_room(ray, f"{processes} processes take each", processes, 1, float(use_gpu))
    errors: list[Exception] = []
    # in a thread, since outside the main one Ray leaves Ctrl-C alone
    training = threading.Thread(target=fit, args=(job, use_gpu, errors))
    training.start()
    printed: set[Path] = set()
    is_alive = True
    while is_alive:
        is_alive = training.is_alive()
        for path in sorted(set((folder / "records").glob("*.pt")) - printed):
            printed.add(path)
            print(path, file=records, flush=True)
        time.sleep(0.2 * is_alive)
    ray.shutdown()
    for path in folder.glob("ray-*"):
        shutil.rmtree(path, ignore_errors=True)
    if stopping.exists():
        return 0
    if failure.exists():
        raise UserError(failure.read_text(encoding="utf-8"))
    if errors:
        reason = str(errors[0]).strip().splitlines()[-1]
        raise UserError(f"{reason}; more is in {folder}/workers.log")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
