"""Train the three feature networks that the project ships: `fashion-gan train-features`, about 7 minutes on 2 cores."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F

from fashion_gan import augment, features
from fashion_gan.cli import guarded, parser_of
from fashion_gan.data import Split, batches, load_split
from fashion_gan.errors import project_root
from fashion_gan.files import digest, replacing, write_json


def train_feature_network(shape: features.Shape, train: Split, epochs: int, say: Callable[[str], None]) -> features.FeatureNetwork:
    """Train one classifier: cross entropy, AdamW, one-cycle, images moved by up to 2 pixels and mirrored."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(shape.seed)
        network = features.FeatureNetwork(shape)
    draws = torch.Generator().manual_seed(shape.seed)
    size, steps = 128, epochs * (len(train) // 128)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3, weight_decay=5e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps)
    for epoch in range(epochs):
        started, total = time.monotonic(), 0.0
        network.train()
        for images, labels in batches(train, size, shape.seed, epoch):
            images = augment.translate(augment.flip(images, draws), draws, reach=2)
            loss = F.cross_entropy(network(images), labels, label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        say(f"  epoch {epoch + 1}/{epochs}: loss {total * size / len(train):.3f}, {time.monotonic() - started:.0f} s")
    network.eval()
    variance = features.extract(network, train.images)[0].var(dim=0).sum()
    network.scale.fill_((features.TOTAL_VARIANCE / variance).sqrt().item())
    return network


def train_all(train: Split, test: Split, epochs: int = 10, say: Callable[[str], None] = print, to: Path = features.WEIGHTS) -> dict:
    """Train and write the three feature networks with their digests and test accuracies; returns the written record."""
    from safetensors.torch import save_file

    record = {}
    for role, shape in features.ROLES.items():
        say(f"{role}: {shape}")
        network = train_feature_network(shape, train, epochs, say)
        with replacing(to / f"{role}.safetensors") as temporary:
            save_file(network.state_dict(), temporary)
        right = (features.extract(network, test.images)[1] == test.labels).double().mean().item()
        record[role] = {"sha256": digest(to / f"{role}.safetensors"), "test_accuracy": round(right, 4)}
        record[role] |= {"epochs": epochs, "seed": shape.seed}
        say(f"{role}: accuracy {record[role]['test_accuracy']} on the test split")
    write_json(to / "features.json", record)
    return record


def main() -> None:
    parser = parser_of("train-features")
    parser.add_argument("--epochs", type=int, default=10)
    folder, args = project_root() / "data", parser.parse_args()
    train_all(load_split(folder, "train"), load_split(folder, "test"), epochs=args.epochs)


if __name__ == "__main__":
    sys.exit(guarded(main))
