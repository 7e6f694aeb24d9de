"""The training loop, a generator that yields a result an epoch; resume."""

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from fashion_gan import clock
from fashion_gan.config.params import Params
from fashion_gan.config.settings import project_root
from fashion_gan.data.augment import ADAPTIVE
from fashion_gan.data.batches import epoch_order
from fashion_gan.data.datasets import Split, dataset_dir
from fashion_gan.device import measuring_device, wait_for
from fashion_gan.distributed.collectives import any_rank
from fashion_gan.errors import UserError
from fashion_gan.files import Lock, write_json
from fashion_gan.models import feature_network
from fashion_gan.models.serialization import DISCRIMINATOR, GENERATOR, save_network
from fashion_gan.signals import deferred_interrupt
from fashion_gan.training import checkpoints
from fashion_gan.training.device import be_deterministic, keep_freed_memory
from fashion_gan.training.inputs import BLOCK, draw_inputs
from fashion_gan.training.state import TrainingState
from fashion_gan.training.stepper import Stepper
from fashion_gan.training.validation import DISTANCES, ema_for_eval, validate

if TYPE_CHECKING:
    from fashion_gan.training.frechet import FrechetObjective

PROGRESS_SECONDS = 2.0  # between two writings of progress.json
# by which the speed is measured before a training begins; a GPU's first ones tell little
TRIAL_STEPS, WARM_UP = {"cpu": 8, "mps": 8, "cuda": BLOCK}, 2
IN_STEPS = 0.9  # the share of max_minutes that is planned for steps, the rest is for validations


@dataclass(frozen=True)
class EpochResult:
    """What an epoch left."""

    epoch: int  # epochs finished
    metrics: dict[str, float]
    grid: torch.Tensor  # uint8 (N, C, H, W), of fixed latents
    images: int  # real images seen in all
    total_images: int  # that the whole training takes

    def __str__(self) -> str:
        metrics = self.metrics
        minutes = (self.total_images - self.images) / metrics["images_per_s"] / 60
        return (
            f"epoch {self.epoch}: {self.images:,} of {self.total_images:,} images,"
            f" {metrics['images_per_s']:,.0f} a second, about {minutes:.1f} min left; losses D"
            f" {metrics['loss_d']:.3f}, G {metrics['loss_g']:.3f}; validation distance"
            f" {metrics['validation_distance']:.3f}"
        )


def train(
    state: TrainingState,
    train_split: Split,
    validation: Split,
    params: Params,
    folder: Path | None = None,
) -> Iterator[EpochResult]:
    """As train_in_process, which it calls, or several processes that Ray starts."""
    if params.processes == 1:
        yield from train_in_process(state, train_split, validation, params, folder)
        return
    from fashion_gan.training import ray_worker

    for content in ray_worker.train_distributed(params, folder):
        yield EpochResult(**content)
    state.load_state_dict(checkpoints.load_latest(folder / "checkpoints")["state"])


def train_in_process(
    state: TrainingState,
    train_split: Split,
    validation: Split,
    params: Params,
    folder: Path | None = None,
    stop_file: Path | None = None,
) -> Iterator[EpochResult]:
    """Train to `params.epochs`, yielding an EpochResult an epoch; saves checkpoints in `folder`.

    Each result is yielded before its checkpoint is written, so one that was not logged is made
    again on resume. Stops after a step once the `stop_file` exists. Raises KeyboardInterrupt after
    a whole step and a checkpoint; UserError when a loss is NaN or infinite.
    """
    keep_freed_memory()
    be_deterministic(is_deterministic(params, state.device), state.device)
    data_dir = dataset_dir(params)
    reference = _validation_features(validation, data_dir, state.device)
    from fashion_gan.training.frechet import frechet_objectives

    objectives = frechet_objectives(train_split, params, state.device, data_dir)
    lock = Lock(folder / "train.lock" if folder else None)
    with feature_network.judge_out_of_reach(), deferred_interrupt() as interrupts, lock:
        lock.acquire(f"another process trains in {folder}; wait for it, or stop it")
        trainer = Trainer(state, train_split, params, folder, objectives, interrupts, stop_file)
        trainer.forecast()
        while not trainer.is_done() and not trainer.is_late():
            trainer.run_epoch()
            if not trainer.is_epoch_whole():
                return  # max_minutes is over
            if not trainer.is_validation_due():
                trainer.begin_epoch()
                continue
            result, is_best = trainer.finish_epoch(validation, reference)
            yield result
            trainer.save(is_best)
        if interrupts:  # one that came during the last validation
            raise KeyboardInterrupt


def _validation_features(
    validation: Split, data_dir: Path, device: torch.device
) -> dict[str, torch.Tensor]:
    """The features of validation images by the networks of DISTANCES, which are loaded here:
    damaged weights end a training before its first step, not after an epoch."""
    features = {}
    for role in DISTANCES.values():
        feature_network.load_feature_network(role, str(device), data_dir)
        images, where = validation.images, str(measuring_device(device.type))
        features[role], _ = feature_network.extract_cached(role, images, data_dir, where)
    return features


def is_deterministic(params: Params, device: torch.device) -> bool:
    """Whether a training has the same bits each time. Says so where it is asked for in vain."""
    is_possible = device.type != "cuda" or params.augment != ADAPTIVE
    if params.deterministic and not is_possible:
        print(
            "deterministic is not possible with augment: adaptive on CUDA, where moved images have"
            " no such gradient; a resume is exact but for the order of sums"
        )
    return params.deterministic and is_possible


@dataclass
class Trainer:
    """The steps of a training; its checkpoints and progress file, each when its time has come."""

    state: TrainingState
    train_split: Split
    params: Params
    folder: Path | None = None
    objectives: Sequence["FrechetObjective"] = ()
    interrupts: Sequence[int] = ()  # signals that came, filled while the training goes on
    stop_file: Path | None = None

    def __post_init__(self) -> None:
        self.started = self.saved_at = self.written_at = clock.running()
        self.deadline = self.started + 60 * (self.params.max_minutes or float("inf"))
        self.first_images = self.state.position.images
        self.batches_per_epoch = len(self.train_split) // self.params.batch_size
        self.images_per_epoch = self.batches_per_epoch * self.params.batch_size
        # an epoch that a plan made shorter is not made up for
        epochs = self.params.epochs - self.state.position.epoch
        self.all_images = self.images_before_epoch() + epochs * self.images_per_epoch
        self.stepper = Stepper(self.state, self.train_split, self.params, self.objectives)

    @property
    def total_images(self) -> int:
        """That this training takes."""
        return min(self.state.position.planned_images or self.all_images, self.all_images)

    def images_before_epoch(self) -> int:
        position = self.state.position
        return position.images - position.batch * self.params.batch_size

    def is_done(self) -> bool:
        """Whether all is trained, and validated: then the next epoch has begun."""
        position = self.state.position
        return position.images >= self.total_images and not position.batch

    def is_epoch_whole(self) -> bool:
        """Whether its last batch is done; with a plan it may be a shorter one that is the last."""
        position = self.state.position
        return position.batch >= self.batches_per_epoch or position.images >= self.total_images

    def forecast(self) -> None:
        """Say how long it will take, by some steps of a copy, and plan as many images as
        max_minutes leave room for: the learning rates fall over these. A plan is kept until the
        epochs or the minutes are others; several processes make none."""
        position, limit = self.state.position, self.params.max_minutes
        if position.planned_for != (self.params.epochs, limit):
            position.planned_images = 0
        if not self.folder or self.params.processes > 1:
            return
        speed = self.trial_speed()
        if limit and not position.images:
            size = self.params.batch_size
            room = max(1, int(60 * limit * IN_STEPS * speed / size)) * size
            if room < self.all_images:
                position.planned_images = room
                position.planned_for = (self.params.epochs, limit)
        self.write_progress(speed)

    def trial_speed(self) -> float:
        """Images a second of the dearest steps, those with the Fréchet loss."""
        state, params = copy.deepcopy(self.state), self.params
        images = max(state.position.images, params.frechet_start)
        steps = min(TRIAL_STEPS[state.device.type], self.batches_per_epoch)
        first = min(WARM_UP, steps - 1)
        part = slice(steps * params.batch_size)
        split = self.train_split
        few = Split(split.images[part], split.labels[part], split.classes)
        stepper = Stepper(state, few, params, self.objectives, say=lambda _: None)
        class_count = state.generator.class_count
        stepper.load(draw_inputs(params, class_count, torch.arange(len(few)), images))
        for number in range(steps):
            if number == first:
                wait_for(state.device)
                started = clock.running()
            stepper.run(stepper.kind_of(images + number * params.batch_size, number))
        wait_for(state.device)
        seconds = clock.running() - started
        return (steps - first) * params.batch_size / max(seconds, 1e-9)

    def run_epoch(self) -> None:
        """Steps from where the epoch stands to its end, or to the deadline."""
        params, position = self.params, self.state.position
        if self.is_epoch_whole():  # a checkpoint from before its validation
            return
        started = clock.running()
        order = epoch_order(len(self.train_split), params.seed, position.epoch)
        self.load_inputs(order)
        while True:
            self.stepper.run(self.stepper.kind_of(position.images, position.batch))
            position.images += params.batch_size
            position.batch += 1
            position.summed += 1
            is_whole = self.is_epoch_whole()
            if is_whole:
                wait_for(self.state.device)
            elif position.batch % BLOCK == 0:
                self.load_inputs(order)
            now = clock.running()
            position.seconds += now - started
            started = now
            self.save_if_due()
            interrupted, late = self.stop_reasons()
            if interrupted:
                self.save()
                raise KeyboardInterrupt
            if is_whole:
                return
            if late:
                self.save()
                return

    def load_inputs(self, order: torch.Tensor) -> None:
        """Draw the inputs of the block of steps that the next one belongs to."""
        position, params = self.state.position, self.params
        block, row = divmod(position.batch, BLOCK)
        images = position.images - row * params.batch_size
        stretch = self.all_images / self.total_images
        class_count = self.state.generator.class_count
        inputs = draw_inputs(params, class_count, order, images, (position.epoch, block), stretch)
        self.stepper.load(inputs, row)

    def is_late(self) -> bool:
        """Whether max_minutes are over, in any process."""
        return any_rank(clock.running() > self.deadline, device=self.state.device)[0]

    def stop_reasons(self) -> list[bool]:
        """Whether any process is interrupted; whether max_minutes are over."""
        interrupted = bool(self.interrupts) or bool(self.stop_file and self.stop_file.exists())
        late = clock.running() > self.deadline
        return any_rank(interrupted, late, device=self.state.device)

    def is_validation_due(self) -> bool:
        """Whether the epoch that has just ended is followed by a validation; the last one is."""
        epoch = self.state.position.epoch + 1
        interval = max(1, self.params.validation_interval)
        is_last = self.state.position.images >= self.total_images
        return epoch % interval == 0 or is_last

    def begin_epoch(self) -> None:
        self.state.position.epoch += 1
        self.state.position.batch = 0

    def finish_epoch(
        self, validation: Split, reference: dict[str, torch.Tensor]
    ) -> tuple[EpochResult, bool]:
        """Validate, and begin the next epoch. The result, and whether it is the best so far."""
        self.check_finite()
        position, losses = self.state.position, self.state.losses
        loss_d, loss_g, right_real, right_fake = (losses / position.summed).tolist()
        metrics, grid = validate(self.state, validation, reference, self.params)
        self.begin_epoch()
        position.summed = 0
        losses.zero_()
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
        if self.params.augment == ADAPTIVE:
            metrics["augment_probability"] = self.state.augment_probability.value.item()
        result = EpochResult(position.epoch, metrics, grid, position.images, self.total_images)
        return result, is_best

    def check_finite(self) -> None:
        if not torch.isfinite(self.state.losses).all():
            raise UserError(
                f"a loss became NaN or infinite near image {self.state.position.images:,}; the last"
                " good checkpoint is kept: start anew with lower lr_g and lr_d"
            )

    def save_if_due(self) -> None:
        now = clock.running()
        if self.folder and now - self.written_at > PROGRESS_SECONDS:
            self.written_at = now
            self.write_progress()
        if now - self.saved_at > self.params.checkpoint_seconds:
            self.save()

    def save(self, best: bool = False) -> None:
        self.check_finite()
        self.saved_at = clock.running()
        if self.folder:
            content = self.state.state_dict()
            values = self.params.model_dump()
            images = self.state.position.images
            keep = self.params.keep_checkpoints
            folder = self.folder / "checkpoints"
            checkpoints.save_checkpoint(folder, content, values, images, keep, best)

    def write_progress(self, speed: float = 0.0) -> None:
        """progress.json: what a watcher shows while an epoch runs; `speed`: where nothing is
        trained yet, in images a second."""
        position = self.state.position
        losses = (self.state.losses / max(position.summed, 1)).tolist()
        if not all(math.isfinite(value) for value in losses):
            return  # JSON knows no NaN
        left = self.total_images - self.images_before_epoch()
        done = position.images - self.first_images
        speed = speed or done / max(clock.running() - self.started, 1e-9)
        progress = {
            "epoch": position.epoch + 1,
            "epochs": position.epoch + math.ceil(left / self.images_per_epoch),
            "images": position.images,
            "total_images": self.total_images,
            "images_per_s": speed,
            "seconds_left": (self.total_images - position.images) / speed if speed else 0.0,
        }
        if position.summed:
            progress |= {"loss_d": losses[0], "loss_g": losses[1]}
        write_json(self.folder / "progress.json", progress)


def start_or_resume(params: Params, folder: Path) -> TrainingState:
    """A state at the run's last whole checkpoint, else at `params.checkpoint`, else new."""
    state = TrainingState(params)
    latest = checkpoints.load_latest(folder / "checkpoints")
    content = latest
    if not latest and params.checkpoint:
        content = checkpoints.load_checkpoint(project_root() / params.checkpoint)
    if content:
        checkpoints.assert_resumable(content["params"], params.model_dump())
        state.load_state_dict(content["state"])
    if not latest:
        state.position.best = float("inf")  # the best so far lies in another folder
    return state


def export_best(params: Params, folder: Path) -> int:
    """Write generator and discriminator of the run's best checkpoint (lowest distance by `dev`) as
    safetensors; returns its epoch. Raises UserError where the folder has no checkpoint."""
    kept = folder / "checkpoints"
    content = checkpoints.load_latest(kept, kind="best") or checkpoints.load_latest(kept)
    if not content:
        raise UserError(f"{folder} holds no checkpoint yet; train first")
    state = TrainingState(params)
    state.load_state_dict(content["state"])
    save_network(folder / GENERATOR, ema_for_eval(state, params), state.network_params)
    save_network(folder / DISCRIMINATOR, state.discriminator, state.network_params)
    return state.position.epoch
