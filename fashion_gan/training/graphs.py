"""A training step as a CUDA graph."""

from collections.abc import Callable, Iterator

import torch

from fashion_gan.training.state import TrainingState

WARM_UP = 3  # steps before a capture, in which libraries choose and allocate


def capture(
    compute: Callable[[], None], state: TrainingState, row: torch.Tensor
) -> torch.cuda.CUDAGraph:
    """A step that `compute` takes, as a graph; `state` and `row` are as they were before. Raises
    RuntimeError where that is not possible."""
    kept = [part.clone() for part in changing(state, row)]
    try:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            warm_up(compute, row)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            compute()
        return graph
    finally:
        restore(kept, state, row)


def warm_up(compute: Callable[[], None], row: torch.Tensor) -> None:
    """Some steps with the same inputs, since the block may end with these."""
    for _ in range(WARM_UP):
        compute()
        row -= 1


def changing(state: TrainingState, row: torch.Tensor) -> Iterator[torch.Tensor]:
    """Every tensor that a step changes; the optimisers' moments, which the first step makes, are
    the last."""
    modules = (state.generator, state.discriminator, state.ema_generator, state.moments)
    for module in (*modules, state.augment_probability):
        yield from (part.detach() for part in module.state_dict().values())
    yield state.losses
    yield row
    for optimizer in (state.optimizer_g, state.optimizer_d):
        for moments in optimizer.state.values():
            yield from moments.values()


def restore(kept: list[torch.Tensor], state: TrainingState, row: torch.Tensor) -> None:
    """Give every tensor of `changing` its value again, in place; moments that were not there yet
    begin at 0."""
    parts = list(changing(state, row))
    for part, before in zip(parts, kept, strict=False):
        part.copy_(before)
    for part in parts[len(kept) :]:
        part.zero_()
