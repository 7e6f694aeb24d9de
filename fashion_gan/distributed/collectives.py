"""One training shared by several processes. All draw what the whole batch needs, then keep their
own rows, so only the order of sums depends on how many there are; one alone changes nothing."""

import torch
from torch import distributed, nn


def world_size() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


class _Sum(torch.autograd.Function):
    """The sum over all processes; so is its gradient, of any order. (PyTorch's own, in
    torch.distributed.nn, is deprecated.)"""

    @staticmethod
    def forward(_, value: torch.Tensor) -> torch.Tensor:
        value = value.contiguous().clone()
        distributed.all_reduce(value)
        return value

    @staticmethod
    def backward(_, gradient: torch.Tensor) -> torch.Tensor:
        return _Sum.apply(gradient)


def shard(rows: torch.Tensor, dim: int = 0) -> torch.Tensor:
    """This process's rows of a whole batch, which lie along `dim`."""
    return rows if world_size() == 1 else rows.chunk(world_size(), dim)[distributed.get_rank()]


def all_reduce_mean(value: torch.Tensor) -> torch.Tensor:
    """The mean of each process's value."""
    return value if world_size() == 1 else _Sum.apply(value) / world_size()


def global_norm(rows: torch.Tensor) -> torch.Tensor:
    """The norm of the whole batch, of which these are this process's rows."""
    return rows.norm() if world_size() == 1 else _Sum.apply(rows.square().sum()).sqrt()


def any_rank(*flags: bool, device: torch.device) -> list[bool]:
    """For each flag whether it is set in any process."""
    if world_size() == 1:
        return list(flags)
    votes = torch.tensor(flags, dtype=torch.float32, device=device)
    distributed.all_reduce(votes, distributed.ReduceOp.MAX)
    return votes.bool().tolist()


class CpuSyncBatchNorm(nn.BatchNorm2d):
    """Batch norm over the whole batch. (torch's own SyncBatchNorm runs on GPUs only.)"""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(x)
        average = all_reduce_mean(x.mean(dim=(0, 2, 3)))
        centred = x - average[:, None, None]
        variance = all_reduce_mean(centred.square().mean(dim=(0, 2, 3)))
        count = x.numel() // x.shape[1] * world_size()
        with torch.no_grad():
            self.running_mean.lerp_(average, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale[:, None, None] + self.bias[:, None, None]


def wrap_ddp(network: nn.Module, sync_norm: bool) -> nn.Module:
    """The network as it is called in training: its gradients are means over all processes."""
    if world_size() == 1:
        return network
    for module in network.modules():
        if sync_norm and isinstance(module, nn.BatchNorm2d):
            module.__class__ = CpuSyncBatchNorm
    return nn.parallel.DistributedDataParallel(network, broadcast_buffers=False)
