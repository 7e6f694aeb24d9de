"""The training loop, a generator that yields a record an epoch; looking at it without touching it; resume."""

import contextlib
import copy
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from fashion_gan import checkpoint, data, features, metrics, model, objectives, parallel
from fashion_gan.errors import UserError, project_root
from fashion_gan.files import Lock, write_json
from fashion_gan.networks import Generator
from fashion_gan.params import Params
from fashion_gan.state import (
    FrechetObjective,
    TrainingState,
    average,
    draw_latents,
    learning_rate_factor,
    step,
)


@dataclass(frozen=True)
class Record:
    """What an epoch left: `epoch` (epochs finished), `metrics` by name, `grid` uint8 (N, C, H, W) of fixed latents."""

    epoch: int
    metrics: dict[str, float]
    grid: torch.Tensor
    images: int
    total_images: int

    def __str__(self) -> str:
        m, left = (
            self.metrics,
            (self.total_images - self.images) / self.metrics["images_per_s"] / 60,
        )
        return (
            f"epoch {self.epoch}: {self.images:,} of {self.total_images:,} images, {m['images_per_s']:,.0f} a second, about {left:.1f} min "
            f"left; losses D {m['loss_d']:.3f}, G {m['loss_g']:.3f}; validation distance {m['validation_distance']:.3f}"
        )


@contextlib.contextmanager
def held_back_interrupt() -> Iterator[list]:
    """Holds Ctrl-C back until a step is whole, so that what is saved is never half a step; gives a list that it fills."""
    asked: list = []
    if (
        threading.current_thread() is not threading.main_thread()
    ):  # only there a signal can be held back
        yield asked
        return
    before = signal.signal(signal.SIGINT, lambda *_: asked.append(True))
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


class Keeper:
    """Saves checkpoints and the progress file of a training, each when its time has come."""

    def __init__(self, state: TrainingState, params: Params, folder: Path | None, total: int):
        self.state, self.params, self.folder, self.total = state, params, folder, total
        self.saved_at = self.told_at = self.started = time.monotonic()
        self.first_images = state.position.images

    def check_finite(self) -> None:
        if not torch.isfinite(self.state.losses).all():
            where = f"near image {self.state.position.images:,}"
            raise UserError(
                f"a loss became NaN or infinite {where}; the last good checkpoint is kept: start anew with lower lr_g and lr_d"
            )

    def save(self, best: bool = False) -> None:
        self.check_finite()
        self.saved_at = time.monotonic()
        if self.folder:
            place, keep = self.folder / "checkpoints", self.params.keep_checkpoints
            checkpoint.save(
                place,
                self.state.state_dict(),
                self.params.model_dump(),
                self.state.position.images,
                keep,
                best,
            )

    def after_step(self) -> None:
        now = time.monotonic()
        if self.folder and now - self.told_at > 2:
            self.told_at = now
            self.tell()
        if now - self.saved_at > self.params.checkpoint_seconds:
            self.save()

    def tell(self) -> None:
        """progress.json: what a watcher shows while an epoch runs."""
        p, done = self.state.position, self.state.position.images - self.first_images
        speed = done / max(time.monotonic() - self.started, 1e-9)
        losses = (self.state.losses / max(p.batch, 1)).tolist()
        left = (self.total - p.images) / speed if speed else 0.0
        if all(value == value and abs(value) < 1e30 for value in losses):  # JSON knows no NaN
            told = {
                "epoch": p.epoch + 1,
                "epochs": self.params.epochs,
                "images": p.images,
                "total_images": self.total,
            }
            told |= {
                "images_per_s": speed,
                "seconds_left": left,
                "loss_d": losses[0],
                "loss_g": losses[1],
            }
            write_json(self.folder / "progress.json", told)


def train(
    state: TrainingState,
    train_split: data.Split,
    validation: data.Split,
    params: Params,
    folder: Path | None = None,
) -> Iterator[Record]:
    """Train to `params.epochs`, yielding a Record an epoch; saves checkpoints to `folder`/checkpoints if one is given.
    Each record is yielded before its checkpoint is written, so a record that was not logged is made again on resume.
    Raises KeyboardInterrupt after a whole step and a checkpoint; UserError when a loss is NaN or infinite."""
    if params.workers > parallel.team.size:
        yield from (Record(**content) for content in parallel.records(params, folder))
        state.load_state_dict(checkpoint.load_last(folder / "checkpoints")["state"])
        return
    where = data.place(params)
    reference = {}
    for role in ("dev", "train"):
        features.load(
            role, str(state.device), where
        )  # damaged weights end a training before its first step, not after an epoch
        reference[role] = features.extract_kept(role, validation.images, where)[0]
    frechet = (
        FrechetObjective(train_split, params.conditional, state.device, where)
        if params.feature_loss
        else None
    )
    position, per_epoch = state.position, len(train_split) // params.batch_size
    keeper = Keeper(state, params, folder, params.epochs * per_epoch * params.batch_size)
    deadline = time.monotonic() + params.max_minutes * 60 if params.max_minutes else float("inf")
    with (
        features.training(),
        held_back_interrupt() as interrupts,
        Lock(folder / "train.lock" if folder else None) as lock,
    ):
        lock.acquire(f"another process trains in {folder}; wait for it, or stop it")
        while (
            position.epoch < params.epochs
            and not parallel.any_of(False, time.monotonic() > deadline)[1]
        ):
            run_epoch(state, train_split, params, frechet, keeper, interrupts, deadline)
            if position.batch < per_epoch:
                return  # max_minutes is over
            record, best = finish_epoch(state, validation, reference, params, keeper)
            yield record
            keeper.save(best)


def run_epoch(
    state, train_split, params: Params, frechet, keeper: Keeper, interrupts: list, deadline: float
) -> None:
    """Steps from where the epoch stands to its end, or to the deadline."""
    position, lrs = (
        state.position,
        ((state.optimizer_g, params.lr_g), (state.optimizer_d, params.lr_d)),
    )
    started = time.monotonic()
    for real, labels in data.batches(
        train_split, params.batch_size, params.seed, position.epoch, position.batch, state.device
    ):
        factor = learning_rate_factor(position.images, params)
        for optimizer, lr in lrs:
            optimizer.param_groups[0]["lr"] = lr * factor
        try:
            step(state, real, labels, params, frechet)
        except torch.linalg.LinAlgError:  # the Fréchet loss met a NaN first
            state.losses += float("nan")
            keeper.check_finite()
        position.images += len(real)
        position.batch += 1
        average(state, params)
        now = time.monotonic()
        position.seconds, started = position.seconds + now - started, now
        keeper.after_step()
        stop, late = parallel.any_of(bool(interrupts), now > deadline)
        if stop:
            keeper.save()
            raise KeyboardInterrupt
        if late and position.batch < len(train_split) // params.batch_size:
            keeper.save()
            return


def finish_epoch(
    state, validation, reference, params: Params, keeper: Keeper
) -> tuple[Record, bool]:
    """Look, and move the position to the next epoch's start. Returns the record, and whether it is the best so far."""
    keeper.check_finite()
    position = state.position
    loss_d, loss_g, right_real, right_fake = (state.losses / position.batch).tolist()
    values, grid = look(state, validation, reference, params)
    position.epoch, position.batch = position.epoch + 1, 0
    state.losses.zero_()
    best = values["validation_distance"] < position.best
    position.best = min(position.best, values["validation_distance"])
    values |= {
        "loss_d": loss_d,
        "loss_g": loss_g,
        "accuracy_real": right_real,
        "accuracy_fake": right_fake,
    }
    speed = position.images / max(position.seconds, 1e-9)
    values |= {
        "epoch": position.epoch,
        "images": position.images,
        "seconds": position.seconds,
        "images_per_s": speed,
    }
    return Record(position.epoch, values, grid, position.images, keeper.total), best


def start_or_resume(params: Params, folder: Path) -> TrainingState:
    """A state at the run's last whole checkpoint, else at `params.checkpoint`, else at the beginning."""
    state = TrainingState(params)
    own = checkpoint.load_last(folder / "checkpoints")
    content = own or (
        checkpoint.load(project_root() / params.checkpoint) if params.checkpoint else None
    )
    if content:
        checkpoint.check_same(content["params"], params.model_dump())
        state.load_state_dict(content["state"])
    if not own:
        state.position.best = float("inf")  # the best so far lies in another folder
    return state


def export(params: Params, folder: Path) -> int:
    """Write generator and discriminator of the run's best checkpoint (lowest distance by `dev`) as safetensors. Returns
    the epoch they are from. Raises UserError where the folder has no checkpoint."""
    content = checkpoint.load_last(folder / "checkpoints", kind="best") or checkpoint.load_last(
        folder / "checkpoints"
    )
    if not content:
        raise UserError(f"{folder} holds no checkpoint yet; train first")
    state, values = TrainingState(params), params.model_dump()
    state.load_state_dict(content["state"])
    if state.about.own:
        values |= {"shape": state.about.shape, "classes": state.about.classes}
    model.save_network(folder / model.FILE, averaged_generator(state, params), values)
    model.save_network(folder / model.DISCRIMINATOR, state.discriminator, values)
    return state.position.epoch


@torch.no_grad()
def averaged_generator(state: TrainingState, params: Params, images: int = 2000) -> Generator:
    """The averaged generator, in evaluation mode, with batch-norm statistics of its own weights. The running statistics
    belong to other weights: averaging weights and keeping them costs quality (BigGAN, 2019, appendix). Drawn from
    random numbers of its own, so training's bits do not change."""
    network = copy.deepcopy(state.averaged)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches below
    network.train()
    random = torch.Generator().manual_seed(params.seed + 1)
    for _ in range(max(1, images // 200)):
        network(*draw_latents(200, network, random, state.device))
    return network.eval()


@torch.no_grad()
def look(
    state: TrainingState, validation: data.Split, reference: dict[str, torch.Tensor], params: Params
) -> tuple[dict, torch.Tensor]:
    """Metrics on validation images and fresh samples, and a grid of fixed latents: a row a class. `reference`:
    features of the validation split by the networks dev, which chooses, and train, which an objective may look through: where its
    distance falls and dev's does not, the objective is being gamed. Uses random numbers of its own."""
    count = min(params.look_images, len(validation))
    network = averaged_generator(state, params)
    random = torch.Generator().manual_seed(params.seed + 2)
    rows = network.class_count if network.class_count > 1 else 10
    z, _ = draw_latents(max(count, 10 * rows), network, random, state.device)
    asked = (torch.arange(len(z)) % network.class_count).to(state.device)
    made = torch.cat([network(*part) for part in zip(z.split(500), asked.split(500), strict=True)])
    fake, asked = made[:count], asked[:count]
    real = data.make_transform()(validation.images[:count].to(state.device))
    labels = validation.labels[:count].to(state.device)
    D = state.discriminator.eval()
    real_logits, fake_logits = D(real, labels), D(fake, asked)
    D.train()
    threshold = (
        metrics.best_threshold(real_logits.cpu(), fake_logits.cpu())
        if params.loss == "relativistic"
        else 0.0
    )
    right = torch.cat([real_logits > threshold, fake_logits <= threshold]).double().mean().item()
    loss = objectives.LOSSES[params.loss][0](real_logits, fake_logits).item()
    values = {"validation_loss_d": loss, "validation_accuracy": right}
    for name, role in (("validation_distance", "dev"), ("validation_distance_train", "train")):
        seen = features.extract(features.load(role, str(state.device), data.place(params)), fake)[0]
        values[name] = metrics.frechet_distance(reference[role], seen)
    order = torch.arange(10 * rows).view(10, rows).T.flatten()  # row c: class c
    return values, data.to_uint8(made[: 10 * rows][order].cpu())
