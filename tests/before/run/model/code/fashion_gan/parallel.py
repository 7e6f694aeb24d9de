"""One training shared by several processes, each with its rows of every batch. All draw what the whole batch needs and keep their
rows, so the recipe does not depend on how many there are: only the order in which sums are made does. Alone, every function here
gives back what it was given. Ray starts the processes (scripts/workers.py)."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import distributed, nn

from fashion_gan.errors import UserError, project_root
from fashion_gan.params import Params


@dataclasses.dataclass
class Team:
    """Who trains: this process is number `rank` of `size`; all stop after a step once the file `stop` is there."""

    rank: int = 0
    size: int = 1
    stop: Path | None = None
    device: str = "cpu"


team = Team()


class _Sum(torch.autograd.Function):
    """The sum over the team; so is its gradient, of any order."""

    @staticmethod
    def forward(_, value: torch.Tensor) -> torch.Tensor:
        value = value.contiguous().clone()
        distributed.all_reduce(value)
        return value

    @staticmethod
    def backward(_, gradient: torch.Tensor) -> torch.Tensor:
        return _Sum.apply(gradient)


def mine(rows: torch.Tensor) -> torch.Tensor:
    """This process's rows of a whole batch."""
    return rows if team.size == 1 else rows.chunk(team.size)[team.rank]


def mean(value: torch.Tensor) -> torch.Tensor:
    """The mean of each process's value."""
    return value if team.size == 1 else _Sum.apply(value) / team.size


def norm(rows: torch.Tensor) -> torch.Tensor:
    """The norm of the whole batch, of which these are this process's rows."""
    return rows.norm() if team.size == 1 else _Sum.apply(rows.square().sum()).sqrt()


def any_of(*asked: bool) -> list[bool]:
    """For each question whether any process says yes, and whether the first one, to stop, was asked from outside."""
    if team.size == 1:
        return list(asked)
    told = torch.tensor(
        [asked[0] or team.stop.exists(), *asked[1:]], dtype=torch.float32, device=team.device
    )
    distributed.all_reduce(told, distributed.ReduceOp.MAX)
    return told.bool().tolist()


class SyncedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the whole batch. (torch's own SyncBatchNorm runs on GPUs only.)"""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(x)
        average = mean(x.mean(dim=(0, 2, 3)))
        centred = x - average[:, None, None]
        variance = mean(centred.square().mean(dim=(0, 2, 3)))
        count = x.numel() // x.shape[1] * team.size
        with torch.no_grad():
            self.running_mean.lerp_(average, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale[:, None, None] + self.bias[:, None, None]


def shared(network: nn.Module, sync_norm: bool) -> nn.Module:
    """The network as it is called in training: its gradients are means over the team."""
    if team.size == 1:
        return network
    for module in network.modules():
        if sync_norm and isinstance(module, nn.BatchNorm2d):
            module.__class__ = SyncedBatchNorm
    return nn.parallel.DistributedDataParallel(network, broadcast_buffers=False)


def records(params: Params, folder: Path) -> Iterator[dict]:
    """Train with `params.workers` processes; yields what each epoch left, of an earlier attempt too. Raises UserError, in the words of
    the driver (scripts/workers.py), where it fails; an interruption is passed on to it and waited for."""
    words = json.dumps(
        {"params": params.model_dump(), "folder": str(folder), "root": str(project_root())}
    )
    command, log = (
        [
            sys.executable,
            str(Path(__file__).resolve().parents[1] / "scripts" / "workers.py"),
            words,
        ],
        folder / "workers.log",
    )
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
        raise UserError(
            (log.read_text().splitlines() or ["the training's processes did not start"])[
                -1
            ].removeprefix("error: ")
        )
