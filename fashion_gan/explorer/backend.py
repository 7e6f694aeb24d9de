"""What only a kernel can answer to the explorer's page."""

import functools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fashion_gan.data.datasets import Split
from fashion_gan.errors import UserError
from fashion_gan.explorer import inversion
from fashion_gan.metrics.neighbours import knn
from fashion_gan.models.feature_network import (
    extract_cached,
    extract_features,
    load_feature_network,
)
from fashion_gan.models.serialization import Model


@dataclass
class Backend:
    """The kernel's answers to the page. photo: an own photo's steps. find: its picture. near: the
    nearest of all training images, by dev's features, which are kept in the data's `folder`.
    Levels: pixel by pixel, all colours of each. What is wrong is told as `error`, a sentence."""

    found: Model
    train: Split
    fresh: Split
    folder: Path
    network = property(lambda self: load_feature_network("dev", folder=self.folder))

    @functools.cached_property
    def known(self) -> torch.Tensor:
        return extract_cached("dev", self.train.images, self.folder)[0]

    @functools.cached_property
    def usual(self) -> float:
        """How far unseen real images lie from their nearest training image, at the median."""
        return (
            knn(extract_features(self.network, self.fresh.images)[0], self.known)[0].median().item()
        )

    def __call__(self, asked: dict[str, Any], buffers: list[Any]) -> dict[str, Any]:
        try:
            return {"what": asked["what"]} | {
                "photo": self.prepare,
                "find": self.find,
                "near": self.near,
            }[asked["what"]](asked, buffers)
        except UserError as error:
            return {"what": asked["what"], "error": f"{str(error)[:1].upper()}{str(error)[1:]}."}

    def prepare(self, asked: dict[str, Any], buffers: list[Any]) -> dict[str, Any]:
        made = inversion.prepare_photo(
            bytes(buffers[0]), asked["negative"], self.found.generator.shape
        )
        steps = [
            {"words": words, "width": x.shape[1], "height": len(x), "levels": x.flatten().tolist()}
            for words, x in made.steps
        ]
        return {"steps": steps, "negative": made.negative, "said": made.said}

    def find(self, asked: dict[str, Any], _: list[Any]) -> dict[str, Any]:
        began = time.monotonic()
        c, z, distance = inversion.invert(self.found.generator, self._image(asked), self.network)
        real = torch.pdist(self.known[self.train.labels == c][:500]).median().item()
        return {
            "c": c,
            "z": z,
            "distance": distance,
            "real": real,
            "seconds": time.monotonic() - began,
        }

    def near(self, asked: dict[str, Any], _: list[Any]) -> dict[str, Any]:
        distance, index = knn(
            extract_features(self.network, self._image(asked)[None])[0], self.known, 6
        )
        near = [
            {
                "distance": d,
                "c": int(self.train.labels[i]),
                "number": i,
                "levels": self.train.images[i].permute(1, 2, 0).flatten().tolist(),
            }
            for d, i in zip(distance[0].tolist(), index[0].tolist(), strict=True)
        ]
        return {"near": near, "count": len(self.train), "real": self.usual}

    def _image(self, asked: dict[str, Any]) -> torch.Tensor:
        colours, height, width = self.found.generator.shape
        return (
            torch.tensor(asked["levels"], dtype=torch.uint8)
            .view(height, width, colours)
            .permute(2, 0, 1)
        )
