"""The feature networks: small classifiers of the data that the metrics look through, since
Inception's features are made for photographs. Fashion-MNIST's are shipped; a packed data set has
its own in its folder (`fashion-gan data`). Each has a role and is used for nothing else: `judge`
reports, and nothing is trained or chosen by it; `dev` makes the choices during training (the best
checkpoint); `train` and its companions are the only ones that an objective may look through."""

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fashion_gan.data.datasets import DatasetInfo, dataset_info
from fashion_gan.device import full_precision
from fashion_gan.errors import UserError
from fashion_gan.files import digest, read_json, reading, replacing
from fashion_gan.models.serialization import load_weights, open_weights

WEIGHTS = Path(__file__).parents[1] / "weights"
FEATURE_COUNT = 64
# layers of a `train` network up to halfway, after its second block, and that block's channels
HALFWAY, HALFWAY_COUNT = 8, 48
TOTAL_VARIANCE = 10.0  # features are scaled so that training images have this total variance


@dataclass(frozen=True)
class FeatureNetworkConfig:
    """What makes one feature network differ from the others."""

    widths: tuple[int, int, int]
    activation: type[nn.Module]
    pool: type[nn.Module]
    seed: int


ROLES = {
    "judge": FeatureNetworkConfig((32, 64, 96), nn.ReLU, nn.MaxPool2d, 101),
    "dev": FeatureNetworkConfig((24, 48, 96), nn.SiLU, nn.MaxPool2d, 202),
    "train": FeatureNetworkConfig((32, 48, 64), nn.GELU, nn.AvgPool2d, 303),
    "train2": FeatureNetworkConfig((32, 48, 64), nn.ReLU, nn.AvgPool2d, 505),
    "train3": FeatureNetworkConfig((24, 48, 64), nn.ELU, nn.MaxPool2d, 404),
}
PACKED_ROLES = ("judge", "dev", "train")  # those of a packed data set


class FeatureNetwork(nn.Module):
    """Images (N, C, H, W) in -1..1 to class logits; `features`: the layer before, (N, 64)."""

    def __init__(self, config: FeatureNetworkConfig, info: DatasetInfo):
        super().__init__()
        channels, height, width = info.shape
        # six times faster on 64×64, and no pixel is left out
        stride = first_stride = 2 if max(height, width) > 32 else 1
        layers: list[nn.Module] = []
        for out_channels in config.widths:
            layers.append(nn.Conv2d(channels, out_channels, 3, stride, 1, bias=False))
            layers.append(nn.BatchNorm2d(out_channels))
            layers += [config.activation(), config.pool(2)]
            channels = out_channels
            stride = 1
        # the three pools leave an eighth of the sides
        inputs = channels * (height // first_stride // 8) * (width // first_stride // 8)
        layers += [nn.Flatten(), nn.Linear(inputs, FEATURE_COUNT), config.activation()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(FEATURE_COUNT, len(info.classes))
        self.register_buffer("scale", torch.ones(()))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return self.body(images) * self.scale

    def features_and_halfway(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`features`, and the means (N, HALFWAY_COUNT) of a `train` network's layer halfway."""
        halfway = self.body[:HALFWAY](images)
        return self.body[HALFWAY:](halfway) * self.scale, halfway.mean(dim=(2, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(images))


_training = False


@contextlib.contextmanager
def judge_out_of_reach() -> Iterator[None]:
    """Within this block, which is a training, the judge cannot be loaded."""
    global _training
    _training = True
    try:
        yield
    finally:
        _training = False


def frechet_roles(info: DatasetInfo, most: int) -> list[str]:
    """The networks that the Fréchet loss looks through, `most` at most."""
    roles = PACKED_ROLES if info.is_packed else ROLES
    return [role for role in roles if role.startswith("train")][:most]


def networks_dir(folder: Path) -> Path:
    """Where the feature networks for the data of this folder lie."""
    return folder / "networks" if dataset_info(folder).is_packed else WEIGHTS


def dataset_record(folder: Path) -> dict[str, Any]:
    """What the data of this folder is, for a run's record."""
    info = dataset_info(folder)
    return {"name": info.name, "shape": info.shape, "classes": info.classes}


def load_feature_network(role: str, device: str = "cpu", folder: Path = WEIGHTS) -> FeatureNetwork:
    """A feature network for the data of `folder`, frozen, in evaluation mode. Raises UserError if
    its weights are missing or damaged; RuntimeError for the judge while a training goes on."""
    if role == "judge" and _training:
        advice = "use dev to choose, train in an objective"
        raise RuntimeError(f"the judge takes part in no training and no choice; {advice}")
    return _load_feature_network(role, device, folder)


@functools.cache
def _load_feature_network(role: str, device: str, folder: Path) -> FeatureNetwork:
    info = dataset_info(folder)
    path = networks_dir(folder) / f"{role}.safetensors"
    if not path.exists() or digest(path) != _recorded_digest(role, folder):
        advice = f"git checkout {path.name}, or fashion-gan train-features"
        if info.is_packed:
            advice = f"fashion-gan data --dataset {info.source}"
        raise UserError(f"{path} is missing or damaged; get it again: {advice}")
    # a new network draws its weights from the global generator, which belongs to the caller
    with torch.random.fork_rng(devices=[]):
        network = FeatureNetwork(ROLES[role], info)
    with reading(path, "feature network"), open_weights(path) as stored:
        load_weights(network, stored)
    return network.to(device).eval().requires_grad_(False)


def network_id(role: str, folder: Path = WEIGHTS) -> str:
    """Names a feature network's exact weights, without which scores do not compare."""
    return f"{role}-{_recorded_digest(role, folder)[:12]}"


def _recorded_digest(role: str, folder: Path) -> str:
    path = networks_dir(folder) / "features.json"
    with reading(path, "record of feature networks"):
        return str(read_json(path)[role]["sha256"])


@torch.no_grad()
def extract_features(
    network: FeatureNetwork, images: torch.Tensor, chunk: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (N, 64) float64 and predicted classes (N,) of uint8 or -1..1 float images (N, C, H,
    W), on CPU; `chunk`: how many of 28×28 are computed at once, of larger ones fewer; 0: as many
    as a processor's cache holds, or a GPU likes."""
    chunk = chunk or (1000 if network.scale.is_cuda else 100)
    size = max(1, chunk * 784 // images.shape[2:].numel())
    # Written in place: small pieces kept from between large ones would hold the allocator's memory.
    features = torch.empty(len(images), FEATURE_COUNT, dtype=torch.float64)
    classes = torch.empty(len(images), dtype=torch.int64)
    with full_precision():
        for start in range(0, len(images), size):
            rows = slice(start, start + size)
            part = images[rows].to(network.scale.device)
            hidden = network.body(part.float() / 127.5 - 1 if part.dtype == torch.uint8 else part)
            features[rows] = hidden * network.scale
            classes[rows] = network.head(hidden).argmax(dim=1)
    return features, classes


def extract_cached(
    role: str, images: torch.Tensor, folder: Path, device: str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor]:
    """extract_features by a network of `folder`, kept there under the images' digest."""
    from safetensors.torch import load_file, save_file

    name = f"{network_id(role, folder)}-{digest(images.numpy())[:12]}.safetensors"
    path = folder / "features" / name
    if path.exists():
        with reading(path, "file of features", "remove it"):
            kept, count = load_file(path), len(images)
            features = kept["features"].double().view(count, FEATURE_COUNT)
            return features, kept["classes"].view(count)
    features, classes = extract_features(load_feature_network(role, device, folder), images)
    # a data folder that cannot be written serves as well
    with contextlib.suppress(OSError), replacing(path) as temporary:
        save_file({"features": features.float(), "classes": classes}, temporary)
    return features, classes
