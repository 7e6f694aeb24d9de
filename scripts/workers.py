"""A training by several workers: Ray Train places them, and starts them again where one of them
died. Begun by fashion_gan.parallel.records, which reads the file of each epoch's record from the
standard output."""

import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from cluster import check_room, connect
from command import guarded

from fashion_gan.errors import UserError
from fashion_gan.files import replacing, write_text

RETRIES = 5  # of all workers together, from the last checkpoint
STOPPING = "stopping"  # a file in the run folder: the workers stop after their step
FAILURE = "failure.txt"  # another: why no further attempt is made, for a person


def work(told: dict[str, Any]) -> None:
    """One worker: the plain loop, with its part of each batch. The first one keeps checkpoints and
    records."""
    import ray.train
    import torch

    from fashion_gan import data, parallel, training
    from fashion_gan.params import Params
    from fashion_gan.state import pick_device

    params, folder, context = (
        Params.checked(told["params"]),
        Path(told["folder"]),
        ray.train.get_context(),
    )
    if (folder / FAILURE).exists():
        return
    os.chdir(told["root"])
    rank, size = context.get_world_rank(), context.get_world_size()
    parallel.team = parallel.Team(rank, size, folder / STOPPING, str(pick_device(params.device)))
    try:
        where = data.place(params)
        splits = (
            data.load_split(where, "train", params.subset),
            data.load_split(where, "validation"),
        )
        state = training.start_or_resume(params, folder)
        for record in training.train(state, *splits, params, None if rank else folder):
            if rank == 0:
                with replacing(folder / "records" / f"{record.epoch:06d}.pt") as temporary:
                    torch.save(vars(record), temporary)
    except KeyboardInterrupt:
        return  # all of them have stopped; the driver knows why
    except UserError as error:
        # of any worker: the others wait for it in a step, and Ray would begin all of them again
        write_text(folder / FAILURE, str(error))
        raise


def fit(told: dict[str, Any], gpu: bool, failed: list[Exception]) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    size, folder = told["params"]["workers"], told["folder"]
    run = RunConfig(
        name=f"ray-{time.time_ns()}",
        storage_path=folder,
        failure_config=FailureConfig(max_failures=RETRIES),
    )
    try:
        TorchTrainer(
            work,
            train_loop_config=told,
            scaling_config=ScalingConfig(num_workers=size, use_gpu=gpu),
            run_config=run,
        ).fit()
    except Exception as error:  # whatever Ray says; told by main
        failed.append(error)


def main() -> int:
    told = json.loads(sys.argv[1])
    folder, workers = Path(told["folder"]), told["params"]["workers"]
    flag, failure = folder / STOPPING, folder / FAILURE
    for left in (flag, failure):
        left.unlink(missing_ok=True)
    given_to = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # Ray writes of dead workers there
    ray = connect(f"workers={workers}")
    for number in (signal.SIGINT, signal.SIGTERM):  # after Ray has set its own
        signal.signal(number, lambda *_: flag.touch())
    gpu = any(node["Resources"].get("GPU") for node in ray.nodes()) and told["params"][
        "device"
    ] in ("auto", "cuda")
    check_room(ray, f"{workers} workers take each", workers, 1, float(gpu))
    failed: list[Exception] = []
    # elsewhere than here Ray leaves Ctrl-C alone
    training = threading.Thread(target=fit, args=(told, gpu, failed))
    training.start()
    given: set[Path] = set()
    while True:
        ended = not training.is_alive()
        for path in sorted(set((folder / "records").glob("*.pt")) - given):
            given.add(path)
            print(path, file=given_to, flush=True)
        if ended:
            break
        time.sleep(0.2)
    ray.shutdown()
    for rest in folder.glob("ray-*"):
        shutil.rmtree(rest, ignore_errors=True)
    if flag.exists():
        return 0
    if failure.exists() or failed:
        raise UserError(
            failure.read_text() if failure.exists() else str(failed[0]).strip().splitlines()[-1]
        )
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
