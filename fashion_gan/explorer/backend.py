"""What the explorer's page asks of a kernel, since it cannot compute it itself."""

import copy
import functools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fashion_gan.data.datasets import Split, dataset_info
from fashion_gan.device import measuring_device
from fashion_gan.errors import UserError
from fashion_gan.explorer import inversion
from fashion_gan.metrics.neighbours import knn
from fashion_gan.models import feature_network
from fashion_gan.models.networks import Generator
from fashion_gan.models.serialization import Model


@dataclass
class Backend:
    """The kernel's answers to the page, to requests whose `what` is: photo, the steps from an own
    photo to a picture; find, the latent of a picture; near, the nearest of all training images, by
    dev's features, which are kept in the data's `folder`. Levels: pixel by pixel, all colours of
    each. What is wrong is answered as `error`, a sentence."""

    model: Model
    train: Split
    fresh: Split
    folder: Path

    @functools.cached_property
    def device(self) -> str:
        return str(measuring_device())

    @property
    def network(self) -> feature_network.FeatureNetwork:
        return feature_network.load_feature_network("dev", self.device, self.folder)

    @functools.cached_property
    def generator(self) -> Generator:
        """A copy: the model itself draws on the CPU, as the page does."""
        return copy.deepcopy(self.model.generator).to(self.device)

    @functools.cached_property
    def train_features(self) -> torch.Tensor:
        images = self.train.images
        return feature_network.extract_cached("dev", images, self.folder, self.device)[0]

    @functools.cached_property
    def usual_distance(self) -> float:
        """How far unseen real images lie from their nearest training image, at the median."""
        features, _ = feature_network.extract_features(self.network, self.fresh.images)
        return knn(features, self.train_features)[0].median().item()

    def __call__(self, request: dict[str, Any], buffers: list[Any]) -> dict[str, Any]:
        what = request["what"]
        try:
            if what == "photo":
                answer = self.prepare(bytes(buffers[0]), request["negative"])
            else:
                answer = {"find": self.find, "near": self.near}[what](self._image(request))
        except UserError as error:
            message = str(error)
            answer = {"error": f"{message[:1].upper()}{message[1:]}."}
        return {"what": what} | answer

    def prepare(self, content: bytes, negative: bool | None) -> dict[str, Any]:
        shape, preparation = self.model.generator.shape, dataset_info(self.folder).preparation
        photo = inversion.prepare_photo(content, negative, shape, preparation)
        steps = [
            {"words": words, "width": x.shape[1], "height": len(x), "levels": x.flatten().tolist()}
            for words, x in photo.steps
        ]
        return {"steps": steps, "negative": photo.negative, "said": photo.notes}

    def find(self, image: torch.Tensor) -> dict[str, Any]:
        started = time.monotonic()
        c, z, distance = inversion.invert(self.generator, image, self.network)
        same_class = self.train_features[self.train.labels == c][:500]
        real = torch.pdist(same_class).median().item()
        seconds = time.monotonic() - started
        return {"c": c, "z": z, "distance": distance, "real": real, "seconds": seconds}

    def near(self, image: torch.Tensor) -> dict[str, Any]:
        features, _ = feature_network.extract_features(self.network, image[None])
        distances, indices = knn(features, self.train_features, 6)
        nearest = []
        for distance, i in zip(distances[0].tolist(), indices[0].tolist(), strict=True):
            levels = self.train.images[i].permute(1, 2, 0).flatten().tolist()
            label = int(self.train.labels[i])
            nearest.append({"distance": distance, "c": label, "number": i, "levels": levels})
        return {"near": nearest, "count": len(self.train), "real": self.usual_distance}

    def _image(self, request: dict[str, Any]) -> torch.Tensor:
        colours, height, width = self.model.generator.shape
        levels = torch.tensor(request["levels"], dtype=torch.uint8)
        return levels.view(height, width, colours).permute(2, 0, 1)
