"""How far generated images are from real ones by pixels alone, so that no network has a part.

    python benchmarks/pixels.py GENERATOR [GENERATOR ...] [--samples 10000] [--seed 0]

GENERATOR: a run, a folder or a file, as `fashion-gan sample` takes them. Prints a JSON line each,
and one of real images: against the test split, `kernel` is the kernel distance of the images as
vectors of pixels, times 1000, and `classes` the mean over the classes of the Fréchet distance
between images of half the sides. Lower is better; real images are those of the validation split.
"""

import argparse
import json
import statistics
from pathlib import Path

import torch
from torch.nn import functional as F

from fashion_gan.catalog.generators import find_generator
from fashion_gan.data.datasets import Split, load_split
from fashion_gan.metrics.distances import frechet_distance
from fashion_gan.metrics.kernel import kernel_distance
from fashion_gan.models.latents import balanced_labels, sample_images


def as_vectors(images: torch.Tensor) -> torch.Tensor:
    """Images uint8 (N, C, H, W) as vectors (N, d) of values from -1 to 1."""
    return images.flatten(1).double() / 127.5 - 1


def halved(images: torch.Tensor) -> torch.Tensor:
    """The same of half the sides: a class has more images than these have pixels."""
    return as_vectors(F.avg_pool2d(images.float(), 2))


def pixel_distances(images: torch.Tensor, labels: torch.Tensor, real: Split) -> dict[str, float]:
    """Both distances of images (N, C, H, W) and their classes (N,) from a split."""
    theirs = real.images[: len(images)]
    kernel, _ = kernel_distance(as_vectors(theirs), as_vectors(images))
    ours_half, theirs_half = halved(images), halved(theirs)
    real_labels = real.labels[: len(images)]
    by_class = [
        frechet_distance(theirs_half[real_labels == c], ours_half[labels == c])
        for c in range(len(real.classes))
    ]
    return {"kernel": 1000 * kernel, "classes": statistics.mean(by_class)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("generators", nargs="+", metavar="GENERATOR")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=Path("data"))
    args = parser.parse_args()
    test, validation = load_split(args.data, "test"), load_split(args.data, "validation")
    labels = balanced_labels(args.samples)
    for where in args.generators:
        generator = find_generator(where).generator
        images = sample_images(generator, args.samples, args.seed, labels)
        print(json.dumps({"of": where} | pixel_distances(images, labels, test)), flush=True)
    images = validation.images[: args.samples]
    figures = pixel_distances(images, validation.labels[: args.samples], test)
    print(json.dumps({"of": "real images"} | figures))


if __name__ == "__main__":
    main()
