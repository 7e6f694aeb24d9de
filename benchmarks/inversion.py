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
from fashion_gan.data.datasets import CLASSES, Split, load_split
from fashion_gan.explorer import inversion
from fashion_gan.models.feature_network import extract_features, load_feature_network
from fashion_gan.models.latents import generate_images
from fashion_gan.models.networks import Generator

LONGEST = 5.0  # seconds


def invert_all(generator: Generator, images: torch.Tensor) -> tuple[torch.Tensor, list[float]]:
    """What the search finds for each image (N, C, H, W), and its seconds."""
    dev = load_feature_network("dev")
    inversion.invert(generator, images[0], dev, steps=1)  # what is loaded once is loaded
    inverted, seconds = [], []
    for image in images:
        began = time.perf_counter()
        c, z, _ = inversion.invert(generator, image, dev)
        seconds.append(time.perf_counter() - began)
        latent = torch.tensor([z]) / inversion.GRID
        inverted.append(generate_images(generator, latent, torch.tensor([c])))
    return torch.cat(inverted), seconds


def relative_distance(
    role: str, inverted: torch.Tensor, images: torch.Tensor, labels: torch.Tensor, train: Split
) -> torch.Tensor:
    """Distances (N,) in a network's features, over the median one of two real images of the
    class."""
    network = load_feature_network(role)
    real, _ = extract_features(network, train.images)
    within = [torch.pdist(real[train.labels == c][:500]).median() for c in range(10)]
    difference = extract_features(network, inverted)[0] - extract_features(network, images)[0]
    return difference.norm(dim=1) / torch.stack(within)[labels]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=50, help="images, a multiple of 10")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", default=str(SHIPPED))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    data = project_root() / "data"
    test = load_split(data, "test")
    per_class = args.count // 10
    chosen = torch.cat([(test.labels == c).nonzero().flatten()[:per_class] for c in range(10)])
    images, labels = test.images[chosen], test.labels[chosen]
    inverted, seconds = invert_all(find_generator(args.model).generator, images)
    is_fast = torch.tensor(seconds) <= LONGEST
    train = load_split(data, "train", 10_000)
    for role in ("dev", "judge"):
        distance = relative_distance(role, inverted, images, labels, train)
        is_near = distance < 1
        missed = ", ".join(sorted({CLASSES[c] for c in labels[~is_near]})) or "none"
        print(
            f"{role}: {int((is_near & is_fast).sum())} of {len(images)} found,"
            f" {int(is_near.sum())} with all the time that it took; median"
            f" {distance.median():.2f} of two real images' distance; too far: {missed}"
        )
    print(
        f"seconds an image: median {torch.tensor(seconds).median():.1f}, largest"
        f" {max(seconds):.1f}; {int(is_fast.sum())} within {LONGEST:g} s"
    )


if __name__ == "__main__":
    main()
