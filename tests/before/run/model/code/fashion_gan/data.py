"""Verify Fashion-MNIST, or read another packed data set; split it, hand out batches."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fashion_gan.errors import asked, project_root
from fashion_gan.files import digest, read_json
from fashion_gan.params import Params

CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
# md5 of the *uncompressed* files: Debian's and torchvision's .gz differ in bytes, their content does not.
DIGESTS = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
SPLITS = {"train": slice(0, 50_000), "validation": slice(50_000, 60_000)}


@dataclass(frozen=True)
class About:
    """What a data set is. One without labels has one class, so nothing else need know of it."""

    name: str = "Fashion-MNIST"
    shape: tuple[int, int, int] = (1, 28, 28)  # colours, height, width
    classes: tuple[str, ...] = CLASSES
    own: dict[str, Any] | None = (
        None  # of a packed data set (scripts/pack.py): all of its dataset.json
    )


@dataclass(frozen=True)
class Split:
    """Images of one split: in memory, or where the data set is a packed one mapped from its file."""

    images: torch.Tensor  # uint8 (N, C, H, W), 0 black ... 255 white
    labels: torch.Tensor  # int64 (N,), index into classes
    classes: tuple[str, ...] = CLASSES

    def __len__(self) -> int:
        return len(self.labels)


def place(params: Params, trained: dict[str, Any] | None = None) -> Path:
    """The data folder of a run; that of a model with the parameters `trained`, where it was trained on a packed data set."""
    return project_root() / (
        trained["data_dir"] if trained and "shape" in trained else params.data_dir
    )


def about(folder: Path) -> About:
    """What lies in a data folder: a packed data set, else Fashion-MNIST."""
    own = read_json(folder / "dataset.json") if (folder / "dataset.json").exists() else None
    return (
        About(own["name"], tuple(own["shape"]), tuple(own["classes"]) or ("images",), own)
        if own
        else About()
    )


def raw_folder(folder: Path) -> Path:  # torchvision's, so that both share one copy
    return folder / "FashionMNIST" / "raw"


def problems(folder: Path) -> list[str]:
    """What is wrong with Fashion-MNIST's files in a data folder, a line a file; [] where all is well."""
    paths = [raw_folder(folder) / name for name in DIGESTS]
    wrong = [p.name for p in paths if p.exists() and digest(p, "md5") != DIGESTS[p.name]]
    missing = [f"{p.name} is missing" for p in paths if not p.exists()]
    return missing + [f"{name} has the wrong content (its digest differs)" for name in wrong]


def described(folder: Path, subset: int) -> list[dict[str, Any]]:
    """What a run with this subset reads, for its record: name, digest, source and size of each split."""
    known = about(folder)
    parts = [
        ("training", "train", 0, subset),
        ("validation", "train", 50_000, 60_000),
        ("test", "t10k", 0, 10_000),
    ]
    if known.own:
        sizes = known.own["counts"] | {"training": min(subset, known.own["counts"]["train"])}
        parts = [(context, "", 0, sizes[context]) for context, *_ in parts]
    told = []
    for context, prefix, first, last in parts:
        source = {"md5": {name: md5 for name, md5 in DIGESTS.items() if name.startswith(prefix)}}
        if known.own:
            source = {"packed from": known.own["source"], "digest": known.own["digest"]}
        rows = {"files": source.get("md5", source), "first": first, "last": last}
        mark = digest(json.dumps(rows, sort_keys=True).encode(), "md5")
        found = {
            "name": f"{known.name.lower()}-{context}",
            "context": context,
            "digest": mark,
            "source": json.dumps(source),
        }
        told.append(
            found | {"profile": {"num_rows": last - first, "rows": f"{first} to {last - 1}"}}
        )
    return told


def ensure_data(folder: Path, say: Callable[[str], None] = print) -> Path:
    """The folder of the four files, each with the known digest; `fashion-gan data` gets what is missing or damaged (scripts/fetch.py).
    Raises UserError, in its words, where it cannot."""
    if not about(folder).own and problems(folder):
        say(asked("data.py", "--folder", str(folder.absolute())).rstrip())
    return raw_folder(folder)


def load_split(
    folder: Path, split: str, subset: int | None = None, say: Callable[[str], None] = print
) -> Split:
    """The "train" (50,000), "validation" (10,000) or "test" (10,000) split, the first `subset` images of it. The split
    is by fixed position: train is 0-49,999 and validation 50,000-59,999 of the training files."""
    found, raw = about(folder), ensure_data(folder, say)
    if found.own:
        labels = torch.from_file(
            str(folder / f"{split}-labels.i64"),
            False,
            found.own["counts"][split],
            dtype=torch.int64,
        )[:subset]
        size = found.own["counts"][split] * math.prod(found.shape)
        images = torch.from_file(
            str(folder / f"{split}-images.u8"), False, size, dtype=torch.uint8
        ).view(-1, *found.shape)
        return Split(images[:subset], labels, found.classes)
    prefix = "t10k" if split == "test" else "train"
    part = SPLITS.get(split, slice(None))
    images = np.fromfile(raw / f"{prefix}-images-idx3-ubyte", np.uint8, offset=16).reshape(
        -1, 1, 28, 28
    )[part][:subset]
    labels = np.fromfile(raw / f"{prefix}-labels-idx1-ubyte", np.uint8, offset=8)[part][:subset]
    return Split(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)))


def channels_first(images: np.ndarray) -> torch.Tensor:
    """Images (N, H, W), (N, H, W, C) or (N, C, H, W), of 1 or 3 colours and more pixels -> (N, C, H, W)."""
    images = images[:, None] if images.ndim == 3 else images
    made = torch.from_numpy(np.moveaxis(images, 3, 1) if images.shape[3] in (1, 3) else images)
    return made.clone(
        memory_format=torch.contiguous_format
    )  # PyTorch takes another path, to other last bits, by strides alone


def make_transform() -> Callable:
    """What is the same for every image: uint8 0..255 -> float32 -1..1, the range of the generator's tanh. From
    torchvision.transforms.v2. Its *random* transforms draw once for a whole batch and from the global generator, so
    whatever is random is in `augment`."""
    from torchvision.transforms import v2

    return v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean=[0.5], std=[0.5])])


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """Float -1..1 of any shape -> uint8 0..255, rounded."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def epoch_order(size: int, seed: int, epoch: int) -> torch.Tensor:
    """The order of an epoch's images: a permutation that depends on (seed, epoch) alone, so a resume finds it again."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    return torch.randperm(size, generator=generator)


def batches(
    split: Split, batch_size: int, seed: int, epoch: int, start: int = 0, device: str = "cpu"
) -> Iterator:
    """Batches `start`, start + 1, ... of an epoch: images float32 (B, C, H, W) in -1..1 and labels (B,). A last batch
    that is not full is left out. Everything is by index from memory: no workers, no copies of the set."""
    transform = make_transform()
    order = epoch_order(len(split), seed, epoch)
    for i in range(start, len(split) // batch_size):
        index = order[i * batch_size : (i + 1) * batch_size]
        yield transform(split.images[index].to(device)), split.labels[index].to(device)
