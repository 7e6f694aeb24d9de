"""Train feature networks: the five that the project ships (`fashion-gan train-features`, about 12
minutes on 2 cores), and the three of a packed data set, once, when it is packed."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from scipy.stats import spearmanr
from torch.nn import functional as F

from fashion_gan import clock
from fashion_gan.data import augment
from fashion_gan.data.batches import epoch_order, make_transform
from fashion_gan.data.datasets import DatasetInfo, Split, dataset_info, load_split
from fashion_gan.device import measuring_device
from fashion_gan.files import digest, read_json, replacing, write_json
from fashion_gan.metrics.distances import frechet_distance
from fashion_gan.metrics.evaluator import blurred
from fashion_gan.models import feature_network
from fashion_gan.models.feature_network import (
    PACKED_ROLES,
    ROLES,
    FeatureNetwork,
    extract_features,
    load_feature_network,
)
from fashion_gan.training.device import be_deterministic, keep_freed_memory

# that each of a packed data set's networks is trained on: three take 3 minutes on 2 cores at most
MOST_IMAGES, MOST_EPOCHS = 100_000, 20
PROGRESS_SECONDS = 10  # between two lines that say how far it is

Say = Callable[[str], None]


def rotate(images: torch.Tensor, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Each image (N, C, H, W) turned by a random one of four turns, and which (Gidaris et al.
    2018). Where the sides differ: as it is, mirrored, upside down, both."""
    turns = torch.randint(0, 4, (len(images),), generator=rng)
    if images.shape[2] == images.shape[3]:
        versions = [torch.rot90(images, k, (2, 3)) for k in range(4)]
    else:
        versions = [images, images.flip(3), images.flip(2), images.flip(2, 3)]
    return torch.stack(versions)[turns, torch.arange(len(images))], turns


def batches(
    split: Split, size: int, seed: int, epoch: int, device: torch.device
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The batches of an epoch: images float32 (size, C, H, W) in -1..1 and labels (size,). A last
    one that is not full is left out."""
    transform = make_transform()
    order = epoch_order(len(split), seed, epoch)
    for index in order[: len(split) // size * size].split(size):
        yield transform(split.images[index].to(device)), split.labels[index].to(device)


def train_feature_network(
    role: str,
    train: Split,
    epochs: int,
    log: Say = print,
    info: DatasetInfo | None = None,
    device: torch.device | None = None,
) -> FeatureNetwork:
    """Train one classifier: cross entropy, AdamW, one-cycle, images moved by up to 2 pixels and, of
    Fashion-MNIST, mirrored. Without labels it learns which way an image was turned, with a head
    that is then thrown away."""
    info = info or DatasetInfo()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(ROLES[role].seed)
        network = FeatureNetwork(ROLES[role], info)
        turn_head = torch.nn.Linear(feature_network.FEATURE_COUNT, 4)
    class_head = network.head
    if len(train.classes) == 1:
        network.head = turn_head
    network.to(device)
    _fit(role, network, train, epochs, not info.is_packed, log)
    network.head = class_head.to(device)
    network.eval()
    variance = extract_features(network, train.images)[0].var(dim=0).sum()
    network.scale.fill_((feature_network.TOTAL_VARIANCE / variance).sqrt().item())
    return network


def _fit(
    role: str, network: FeatureNetwork, train: Split, epochs: int, mirrored: bool, log: Say
) -> None:
    keep_freed_memory()
    device = network.scale.device
    be_deterministic(False, device)  # max pooling has no such gradient on CUDA
    seed = ROLES[role].seed
    rng = torch.Generator().manual_seed(seed)
    size = 128 if len(train) >= 4000 else 32
    steps = epochs * (len(train) // size)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3, weight_decay=5e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps)
    started = last_line = clock.running()
    network.train()

    def draw(count: int) -> torch.Tensor:
        return torch.randint(0, count, (size,), generator=rng).to(device)

    by_epoch = (batches(train, size, seed, epoch, device) for epoch in range(epochs))
    for step, (images, labels) in enumerate(itertools.chain.from_iterable(by_epoch), 1):
        if len(train.classes) == 1:
            images, labels = rotate(images, rng)
        elif mirrored:
            images = augment.flip(images, draw(2).bool())
        images = augment.translate(images, draw(5), draw(5), reach=2)
        loss = F.cross_entropy(network(images), labels, label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        now = clock.running()
        if now - last_line > PROGRESS_SECONDS:
            last_line = now
            left = (now - started) * (steps - step) / step
            log(f"{role}: {step / steps:.0%}, loss {loss.item():.3f}, {left:.0f} s left")


def train_all(
    train: Split,
    test: Split,
    epochs: int = 10,
    log: Say = print,
    folder: Path = feature_network.WEIGHTS,
    info: DatasetInfo | None = None,
    record: dict[str, dict] | None = None,
    device: torch.device | None = None,
    roles: Iterable[str] = ROLES,
) -> None:
    """Train and write these networks, with features.json after each: digests, test accuracies.
    Those of `record`, which is such a file's content, are there already."""
    record = dict(record or {})
    for role in roles:
        if role in record:
            log(f"{role}: kept from an earlier try")
            continue
        network = train_feature_network(role, train, epochs, log, info, device)
        path = folder / f"{role}.safetensors"
        with replacing(path) as temporary:
            save_file(network.state_dict(), temporary)
        is_right = extract_features(network, test.images)[1] == test.labels
        accuracy = round(is_right.double().mean().item(), 4)
        record[role] = {"sha256": digest(path), "test_accuracy": accuracy}
        record[role] |= {"epochs": epochs, "seed": ROLES[role].seed}
        write_json(folder / "features.json", record)
        log(f"{role}: accuracy {accuracy} on the test split")


def image_sets(images: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Twelve sets of falling quality, made from real images."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    half = (labels < max(1, int(labels.max() + 1) // 2)).nonzero().squeeze(1)
    repeated = half[torch.arange(len(images)) % len(half)]
    sets = {"real": images, "half of the classes": images[repeated]}
    for sigma in (0.3, 0.6, 1.0, 1.6):
        sets[f"blur {sigma}"] = blurred(images, sigma)
    for level in (5, 15, 40):
        sets[f"noise {level}"] = (images + level * noise).round().clamp(0, 255).to(torch.uint8)
    for factor in (0.7, 0.4):
        sets[f"contrast {factor}"] = (images * factor).round().to(torch.uint8)
    sets["shift 4"] = F.pad(images, (4, 0, 0, 0))[..., : images.shape[3]]
    return sets


def compare_networks(data_dir: Path, count: int = 5000) -> dict:
    """How far judge, dev and train agree: rank correlation of their distances of twelve sets."""
    validation = load_split(data_dir, "validation", count)
    sets = image_sets(validation.images, validation.labels)
    real = load_split(data_dir, "test", len(validation)).images
    distances = {}
    for role in PACKED_ROLES:
        network = load_feature_network(role, folder=data_dir)
        features, _ = extract_features(network, real)
        distances[role] = [
            frechet_distance(features[: len(images)], extract_features(network, images)[0])
            for images in sets.values()
        ]
    spearman = {
        role: float(spearmanr(distances["judge"], distances[role]).statistic)
        for role in ("dev", "train")
    }
    return {"images": count, "sets": list(sets), "distances": distances, "spearman": spearman}


def train_for(data_dir: Path, log: Say = print) -> None:
    """The feature networks of a packed data set, and how far they agree; nothing where they are
    there, and only what is left where an earlier try was killed. agreement.json is written last."""
    folder = feature_network.networks_dir(data_dir)
    if (folder / "agreement.json").exists():
        return
    folder.mkdir(exist_ok=True)
    info = dataset_info(data_dir)
    train, test = load_split(data_dir, "train", 50_000), load_split(data_dir, "test")
    epochs = max(1, min(MOST_EPOCHS, MOST_IMAGES // len(train)))
    log(f"three feature networks for {info.name}, once: {epochs * len(train):,} images each")
    record = _trained(folder, epochs)
    train_all(train, test, epochs, log, folder, info, record, measuring_device(), PACKED_ROLES)
    write_json(folder / "agreement.json", compare_networks(data_dir, 2000))


def _trained(folder: Path, epochs: int) -> dict[str, dict]:
    """The part of features.json whose networks are whole, and were trained as long."""
    try:
        record = read_json(folder / "features.json")
        return {
            role: about
            for role, about in record.items()
            if role in PACKED_ROLES
            and about["epochs"] == epochs
            and about["sha256"] == digest(folder / f"{role}.safetensors")
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
