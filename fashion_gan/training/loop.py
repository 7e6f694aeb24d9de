"""The training loop, a generator that yields a result an epoch; resume."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from fashion_gan.config.params import Params
from fashion_gan.config.settings import project_root
from fashion_gan.data.batches import batches
from fashion_gan.data.datasets import Split, dataset_dir
from fashion_gan.distributed.collectives import any_rank
from fashion_gan.errors import UserError
from fashion_gan.files import Lock, write_json
from fashion_gan.models.feature_network import (
    extract_cached,
    judge_out_of_reach,
    load_feature_network,
)
from fashion_gan.models.serialization import DISCRIMINATOR, GENERATOR, save_network
from fashion_gan.signals import deferred_interrupt
from fashion_gan.training.checkpoints import (
    assert_resumable,
    load_checkpoint,
    load_latest,
    save_checkpoint,
)
from fashion_gan.training.state import TrainingState
from fashion_gan.training.step import FrechetObjective, learning_rate_factor, step, update_ema
from fashion_gan.training.validation import DISTANCES, ema_for_eval, validate

PROGRESS_SECONDS = 2.0  # between two looks of a watcher
CPU = torch.device("cpu")


@dataclass(frozen=True)
class EpochResult:
    """What an epoch left: `epoch` (epochs finished), `metrics` by name, `grid` uint8 (N, C, H, W)
    of fixed latents."""

    epoch: int
    metrics: dict[str, float]
    grid: torch.Tensor
    images: int
    total_images: int

    def __str__(self) -> str:
        metrics = self.metrics
        minutes = (self.total_images - self.images) / metrics["images_per_s"] / 60
        return (
            f"epoch {self.epoch}: {self.images:,} of {self.total_images:,} images,"
            f" {metrics['images_per_s']:,.0f} a second, about {minutes:.1f} min left; losses D"
            f" {metrics['loss_d']:.3f}, G {metrics['loss_g']:.3f}; validation distance"
            f" {metrics['validation_distance']:.3f}"
        )


class Checkpointer:
    """Saves checkpoints and the progress file of a training, each when its time has come."""

    def __init__(self, state: TrainingState, params: Params, folder: Path | None, total: int):
        self.state, self.params, self.folder, self.total = state, params, folder, total
        self.saved_at = self.written_at = self.started = time.monotonic()
        self.first_images = state.position.images

    def check_finite(self) -> None:
        if not torch.isfinite(self.state.losses).all():
            where = f"near image {self.state.position.images:,}"
            raise UserError(
                f"a loss became NaN or infinite {where}; the last good checkpoint is kept: start"
                " anew with lower lr_g and lr_d"
            )

    def save(self, best: bool = False) -> None:
        self.check_finite()
        self.saved_at = time.monotonic()
        if self.folder:
            save_checkpoint(
                self.folder / "checkpoints",
                self.state.state_dict(),
                self.params.model_dump(),
                self.state.position.images,
                self.params.keep_checkpoints,
                best,
            )

    def after_step(self) -> None:
        now = time.monotonic()
        if self.folder and now - self.written_at > PROGRESS_SECONDS:
            self.written_at = now
            self.write_progress()
        if now - self.saved_at > self.params.checkpoint_seconds:
            self.save()

    def write_progress(self) -> None:
        """progress.json: what a watcher shows while an epoch runs."""
        position = self.state.position
        losses = (self.state.losses / max(position.batch, 1)).tolist()
        if not all(math.isfinite(value) for value in losses):
            return  # JSON knows no NaN
        done = position.images - self.first_images
        speed = done / max(time.monotonic() - self.started, 1e-9)
        progress = {
            "epoch": position.epoch + 1,
            "epochs": self.params.epochs,
            "images": position.images,
            "total_images": self.total,
            "images_per_s": speed,
            "seconds_left": (self.total - position.images) / speed if speed else 0.0,
            "loss_d": losses[0],
            "loss_g": losses[1],
        }
        write_json(self.folder / "progress.json", progress)


def train(
    state: TrainingState,
    train_split: Split,
    validation: Split,
    params: Params,
    folder: Path | None = None,
) -> Iterator[EpochResult]:
    """Train to `params.epochs`, yielding an EpochResult an epoch: in this process, or in several
    that Ray starts. See train_in_process."""
    if params.processes == 1:
        yield from train_in_process(state, train_split, validation, params, folder)
        return
    from fashion_gan.training import ray_worker

    for content in ray_worker.train_distributed(params, folder):
        yield EpochResult(**content)
    state.load_state_dict(load_latest(folder / "checkpoints")["state"])


def train_in_process(
    state: TrainingState,
    train_split: Split,
    validation: Split,
    params: Params,
    folder: Path | None = None,
    stop_file: Path | None = None,
) -> Iterator[EpochResult]:
    """Train to `params.epochs`, yielding an EpochResult an epoch; saves checkpoints to
    `folder`/checkpoints if one is given.

    Each result is yielded before its checkpoint is written, so one that was not logged is made
    again on resume. Stops after a step once the `stop_file` is there. Raises KeyboardInterrupt
    after a whole step and a checkpoint; UserError when a loss is NaN or infinite.
    """
    data_dir = dataset_dir(params)
    reference = {}
    for role in DISTANCES.values():
        # damaged weights end a training before its first step, not after an epoch
        load_feature_network(role, str(state.device), data_dir)
        reference[role], _ = extract_cached(role, validation.images, data_dir)
    frechet = None
    if params.frechet_weight:
        frechet = FrechetObjective(train_split, params.conditional, state.device, data_dir)
    position, per_epoch = state.position, len(train_split) // params.batch_size
    checkpointer = Checkpointer(
        state, params, folder, params.epochs * per_epoch * params.batch_size
    )
    lock = Lock(folder / "train.lock" if folder else None)
    with judge_out_of_reach(), deferred_interrupt() as interrupts, lock:
        lock.acquire(f"another process trains in {folder}; wait for it, or stop it")
        stop = Stop(interrupts, stop_file, params.max_minutes, state.device)
        while position.epoch < params.epochs and not stop.is_late():
            run_epoch(state, train_split, params, frechet, checkpointer, stop)
            if position.batch < per_epoch:
                return  # max_minutes is over
            result, is_best = finish_epoch(state, validation, reference, params, checkpointer)
            yield result
            checkpointer.save(is_best)


class Stop:
    """Why a training may end before its last epoch: it is interrupted, in any of its processes, or
    max_minutes are over."""

    def __init__(
        self,
        interrupts: list[int],
        file: Path | None = None,
        max_minutes: float = 0.0,
        device: torch.device = CPU,
    ):
        self.interrupts, self.file, self.device = interrupts, file, device
        self.deadline = time.monotonic() + 60 * max_minutes if max_minutes else float("inf")

    def is_late(self) -> bool:
        (late,) = any_rank(time.monotonic() > self.deadline, device=self.device)
        return late

    def after_step(self) -> tuple[bool, bool]:
        """Whether it is interrupted, and whether it is late."""
        interrupted = bool(self.interrupts) or (self.file is not None and self.file.exists())
        late = time.monotonic() > self.deadline
        interrupted, late = any_rank(interrupted, late, device=self.device)
        return interrupted, late


def run_epoch(
    state: TrainingState,
    train_split: Split,
    params: Params,
    frechet: FrechetObjective | None,
    checkpointer: Checkpointer,
    stop: Stop,
) -> None:
    """Steps from where the epoch stands to its end, or to the deadline."""
    position = state.position
    started = time.monotonic()
    for real, labels in batches(
        train_split, params.batch_size, params.seed, position.epoch, position.batch, state.device
    ):
        factor = learning_rate_factor(position.images, params)
        state.optimizer_g.param_groups[0]["lr"] = params.lr_g * factor
        state.optimizer_d.param_groups[0]["lr"] = params.lr_d * factor
        try:
            step(state, real, labels, params, frechet)
        except torch.linalg.LinAlgError:  # the Fréchet loss met a NaN first
            state.losses += float("nan")
            checkpointer.check_finite()
        position.images += len(real)
        position.batch += 1
        update_ema(state, params)
        now = time.monotonic()
        position.seconds += now - started
        started = now
        checkpointer.after_step()
        interrupted, late = stop.after_step()
        if interrupted:
            checkpointer.save()
            raise KeyboardInterrupt
        if late and position.batch < len(train_split) // params.batch_size:
            checkpointer.save()
            return


def finish_epoch(
    state: TrainingState,
    validation: Split,
    reference: dict[str, torch.Tensor],
    params: Params,
    checkpointer: Checkpointer,
) -> tuple[EpochResult, bool]:
    """Validate, and move the position to the next epoch's start. Returns the result, and whether it
    is the best so far."""
    checkpointer.check_finite()
    position = state.position
    loss_d, loss_g, right_real, right_fake = (state.losses / position.batch).tolist()
    metrics, grid = validate(state, validation, reference, params)
    position.epoch += 1
    position.batch = 0
    state.losses.zero_()
    distance = metrics["validation_distance"]
    is_best = distance < position.best
    position.best = min(position.best, distance)
    metrics |= {
        "loss_d": loss_d,
        "loss_g": loss_g,
        "accuracy_real": right_real,
        "accuracy_fake": right_fake,
        "epoch": position.epoch,
        "images": position.images,
        "seconds": position.seconds,
        "images_per_s": position.images / max(position.seconds, 1e-9),
    }
    result = EpochResult(position.epoch, metrics, grid, position.images, checkpointer.total)
    return result, is_best


def start_or_resume(params: Params, folder: Path) -> TrainingState:
    """A state at the run's last whole checkpoint, else at `params.checkpoint`, else at the
    beginning."""
    state = TrainingState(params)
    own = load_latest(folder / "checkpoints")
    content = own
    if not own and params.checkpoint:
        content = load_checkpoint(project_root() / params.checkpoint)
    if content:
        assert_resumable(content["params"], params.model_dump())
        state.load_state_dict(content["state"])
    if not own:
        state.position.best = float("inf")  # the best so far lies in another folder
    return state


def export_best(params: Params, folder: Path) -> int:
    """Write generator and discriminator of the run's best checkpoint (lowest distance by `dev`) as
    safetensors. Returns the epoch they are from. Raises UserError where the folder has no
    checkpoint."""
    checkpoints = folder / "checkpoints"
    content = load_latest(checkpoints, kind="best") or load_latest(checkpoints)
    if not content:
        raise UserError(f"{folder} holds no checkpoint yet; train first")
    state = TrainingState(params)
    state.load_state_dict(content["state"])
    values = params.model_dump()
    if state.dataset.is_packed:
        values |= {"shape": state.dataset.shape, "classes": state.dataset.classes}
    save_network(folder / GENERATOR, ema_for_eval(state, params), values)
    save_network(folder / DISCRIMINATOR, state.discriminator, values)
    return state.position.epoch
