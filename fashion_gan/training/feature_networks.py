"""Train three feature networks: those that the project ships (`fashion-gan train-features`, about 7
minutes on 2 cores), and those of a packed data set, once, when it is packed."""

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import torch
from scipy.stats import spearmanr
from torch.nn import functional as F

from fashion_gan.data import augment
from fashion_gan.data.batches import batches
from fashion_gan.data.datasets import DatasetInfo, Split, dataset_info, load_split
from fashion_gan.files import digest, replacing, write_json
from fashion_gan.metrics.evaluator import Evaluator, blurred
from fashion_gan.models.feature_network import (
    FEATURE_COUNT,
    ROLES,
    TOTAL_VARIANCE,
    WEIGHTS,
    FeatureNetwork,
    FeatureNetworkConfig,
    extract_features,
    networks_dir,
)

SEEN, MOST = 300_000, 20  # images that a packed set's networks see; epochs at most
SAYING = 10  # seconds between two lines that say how far it is


def turned(images: torch.Tensor, draws: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Each image (N, C, H, W) turned by a random one of four turns, and which (Gidaris et al.
    2018). Where the sides differ: as it is, mirrored, upside down, both."""
    turns = torch.randint(0, 4, (len(images),), generator=draws)
    if images.shape[2] == images.shape[3]:
        made = [torch.rot90(images, k, (2, 3)) for k in range(4)]
    else:
        made = [images, images.flip(3), images.flip(2), images.flip(2, 3)]
    return torch.stack(made)[turns, torch.arange(len(images))], turns


def train_feature_network(
    shape: FeatureNetworkConfig,
    train: Split,
    epochs: int,
    say: Callable[[str], None],
    of: DatasetInfo | None = None,
) -> FeatureNetwork:
    """Train one classifier: cross entropy, AdamW, one-cycle, images moved by up to 2 pixels and, of
    Fashion-MNIST, mirrored. Without labels it learns which way an image was turned, with a head
    that is then thrown away."""
    of, unlabelled = of or DatasetInfo(), len(train.classes) == 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(shape.seed)
        network = FeatureNetwork(shape, of)
        ways, head = torch.nn.Linear(FEATURE_COUNT, 4), network.head
    network.head = ways if unlabelled else head
    draws = torch.Generator().manual_seed(shape.seed)
    size = 128 if len(train) >= 4000 else 32
    steps = epochs * (len(train) // size)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3, weight_decay=5e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps)
    began = said = time.monotonic()
    network.train()
    stream = itertools.chain.from_iterable(
        batches(train, size, shape.seed, epoch) for epoch in range(epochs)
    )
    for step, (images, labels) in enumerate(stream, 1):
        images, labels = (
            turned(images, draws)
            if unlabelled
            else (images if of.is_packed else augment.flip(images, draws), labels)
        )
        images = augment.translate(images, draws, reach=2)
        loss = F.cross_entropy(network(images), labels, label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if time.monotonic() - said > SAYING:
            said, done = time.monotonic(), step / steps
            say(
                f"{done:.0%}, loss {loss.item():.3f}, {(said - began) * (1 - done) / done:.0f} s"
                " left"
            )
    network.head = head
    network.eval()
    variance = extract_features(network, train.images)[0].var(dim=0).sum()
    network.scale.fill_((TOTAL_VARIANCE / variance).sqrt().item())
    return network


def train_all(
    train: Split,
    test: Split,
    epochs: int = 10,
    say: Callable[[str], None] = print,
    to: Path = WEIGHTS,
    of: DatasetInfo | None = None,
) -> dict:
    """Train and write the three feature networks with their digests and test accuracies; returns
    the written record."""
    from safetensors.torch import save_file

    record = {}
    for role, shape in ROLES.items():
        network = train_feature_network(
            shape, train, epochs, lambda words, role=role: say(f"{role}: {words}"), of
        )
        with replacing(to / f"{role}.safetensors") as temporary:
            save_file(network.state_dict(), temporary)
        right = (extract_features(network, test.images)[1] == test.labels).double().mean().item()
        record[role] = {
            "sha256": digest(to / f"{role}.safetensors"),
            "test_accuracy": round(right, 4),
        }
        record[role] |= {"epochs": epochs, "seed": shape.seed}
        say(f"{role}: accuracy {record[role]['test_accuracy']} on the test split")
    write_json(to / "features.json", record)
    return record


def image_sets(images: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Twelve sets of falling quality, made from real images."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    kept = (labels < max(1, int(labels.max() + 1) // 2)).nonzero().squeeze(1)
    sets = {
        "real": images,
        "half of the classes": images[kept[torch.arange(len(images)) % len(kept)]],
    }
    sets |= {f"blur {sigma}": blurred(images, sigma) for sigma in (0.3, 0.6, 1.0, 1.6)}
    sets |= {
        f"noise {level}": (images + level * noise).round().clamp(0, 255).to(torch.uint8)
        for level in (5, 15, 40)
    }
    sets |= {
        f"contrast {factor}": (images * factor).round().to(torch.uint8) for factor in (0.7, 0.4)
    }
    return sets | {"shift 4": F.pad(images, (4, 0, 0, 0))[..., : images.shape[3]]}


def compare_networks(data_dir: Path, count: int = 5000) -> dict:
    """How far the three networks agree: rank correlation of the Fréchet distances that they give to
    the twelve sets."""
    distances = {}
    for role in ROLES:
        evaluator = Evaluator(data_dir, role=role)
        split = evaluator.splits["validation"]
        sets = image_sets(split.images[:count], split.labels[:count])
        distances[role] = [evaluator.distance(images) for images in sets.values()]
    spearman = {
        other: float(spearmanr(distances["judge"], distances[other]).statistic)
        for other in ("dev", "train")
    }
    return {"images": count, "sets": list(sets), "distances": distances, "spearman": spearman}


def train_for(folder: Path, say: Callable[[str], None] = print) -> None:
    """The feature networks of a packed data set, and how far they agree; nothing where they are
    there. features.json is written last but one, agreement.json last."""
    place = networks_dir(folder)
    if (place / "agreement.json").exists():
        return
    place.mkdir(exist_ok=True)
    train, test = load_split(folder, "train", 50_000), load_split(folder, "test")
    say(f"three feature networks for {dataset_info(folder).name}, once")
    train_all(train, test, max(1, min(MOST, SEEN // len(train))), say, place, dataset_info(folder))
    write_json(place / "agreement.json", compare_networks(folder, 2000))
