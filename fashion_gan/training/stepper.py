"""Take steps on a training split: one by one, or on an NVIDIA GPU as CUDA graphs. There a step is
some 400 small kernels, and launching each takes longer than the GPU needs for it; a graph launches
them all at once."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch

from fashion_gan.config.params import Params
from fashion_gan.data.batches import make_transform
from fashion_gan.data.datasets import Split
from fashion_gan.device import is_room_for
from fashion_gan.distributed.collectives import world_size
from fashion_gan.errors import UserError
from fashion_gan.files import short_reason
from fashion_gan.training.inputs import BLOCK, StepInputs
from fashion_gan.training.state import TrainingState
from fashion_gan.training.step import StepKind, kind_of, step

if TYPE_CHECKING:
    from fashion_gan.training.frechet import FrechetObjective

PLAIN = StepKind()


class Stepper:
    """Steps of one training, each with the next inputs of the block that is loaded."""

    def __init__(
        self,
        state: TrainingState,
        split: Split,
        params: Params,
        objectives: Sequence["FrechetObjective"] = (),
        say: Callable[[str], None] = print,
    ):
        self.state, self.split, self.params, self.objectives = state, split, params, objectives
        self.say = say
        self.transform = make_transform()
        self.row = torch.zeros(1, dtype=torch.int64, device=state.device)
        self.block: StepInputs | None = None
        self.graphs: dict[StepKind, torch.cuda.CUDAGraph] = {}
        self.uses_graphs = wants_graphs(params, state.device)
        is_cuda = state.device.type == "cuda"
        # else the images of one block at a time
        self.holds_split = not is_cuda or is_room_for(split.images.numel(), state.device)
        self.images, self.labels = split.images, split.labels
        if self.holds_split:
            self.images, self.labels = (
                part.to(state.device) for part in (self.images, self.labels)
            )

    def load(self, block: StepInputs, row: int = 0) -> None:
        """Take the next steps' inputs from here, from this row on."""
        if not self.holds_split:
            block = self._load_images(block)
        if self.uses_graphs:
            # as large as any there will be, since a graph knows tensors by their addresses
            self.block = self.block or StepInputs(
                *(part.new_zeros(BLOCK, *part.shape[1:], device=self.row.device) for part in block)
            )
            for target, part in zip(self.block, block, strict=True):
                target[: len(part)].copy_(part)
        else:
            self.block = block.to(self.state.device)
        self.row.fill_(row)

    def _load_images(self, block: StepInputs) -> StepInputs:
        """Bring only the block's images to the GPU, and count them from 0."""
        index = block.index.flatten()
        images, labels = self.split.images[index], self.split.labels[index]
        if self.images.device != self.state.device:
            count = BLOCK * block.index.shape[1]
            self.images = images.new_empty(count, *images.shape[1:], device=self.state.device)
            self.labels = labels.new_empty(count, device=self.state.device)
        self.images[: len(index)].copy_(images.pin_memory(), non_blocking=True)
        self.labels[: len(index)].copy_(labels)
        return block._replace(index=torch.arange(len(index)).view_as(block.index))

    def kind_of(self, images: int, batch: int) -> StepKind:
        """The kind of the step after so many images, which is this batch of its epoch."""
        return kind_of(images, batch, self.params, len(self.objectives))

    def run(self, kind: StepKind = PLAIN) -> None:
        """One step of this kind."""
        if self.uses_graphs and kind not in self.graphs:
            self._make_graph(kind)
        if self.uses_graphs:
            self.graphs[kind].replay()
        else:
            self.compute(kind)

    def _make_graph(self, kind: StepKind) -> None:
        """Raises UserError where there can be none and it was demanded; else says so."""
        from fashion_gan.training import graphs

        compute = partial(self.compute, kind)
        try:
            self.graphs[kind] = graphs.capture(compute, self.state, self.row)
        except RuntimeError as error:
            reason = short_reason(error)
            if self.params.cuda_graph == "on":
                raise UserError(
                    f"a step cannot be made a CUDA graph ({reason}); say cuda_graph: auto"
                ) from None
            self.uses_graphs = False
            self.say(f"steps are taken one by one: no CUDA graph can be made of one ({reason})")

    def compute(self, kind: StepKind = PLAIN) -> None:
        """One step of this kind, its kernels one by one."""
        inputs = self.block.row(self.row)
        real = self.transform(self.images[inputs.index])
        labels = self.labels[inputs.index]
        frechet = None if kind.network is None else self.objectives[kind.network]
        step(self.state, real, labels, inputs, self.params, frechet, kind.has_penalties)
        self.row += 1


def wants_graphs(params: Params, device: torch.device) -> bool:
    """Whether steps are to be CUDA graphs. Raises UserError where they must and cannot."""
    reason = ""
    if device.type != "cuda":
        reason = f"the device is {device.type}"
    elif world_size() > 1:
        reason = "several processes share the training"
    if reason and params.cuda_graph == "on":
        raise UserError(f"cuda_graph is on, but {reason}; say cuda_graph: auto")
    return not reason and params.cuda_graph != "off"
