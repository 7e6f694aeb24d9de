"""Score a set of images: against the test split, beside real images that were never trained on, with the signs of a
generator that copies its training images or repeats itself."""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torchvision.transforms.v2.functional import gaussian_blur

from fashion_gan import features, metrics
from fashion_gan.data import load_split
from fashion_gan.files import read_json, write_json

SHIPPED = features.WEIGHTS / "reference.json"
BLUR, NOISE = (
    (0.3, 0.45, 0.6, 0.8, 1.0, 1.5),
    (5, 10, 20, 40, 80),
)  # of the ladder: pixels, grey levels
VERSION = 1  # of what is kept of real images: another one is measured again
NEARNESS = ("train", "train_features", "own")
MEMORISES = REPEATS = 0.10  # a share surely over this is named: twice that of real images
FEWEST = 50  # images of a class below which nothing is said about it


class Evaluator:
    """Scores sets of images uint8 (N, C, H, W) through one feature network, `against` a split that was never trained on; the
    other such split is what real images score. `subset`: how many training images the generator saw."""

    def __init__(
        self,
        data_dir: Path,
        subset: int = 50_000,
        role: str = "judge",
        against: str = "test",
        say: Callable[[str], None] = print,
    ):
        self.role, self.folder, self.say = role, data_dir, say
        self.against, self.control = against, "validation" if against == "test" else "test"
        sizes = {"train": subset, "validation": None, "test": None}
        self.splits = {name: load_split(data_dir, name, size, say) for name, size in sizes.items()}
        self.most = min(
            len(self.splits[name]) for name in ("validation", "test")
        )  # images that as many real ones can be held against
        self.subset, self.classes = len(self.splits["train"]), self.splits["train"].classes
        self.seen = {
            name: features.extract_kept(role, split.images, self.folder)
            for name, split in self.splits.items()
        }

    def measure(self, count: int) -> str:
        """Names the network and the count: scores compare only where it is equal."""
        return f"{features.identity(self.role, self.folder)}-{'' if self.against == 'test' else self.against + '-'}{count}"

    def look(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return features.extract(features.load(self.role, folder=self.folder), images)

    def scores(
        self, draws: Iterable[tuple[torch.Tensor, torch.Tensor | None]]
    ) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """The scores of one or several draws (images, labels) of one generator, and the first draw's nearness (see `near`).
        Single figures are means over the draws with their standard deviations under `spread`; lists and signs are the first
        draw's; `real` and `copies` are what real images get (see `reference`)."""
        found = []
        for images, labels in draws:
            self.say(f"draw {len(found) + 1}: {len(images):,} images")
            seen = self.look(images)
            found.append(self.figures(seen, labels))
            if len(found) == 1:
                near, reference = self.near(images, seen[0]), self.reference(len(images))
        single = [name for name, value in found[0].items() if isinstance(value, float)]
        values = {
            name: torch.tensor([each[name] for each in found], dtype=torch.float64)
            for name in single
        }
        scores = (
            found[0]
            | {name: value.mean().item() for name, value in values.items()}
            | self.signs(near, reference["nearness"])
        )
        scores |= {
            "measure": self.measure(len(images)),
            "samples": len(images),
            "draws": len(found),
            "subset": self.subset,
        }
        scores["spread"] = (
            {name: value.std().item() for name, value in values.items()} if len(found) > 1 else {}
        )
        scores |= {
            name: reference[name] for name in ("real", "copies", "blur", "noise", "nearness")
        } | {"classes": self.classes}
        return scores | {
            "like": like(scores["distance"], scores["real"]["distance"], scores["blur"]),
            "warnings": warnings(scores),
        }, near

    def figures(
        self, seen: tuple[torch.Tensor, torch.Tensor], labels: torch.Tensor | None = None
    ) -> dict[str, Any]:
        """Figures of N looked-at images against the first N real ones. `labels`: the classes that were asked for."""
        hidden, classes = seen
        n, real = len(hidden), self.seen[self.against][0][: len(hidden)]
        kernel, error = metrics.kernel_distance(real, hidden)
        found = {
            "distance": metrics.frechet_distance(real, hidden),
            "kernel_distance": kernel,
            "kernel_error": error,
        }
        found |= metrics.manifolds(real, hidden)
        share = torch.bincount(classes, minlength=len(self.classes)).double() / n
        found |= {
            "class_share": share.tolist(),
            "unevenness": (share - 1 / len(self.classes)).abs().sum().item() / 2,
        }
        if labels is not None:
            right = classes == labels
            found["label_accuracy"] = right.double().mean().item()
            found["class_accuracy"] = [
                right[labels == c].double().mean().nan_to_num().item()
                for c in range(len(self.classes))
            ]
        return found | self._by_class(hidden, classes if labels is None else labels)

    def _by_class(
        self, hidden: torch.Tensor, groups: torch.Tensor
    ) -> dict[str, list[float | None]]:
        """Kernel distance and recall within each class; None where a class has too few images."""
        real, real_labels = (
            self.seen[self.against][0][: len(hidden)],
            self.splits[self.against].labels[: len(hidden)],
        )
        found: dict[str, list[float | None]] = {"class_kernel_distance": [], "class_recall": []}
        for c in range(len(self.classes)):
            ours, theirs = hidden[groups == c], real[real_labels == c]
            enough = min(len(ours), len(theirs)) >= FEWEST
            found["class_kernel_distance"].append(
                metrics.kernel_distance(theirs, ours)[0] if enough else None
            )
            found["class_recall"].append(
                metrics.manifolds(theirs, ours)["recall"] if enough else None
            )
        return found

    def near(self, images: torch.Tensor, hidden: torch.Tensor) -> dict[str, torch.Tensor]:
        """How near each image lies to others. train_features: to a training image, in features. train, index: to a training image, in grey
        levels (0..255), and which. pulled: whether the nearest of training and test split together is a training image. own, own_index: to
        another image of the same set, in grey levels, and which."""
        known = len(self.splits["train"])
        distance, index = metrics.nearest_pixels(
            images, [self.splits[name].images for name in ("train", self.against)]
        )
        nearest, place = distance.masked_fill(index >= known, torch.inf).min(dim=1)
        found = {"train": nearest, "index": index.gather(1, place[:, None]).squeeze(1)}
        found["pulled"] = nearest <= distance.min(dim=1).values
        if (
            none := nearest.isinf()
        ).any():  # beside a small training set all that is near may be test images
            distance, index = metrics.nearest_pixels(images[none], [self.splits["train"].images])
            found["train"][none], place = distance.min(dim=1)
            found["index"][none] = index.gather(1, place[:, None]).squeeze(1)
        found["train_features"] = metrics.nearest(hidden.float(), self.seen["train"][0].float())[0][
            :, 0
        ]
        own = images.flatten(1).float()
        distance, index = metrics.nearest(own, own, 2)
        return found | {"own": distance[:, 1] / math.sqrt(own.shape[1]), "own_index": index[:, 1]}

    def reference(self, count: int) -> dict[str, Any]:
        """What `count` real images score: `real` never trained on (validation), `copies` of training images; distances of
        the blurred and the noisy (the ladder); points of the real ones' own nearness. Shipped for 10,000, else kept."""
        name = f"{VERSION}-{self.measure(count)}-{self.subset}"
        kept = self.folder / "features" / f"reference-{name}.json"
        for path in (SHIPPED, kept):
            if path.exists() and (found := read_json(path))["name"] == name:
                return found
        self.say(f"measuring {count:,} real images to compare with; kept in {self.folder}")
        images, seen = (
            self.splits[self.control].images[:count],
            tuple(part[:count] for part in self.seen[self.control]),
        )
        found = {"name": name, "real": self.figures(seen, self.splits[self.control].labels[:count])}
        again = torch.arange(count) % self.subset  # a generator that hands out its training images
        found["copies"] = self.figures(
            tuple(part[again] for part in self.seen["train"]), self.splits["train"].labels[again]
        )
        near = self.near(images, seen[0])
        steps = torch.linspace(0, 1, 21, dtype=torch.float64)
        found["nearness"] = {
            name: near[name].double().quantile(steps).tolist() for name in NEARNESS
        }
        found["real"] |= self.signs(near, found["nearness"])
        found["blur"] = [self.distance(blurred(images, sigma)) for sigma in BLUR]
        noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
        found["noise"] = [
            self.distance((level * noise).add_(images).round_().clamp_(0, 255).to(torch.uint8))
            for level in NOISE
        ]
        with contextlib.suppress(OSError):
            write_json(kept, found)
        return found

    def distance(self, images: torch.Tensor) -> float:
        """The Fréchet distance alone."""
        return metrics.frechet_distance(
            self.seen[self.against][0][: len(images)], self.look(images)[0]
        )

    def signs(
        self, near: dict[str, torch.Tensor], real: dict[str, list[float]]
    ) -> dict[str, list[float]]:
        """Shares, each with its 95 % interval. close_*: nearer to a training image than 95 of 100 unseen real images are, in
        grey levels and in features. memorised: copies, if all other images lie as near to unseen images as to training
        images. repeated: nearer to another one of the set than 95 of 100 real images are to another real one."""
        found = {
            f"close_{name}": metrics.share(near[name] < real[name][1])
            for name in ("train", "train_features")
        }
        found["repeated"] = metrics.share(near["own"] < real["own"][1])
        chance = self.subset / (self.subset + len(self.splits[self.against]))
        return found | {
            "memorised": [
                (value - chance) / (1 - chance) for value in metrics.share(near["pulled"])
            ]
        }


def blurred(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """In parts, since a blur takes a hundred times the memory of what is blurred."""
    return torch.cat([gaussian_blur(part, [9, 9], [sigma, sigma]) for part in images.split(200)])


def like(distance: float, floor: float, ladder: list[float]) -> str:
    """What a distance means: how much real images, which have `floor` as they are, must be blurred to have it."""
    if distance <= floor:
        return "other real images"
    for (low, high), (from_, to) in zip(
        itertools.pairwise([0.0, *BLUR]), itertools.pairwise([floor, *ladder]), strict=True
    ):
        if distance <= to:
            return f"real images blurred by {low + (high - low) * max(distance - from_, 0) / (to - from_):.1f} px"
    return f"real images blurred by more than {BLUR[-1]} px"


def warnings(scores: dict[str, Any]) -> list[str]:
    """What is wrong with a generator beside its distance, a sentence each; [] where nothing is."""
    found, words = [], "{:.0f} of 100 images ({:.0f} to {:.0f})"
    told = {
        name: words.format(*(100 * value for value in scores[name]))
        for name in ("close_train", "memorised", "repeated")
    }
    if (
        scores["close_train"][1] > MEMORISES
        or scores["memorised"][1] > scores["real"]["memorised"][2]
    ):
        found.append(
            f"It memorises: {told['close_train']} lie as near to a training image as 5 of 100 unseen real images do; about "
            f"{told['memorised']} are drawn to a training image, more than chance and real images explain."
        )
    if scores["repeated"][1] > REPEATS:
        found.append(
            f"It repeats itself: {told['repeated']} are as near to another one as 5 of 100 real images are."
        )
    if scores["unevenness"] > max(0.05, 3 * scores["real"]["unevenness"]):
        found.append(
            f"Its classes are uneven: {100 * scores['unevenness']:.0f} of 100 images would have to be of another class."
        )
    return found
