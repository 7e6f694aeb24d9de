"""Compare recipes in minutes on one NVIDIA GPU: trainings side by side, each on a stream of its
own, scored by `dev` on the validation split. A step is too small to fill such a card: three at once
do 1.7 times as much. On a CPU it takes hours.

    python benchmarks/side_by_side.py params/default.yaml recipes.yaml --minutes 4

recipes.yaml: a name, and the parameters that differ, as {late fall: {lr_decay_start: 400000}}. They
are taken --at-once at a time, in this order; what is cut off by --minutes is scored as it stands.
Neither the judge nor the test split takes part.
"""

import argparse
import json
import time
from pathlib import Path

import torch
import yaml

from fashion_gan.config.params import Params
from fashion_gan.config.profiles import read_profile
from fashion_gan.data.batches import epoch_order
from fashion_gan.data.datasets import Split, load_split
from fashion_gan.device import pick_device, wait_for
from fashion_gan.metrics.distances import frechet_distance
from fashion_gan.metrics.manifolds import prdc
from fashion_gan.models.feature_network import extract_features, load_feature_network
from fashion_gan.models.latents import balanced_labels, sample_images
from fashion_gan.training.device import be_deterministic
from fashion_gan.training.frechet import FrechetObjective, frechet_objectives
from fashion_gan.training.inputs import BLOCK, draw_inputs
from fashion_gan.training.state import TrainingState
from fashion_gan.training.stepper import Stepper
from fashion_gan.training.validation import ema_for_eval

SAMPLES = 10_000
IN_TURN = 4  # steps of one training before the next one's


class Training:
    """One of those that go on side by side."""

    def __init__(self, name: str, params: Params, split: Split, objectives: list[FrechetObjective]):
        self.name, self.params = name, params
        self.state = TrainingState(params)
        self.stepper = Stepper(self.state, split, params, objectives)
        # as torch.cuda.stream takes it: None where there is no GPU
        self.stream = torch.cuda.Stream() if split.images.is_cuda else None
        self.count = len(split)
        self.per_epoch = self.count // params.batch_size
        self.steps = 0

    @property
    def images(self) -> int:
        return self.steps * self.params.batch_size

    def is_done(self) -> bool:
        return self.steps >= self.params.epochs * self.per_epoch

    def take_step(self) -> None:
        params = self.params
        epoch, batch = divmod(self.steps, self.per_epoch)
        block, row = divmod(batch, BLOCK)
        if not row:
            order = epoch_order(self.count, params.seed, epoch)
            class_count = self.state.generator.class_count
            self.stepper.load(draw_inputs(params, class_count, order, self.images, (epoch, block)))
        kind = self.stepper.kind_of(self.images, batch)
        if kind not in self.stepper.graphs:
            wait_for(self.state.device)  # a capture is alone
        self.stepper.run(kind)
        self.steps += 1

    def scores(self, validation: Split) -> dict:
        labels = balanced_labels(SAMPLES)
        images = sample_images(ema_for_eval(self.state, self.params), SAMPLES, 0, labels)
        scores = {"name": self.name, "images": self.images}
        for role in ("dev", "train"):
            network = load_feature_network(role, str(self.state.device))
            real, _ = extract_features(network, validation.images)
            fake, predicted = extract_features(network, images)
            scores[role] = frechet_distance(real, fake)
            if role == "dev":
                scores |= prdc(*(part.to(self.state.device) for part in (real, fake)))
                scores["label_accuracy"] = (predicted == labels).double().mean().item()
        return {key: round(v, 4) if isinstance(v, float) else v for key, v in scores.items()}


def train(trainings: list[Training], validation: Split, deadline: float) -> None:
    """Train all of them to their ends, or to the deadline, printing the scores of each."""
    left = list(trainings)
    started = time.monotonic()
    while left and time.monotonic() < deadline:
        for training in left:
            with torch.cuda.stream(training.stream):
                for _ in range(IN_TURN):
                    if not training.is_done():
                        training.take_step()
        for training in [training for training in left if training.is_done()]:
            wait_for(training.state.device)
            print(json.dumps(training.scores(validation)), flush=True)
            left.remove(training)
    for training in left:
        wait_for(training.state.device)
    seconds = time.monotonic() - started
    for training in left:
        print(json.dumps(training.scores(validation) | {"cut": True}), flush=True)
    images = sum(training.images for training in trainings)
    print(f"{images / seconds:,.0f} images a second of all {len(trainings)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("profile", type=Path)
    parser.add_argument("recipes", type=Path)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--at-once", type=int, default=6)
    args = parser.parse_args()
    deadline = time.monotonic() + 60 * args.minutes
    device = pick_device()
    be_deterministic(False, device)
    profile = read_profile(args.profile).params
    recipes = yaml.safe_load(args.recipes.read_text())
    split = load_split(Path(profile.data_dir), "train", profile.subset)
    split = Split(split.images.to(device), split.labels.to(device))
    validation = load_split(Path(profile.data_dir), "validation")
    objectives = frechet_objectives(split, profile, device)
    names = list(recipes)
    for first in range(0, len(names), args.at_once):
        trainings = []
        for name in names[first : first + args.at_once]:
            changed = profile.model_dump() | recipes[name]
            params = Params.checked(changed).with_epochs(len(split))
            trainings.append(Training(name, params, split, objectives[: params.frechet_networks]))
        train(trainings, validation, deadline)


if __name__ == "__main__":
    main()
