"""Score a set of images: against the test split, beside real images that were never trained on,
with the signs of a generator that copies its training images or repeats itself."""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torchvision.transforms.v2.functional import gaussian_blur

from fashion_gan.data.datasets import Split, load_split
from fashion_gan.device import is_room_for, measuring_device
from fashion_gan.errors import UserError
from fashion_gan.files import read_json, write_json
from fashion_gan.metrics.distances import frechet_distance, wilson_interval
from fashion_gan.metrics.kernel import kernel_distance
from fashion_gan.metrics.manifolds import prdc, radius
from fashion_gan.metrics.neighbours import knn, nearest_images
from fashion_gan.models.feature_network import (
    WEIGHTS,
    extract_cached,
    extract_features,
    load_feature_network,
    network_id,
)
from fashion_gan.models.latents import class_shares, proportional_labels

SHIPPED = WEIGHTS / "reference.json"
# of the ladder: pixels, grey levels
BLUR, NOISE = (0.3, 0.45, 0.6, 0.8, 1.0, 1.5), (5, 10, 20, 40, 80)
VERSION = 1  # of what is kept of real images: another one is measured again
NEARNESS = ("train", "train_features", "own")
MEMORISES = REPEATS = 0.10  # a share surely over this is named: twice that of real images
FEWEST = 50  # images of a class below which nothing is said about it
FEW = 500  # images below which figures are said to be rough

Features = tuple[torch.Tensor, torch.Tensor]  # of images: features (N, d), predicted classes (N,)
Neighbours = dict[str, torch.Tensor]  # see Evaluator.nearest_neighbours
Scores = dict[str, Any]  # figures by name, as scores.json has them


class Evaluator:
    """Scores sets of images uint8 (N, C, H, W) through one feature network, `against` a split that
    was never trained on; the other such split is what real images score. `subset`: how many
    training images the generator saw. `mixture`: the real images' classes are as frequent as in
    the "data", or, by leaving images out, "equal"."""

    def __init__(
        self,
        data_dir: Path,
        subset: int = 50_000,
        role: str = "judge",
        against: str = "test",
        log: Callable[[str], None] = print,
        mixture: str = "data",
        device: str = "auto",
    ):
        self.role = role
        self.device = measuring_device(device)
        self.folder = data_dir
        self.log = log
        self.against = against
        self.control = "validation" if against == "test" else "test"
        sizes = {"train": subset, "validation": None, "test": None}
        self.splits = {name: load_split(data_dir, name, size, log) for name, size in sizes.items()}
        self.classes = self.splits["train"].classes
        self.copied = torch.arange(len(self.splits["train"]))
        if mixture == "equal":
            self.copied = _equal_classes(self.splits["train"])
            for name in ("validation", "test"):
                self.splits[name] = _only(self.splits[name], _equal_classes(self.splits[name]))
        self.shares = class_shares(self.splits[against].labels, len(self.classes))
        self.is_even = bool((self.shares == self.shares[0]).all())
        self.mixture = "equal-" if mixture == "equal" else "" if self.is_even else "data-"
        self.features = {
            name: extract_cached(role, split.images, data_dir, str(self.device))
            for name, split in self.splits.items()
        }
        # by count, of the balls of so many real images: the same for every draw
        self.real_radius: dict[int, torch.Tensor] = {}
        # images that as many real ones can be held against
        self.most = min(len(self.splits["validation"]), len(self.splits["test"]))
        self.subset = len(self.splits["train"])

    def metric_id(self, count: int) -> str:
        """Names the network, the classes' mixture and the count: scores compare only where it is
        equal."""
        against = "" if self.against == "test" else f"{self.against}-"
        return f"{network_id(self.role, self.folder)}-{self.mixture}{against}{count}"

    def labels(self, count: int) -> torch.Tensor:
        """What a generator is to be asked for, (count,): the real images' classes, as frequent."""
        return proportional_labels(count, self.shares)

    def extract_features(self, images: torch.Tensor) -> Features:
        network = load_feature_network(self.role, str(self.device), self.folder)
        return extract_features(network, images)

    def scores(
        self, draws: Iterable[tuple[torch.Tensor, torch.Tensor | None]]
    ) -> tuple[Scores, Neighbours]:
        """The scores of one or several draws (images, labels) of one generator, and the first
        draw's nearest neighbours. Single figures are means over the draws with their standard
        deviations under `spread`; lists and memorisation are the first draw's; `real` and `copies`
        are what real images get (see `reference`)."""
        figures = []
        for images, labels in draws:
            self.log(f"draw {len(figures) + 1}: {len(images):,} images")
            features = self.extract_features(images)
            figures.append(self.figures(features, labels))
            if len(figures) == 1:
                targets = labels
                nearest = self.nearest_neighbours(images, features[0])
                reference = self.reference(len(images))
        means, spread = _mean_and_spread(figures)
        scores = figures[0] | means
        scores |= self.memorization_scores(nearest, reference["nearness"])
        scores |= {
            "measure": self.metric_id(len(images)),
            "samples": len(images),
            "draws": len(figures),
            "subset": self.subset,
            "spread": spread,
        }
        for name in ("real", "copies", "blur", "noise", "nearness"):
            scores[name] = reference[name]
        scores["classes"] = self.classes
        floor = scores["real"]["distance"]
        scores["like"] = blur_equivalent(scores["distance"], floor, scores["blur"])
        scores["warnings"] = warnings(scores) + self._mixture_warnings(targets)
        return scores, nearest

    def _mixture_warnings(self, labels: torch.Tensor | None) -> list[str]:
        """A sentence where the classes that were asked for are not as frequent as the real ones."""
        if labels is None:
            return []
        shares = torch.bincount(labels, minlength=len(self.classes)) / len(labels)
        difference = (shares - self.shares).abs().sum().item() / 2
        # labels that were drawn at random differ by so much
        if difference < 0.05 + 0.5 * math.sqrt(len(self.classes) / len(labels)):
            return []
        return [
            f"Its classes are not as frequent as the real images': {100 * difference:.0f} of 100"
            " would have to be of another class, and the distance counts that."
        ]

    def figures(self, images: Features, labels: torch.Tensor | None = None) -> Scores:
        """Figures of N images against the first N real ones. `labels`: what the generator got."""
        features, predicted = images
        count, class_count = len(features), len(self.classes)
        features = features.to(self.device)
        real = self.features[self.against][0][:count].to(self.device)
        if count not in self.real_radius:
            self.real_radius[count] = radius(real)
        kernel, error = kernel_distance(real, features)
        share = torch.bincount(predicted, minlength=class_count).double() / count
        figures = {
            "distance": frechet_distance(real, features),
            "kernel_distance": kernel,
            "kernel_error": error,
            **prdc(real, features, real_radius=self.real_radius[count]),
            "class_share": share.tolist(),
            "unevenness": (share - self.shares).abs().sum().item() / 2,
        }
        if labels is not None:
            right = (predicted == labels).double()
            drawn = [right[labels == c] for c in range(class_count)]
            by_class = [hits.mean().item() if len(hits) else None for hits in drawn]
            figures["label_accuracy"] = right.mean().item()
            figures["class_accuracy"] = by_class
        return figures | self._by_class(features, real, predicted if labels is None else labels)

    def _by_class(
        self, features: torch.Tensor, real: torch.Tensor, labels: torch.Tensor
    ) -> dict[str, list[float | None]]:
        """Kernel distance and recall within each class; None where a class has too few images."""
        real_labels = self.splits[self.against].labels[: len(features)]
        distances: list[float | None] = []
        recalls: list[float | None] = []
        for c in range(len(self.classes)):
            ours, theirs = features[labels == c], real[real_labels == c]
            enough = min(len(ours), len(theirs)) >= FEWEST
            distances.append(kernel_distance(theirs, ours)[0] if enough else None)
            recalls.append(prdc(theirs, ours)["recall"] if enough else None)
        return {"class_kernel_distance": distances, "class_recall": recalls}

    def nearest_neighbours(self, images: torch.Tensor, features: torch.Tensor) -> Neighbours:
        """How near each image lies to others. train_features: to a training image, in features.
        train, index: to a training image, in grey levels (0..255), and which. pulled: whether the
        nearest of training and test split together is a training image. own, own_index: to another
        image of the same set, in grey levels, and which."""
        pools = [self.splits[name].images for name in ("train", self.against)]
        if self.device.type == "cuda" and is_room_for(sum(map(torch.numel, pools)), self.device):
            images, *pools = (part.to(self.device) for part in (images, *pools))
        train, _ = pools
        distances, indices = nearest_images(images, pools)
        to_train = distances.masked_fill(indices >= len(train), torch.inf)
        nearest, index = _nearest_column(to_train, indices)
        pulled = nearest <= distances.min(dim=1).values
        # beside a small training set all that is near may be test images
        none = nearest.isinf()
        if none.any():
            nearest[none], index[none] = _nearest_column(*nearest_images(images[none], [train]))
        in_features, _ = knn(
            features.float().to(self.device), self.features["train"][0].float().to(self.device)
        )
        pixels = images.flatten(1).float()
        others, other_index = knn(pixels, pixels, 2)  # the nearest is the image itself
        nearest_by = {
            "train": nearest,
            "index": index,
            "pulled": pulled,
            "train_features": in_features[:, 0],
            "own": others[:, 1] / math.sqrt(pixels.shape[1]),
            "own_index": other_index[:, 1],
        }
        return {name: values.cpu() for name, values in nearest_by.items()}

    def reference(self, count: int) -> Scores:
        """What `count` real images score: `real` never trained on (validation), `copies` of
        training images; distances of the blurred and the noisy (the ladder); points of the real
        ones' own nearness. Shipped for 10,000, else kept."""
        name = f"{VERSION}-{self.metric_id(count)}-{self.subset}"
        path = self.folder / "features" / f"reference-{name}.json"
        for candidate in (SHIPPED, path):
            if candidate.exists() and (reference := read_json(candidate))["name"] == name:
                return reference
        self.log(f"measuring {count:,} real images to compare with; kept in {self.folder}")
        reference = self._measure_reference(name, count)
        with contextlib.suppress(OSError):
            write_json(path, reference)
        return reference

    def _measure_reference(self, name: str, count: int) -> Scores:
        control, train = self.splits[self.control], self.splits["train"]
        images = control.images[:count]
        features = tuple(part[:count] for part in self.features[self.control])
        real = self.figures(features, control.labels[:count])
        # a generator that hands out its training images
        again = self.copied[torch.arange(count) % len(self.copied)]
        copied = tuple(part[again] for part in self.features["train"])
        nearest = self.nearest_neighbours(images, features[0])
        points = torch.linspace(0, 1, 21, dtype=torch.float64)
        nearness = {kind: nearest[kind].double().quantile(points).tolist() for kind in NEARNESS}
        noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
        return {
            "name": name,
            "real": real | self.memorization_scores(nearest, nearness),
            "copies": self.figures(copied, train.labels[again]),
            "nearness": nearness,
            "blur": [self.distance(blurred(images, sigma)) for sigma in BLUR],
            "noise": [self.distance(_noisy(images, level * noise)) for level in NOISE],
        }

    def distance(self, images: torch.Tensor) -> float:
        """The Fréchet distance alone."""
        real = self.features[self.against][0][: len(images)]
        return frechet_distance(real, self.extract_features(images)[0])

    def memorization_scores(
        self, nearest: Neighbours, real: dict[str, list[float]]
    ) -> dict[str, list[float]]:
        """Shares, each with its 95 % interval. close_*: nearer to a training image than 95 of 100
        unseen real images are, in grey levels and in features. memorised: copies, if all other
        images lie as near to unseen images as to training images. repeated: nearer to another one
        of the set than 95 of 100 real images are to another real one. `real`: the points of real
        images' nearness."""
        chance = self.subset / (self.subset + len(self.splits[self.against]))
        pulled = wilson_interval(nearest["pulled"])
        features = "train_features"
        return {
            "close_train": wilson_interval(nearest["train"] < real["train"][1]),
            "close_train_features": wilson_interval(nearest[features] < real[features][1]),
            "repeated": wilson_interval(nearest["own"] < real["own"][1]),
            "memorised": [(value - chance) / (1 - chance) for value in pulled],
        }


def _only(split: Split, index: torch.Tensor) -> Split:
    return Split(split.images[index], split.labels[index], split.classes)


def _equal_classes(split: Split) -> torch.Tensor:
    """The first images of each class, as many as the smallest class has, by their numbers."""
    count = int(torch.bincount(split.labels, minlength=len(split.classes)).min())
    if not count:
        raise UserError(
            "a class has no image to be measured against; allowed: class_shares=data, or add some"
        )
    by_class = [(split.labels == c).nonzero().flatten() for c in range(len(split.classes))]
    return torch.cat([index[:count] for index in by_class]).sort().values


def _nearest_column(
    distances: torch.Tensor, indices: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The smallest distance of each row (N, M), and its index."""
    nearest, column = distances.min(dim=1)
    return nearest, indices.gather(1, column[:, None]).squeeze(1)


def _mean_and_spread(figures: list[Scores]) -> tuple[dict[str, float], dict[str, float]]:
    """Means of single figures over the draws, and, of several, their standard deviations."""
    means, spread = {}, {}
    for name, value in figures[0].items():
        if isinstance(value, float):
            values = torch.tensor([draw[name] for draw in figures], dtype=torch.float64)
            means[name] = values.mean().item()
            if len(figures) > 1:
                spread[name] = values.std().item()
    return means, spread


def blurred(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """In parts, since a blur takes a hundred times the memory of what is blurred."""
    return torch.cat([gaussian_blur(part, [9, 9], [sigma, sigma]) for part in images.split(200)])


def _noisy(images: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    # in place: several float copies of 10,000 images would stand in memory
    return noise.add_(images).round_().clamp_(0, 255).to(torch.uint8)


def blur_equivalent(distance: float, floor: float, ladder: list[float]) -> str:
    """How much real images, whose distance is `floor`, must be blurred to have this distance."""
    if distance <= floor:
        return "other real images"
    steps = itertools.pairwise(zip([0.0, *BLUR], [floor, *ladder], strict=True))
    for (low, start), (high, end) in steps:
        if distance <= end:
            sigma = low + (high - low) * max(distance - start, 0) / (end - start)
            return f"real images blurred by {sigma:.1f} px"
    return f"real images blurred by more than {BLUR[-1]} px"


def warnings(scores: Scores) -> list[str]:
    """What is wrong with a generator beside its distance, a sentence each; [] where nothing is."""
    shares = {}
    for name in ("close_train", "memorised", "repeated"):
        share, low, high = (100 * value for value in scores[name])
        shares[name] = f"{share:.0f} of 100 images ({low:.0f} to {high:.0f})"
    real = scores["real"]
    sentences = []
    if scores["samples"] < FEW:
        error = 100 / math.sqrt(scores["samples"])
        sentences.append(
            f"These figures rest on {scores['samples']} real images only: a share may be off by"
            f" {error:.0f} of 100, and small differences mean nothing."
        )
    if scores["distance"] > scores["blur"][-1]:
        sentences.append(
            "Its images are further from real ones than these are when nothing but blurred shapes"
            " is left of them: it was trained too short, or it has collapsed."
        )
    elif scores["recall"] < real["recall"] / 4:
        sentences.append(
            f"It shows a small part of the variety: a recall of {scores['recall']:.2f} (real"
            f" images: {real['recall']:.2f})."
        )
    if scores["close_train"][1] > MEMORISES or scores["memorised"][1] > real["memorised"][2]:
        sentences.append(
            f"It memorises: {shares['close_train']} lie as near to a training image as 5 of 100"
            f" unseen real images do; about {shares['memorised']} are drawn to a training image,"
            " more than chance and real images explain."
        )
    if scores["repeated"][1] > REPEATS:
        sentences.append(
            f"It repeats itself: {shares['repeated']} are as near to another one as 5 of 100 real"
            " images are."
        )
    if scores["unevenness"] > max(0.05, 3 * real["unevenness"]):
        sentences.append(
            f"Its classes are uneven: {100 * scores['unevenness']:.0f} of 100 images would have to"
            " be of another class."
        )
    return sentences
