"""Held-out garments found in the shipped generator's latent space, as the explorer finds an own
photo: how near, how fast.

python benchmarks/inversion.py [--count 50] [--threads 2]

Images of the test split, as many of each class. An image counts as found when it took at most 5 s
and its distance lies below the median distance between two real images of its class. dev is what
the search looks through; judge takes no part in it."""

import argparse
import time

import torch

from fashion_gan import features, latent, model, photo
from fashion_gan.data import CLASSES, load_split
from fashion_gan.errors import project_root

LONGEST = 5.0  # seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=50, help="images, a multiple of 10")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", default=str(project_root() / model.SHIPPED))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    found, data = model.find(args.model), project_root() / "data"
    test, train = load_split(data, "test"), load_split(data, "train", 10_000)
    chosen = torch.cat(
        [(test.labels == c).nonzero().flatten()[: args.count // 10] for c in range(10)]
    )
    images, labels = test.images[chosen], test.labels[chosen]
    dev = features.load("dev")
    photo.find(found.generator, images[0], dev, steps=1)  # what is loaded once is loaded
    made, seconds = [], []
    for image in images:
        began = time.perf_counter()
        c, z, _ = photo.find(found.generator, image, dev)
        seconds.append(time.perf_counter() - began)
        made.append(
            latent.generate(found.generator, torch.tensor([z]) / photo.GRID, torch.tensor([c]))
        )
    fast = torch.tensor(seconds) <= LONGEST
    for role in ("dev", "judge"):
        network = features.load(role)
        known, _ = features.extract(network, train.images)
        real = torch.stack(
            [torch.pdist(known[train.labels == c][:500]).median() for c in range(10)]
        )
        apart = (
            features.extract(network, torch.cat(made))[0] - features.extract(network, images)[0]
        ).norm(dim=1)
        near = apart < real[labels]
        missed = ", ".join(sorted({CLASSES[c] for c in labels[~near]})) or "none"
        print(
            f"{role}: {int((near & fast).sum())} of {len(images)} found, {int(near.sum())} with all"
            f" the time that it took; median {(apart / real[labels]).median():.2f} of two real"
            f" images' distance; too far: {missed}"
        )
    print(
        f"seconds an image: median {torch.tensor(seconds).median():.1f}, largest"
        f" {max(seconds):.1f}; {int(fast.sum())} within {LONGEST:g} s"
    )


if __name__ == "__main__":
    main()
