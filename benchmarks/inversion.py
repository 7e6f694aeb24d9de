"""Held-out garments found in the shipped generator's latent space, as the explorer finds an own
photo: how near, how fast.

python benchmarks/inversion.py [--count 50] [--threads 2]

Images of the test split, as many of each class. An image counts as found when it took at most 5 s
and its distance lies below the median distance between two real images of its class. dev is what
the search looks through; judge takes no part in it."""

import argparse
import time

import torch

from fashion_gan.catalog.generators import SHIPPED, find_generator
from fashion_gan.config.settings import project_root
from fashion_gan.data.datasets import CLASSES, load_split
from fashion_gan.explorer import inversion
from fashion_gan.models.feature_network import extract_features, load_feature_network
from fashion_gan.models.latents import generate_images

LONGEST = 5.0  # seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=50, help="images, a multiple of 10")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", default=str(SHIPPED))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    found, data = find_generator(args.model), project_root() / "data"
    test, train = load_split(data, "test"), load_split(data, "train", 10_000)
    chosen = torch.cat(
        [(test.labels == c).nonzero().flatten()[: args.count // 10] for c in range(10)]
    )
    images, labels = test.images[chosen], test.labels[chosen]
    dev = load_feature_network("dev")
    inversion.invert(found.generator, images[0], dev, steps=1)  # what is loaded once is loaded
    made, seconds = [], []
    for image in images:
        began = time.perf_counter()
        c, z, _ = inversion.invert(found.generator, image, dev)
        seconds.append(time.perf_counter() - began)
        made.append(
            generate_images(found.generator, torch.tensor([z]) / inversion.GRID, torch.tensor([c]))
        )
    fast = torch.tensor(seconds) <= LONGEST
    for role in ("dev", "judge"):
        network = load_feature_network(role)
        known, _ = extract_features(network, train.images)
        real = torch.stack(
            [torch.pdist(known[train.labels == c][:500]).median() for c in range(10)]
        )
        apart = (
            extract_features(network, torch.cat(made))[0] - extract_features(network, images)[0]
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
