"""Verify Fashion-MNIST, split it, hand out batches."""

import gzip
import json
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fashion_gan.errors import UserError
from fashion_gan.files import digest

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
class Split:
    """Images of one split, all in memory."""

    images: torch.Tensor  # uint8 (N, 1, 28, 28), 0 black ... 255 white
    labels: torch.Tensor  # int64 (N,), index into CLASSES

    def __len__(self) -> int:
        return len(self.labels)


def raw_folder(folder: Path) -> Path:  # torchvision's, so that both share one copy
    return folder / "FashionMNIST" / "raw"


def problem_of(path: Path, name: str) -> str | None:
    """What is wrong with a data file, or None. It may be compressed."""
    try:
        content = content_of(path)
    except (OSError, EOFError, zlib.error) as error:
        return f"cannot be unpacked ({error})"
    return None if digest(content, "md5") == DIGESTS[name] else "has the wrong content (its digest differs)"


def content_of(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


def problems(folder: Path) -> list[str]:
    """What is wrong with the files in a data folder, a line a file; [] where all is well."""
    paths = [raw_folder(folder) / name for name in DIGESTS]
    found = {path: problem_of(path, path.name) if path.exists() else "is missing" for path in paths}
    return [f"{path.name} {problem}" for path, problem in found.items() if problem]


def described(subset: int) -> list[dict[str, Any]]:
    """What a run with this subset reads, for its record: name, digest, source and size of each split."""
    parts = (("training", "train", 0, subset), ("validation", "train", 50_000, 60_000), ("test", "t10k", 0, 10_000))
    told = []
    for context, prefix, first, last in parts:
        files = {name: md5 for name, md5 in DIGESTS.items() if name.startswith(prefix)}
        rows = {"files": files, "first": first, "last": last}
        mark = digest(json.dumps(rows, sort_keys=True).encode(), "md5")
        source, profile = json.dumps({"md5": files}), {"num_rows": last - first, "rows": f"{first} to {last - 1}"}
        told.append({"name": f"fashion-mnist-{context}", "context": context, "digest": mark, "source": source, "profile": profile})
    return told


def ensure_data(folder: Path, say: Callable[[str], None] = print) -> Path:
    """The folder of the four files, each with the known digest; `fashion-gan data` gets what is missing or damaged (scripts/fetch.py).
    Raises UserError, in its words, where it cannot."""
    if problems(folder):
        command = [sys.executable, "-m", "fashion_gan.cli", "data", "--folder", str(folder.absolute())]
        done = subprocess.run(command, capture_output=True, text=True)
        for line in done.stdout.splitlines():
            say(line)
        if done.returncode:
            raise UserError(done.stderr.splitlines()[-1].removeprefix("error: "))
    return raw_folder(folder)


def _read_idx(path: Path, header: int) -> np.ndarray:
    return np.frombuffer(path.read_bytes(), dtype=np.uint8, offset=header).copy()


def load_split(folder: Path, split: str, subset: int | None = None, say: Callable[[str], None] = print) -> Split:
    """The "train" (50,000), "validation" (10,000) or "test" (10,000) split, the first `subset` images of it. The split
    is by fixed position: train is 0-49,999 and validation 50,000-59,999 of the training files."""
    raw = ensure_data(folder, say)
    prefix = "t10k" if split == "test" else "train"
    part = SPLITS.get(split, slice(None))
    images = _read_idx(raw / f"{prefix}-images-idx3-ubyte", 16).reshape(-1, 1, 28, 28)[part][:subset]
    labels = _read_idx(raw / f"{prefix}-labels-idx1-ubyte", 8)[part][:subset]
    return Split(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)))


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


def batches(split: Split, batch_size: int, seed: int, epoch: int, start: int = 0, device: str = "cpu") -> Iterator:
    """Batches `start`, start + 1, ... of an epoch: images float32 (B, 1, 28, 28) in -1..1 and labels (B,). A last batch
    that is not full is left out. Everything is by index from memory: no workers, no copies of the set."""
    transform = make_transform()
    order = epoch_order(len(split), seed, epoch)
    for i in range(start, len(split) // batch_size):
        index = order[i * batch_size : (i + 1) * batch_size]
        yield transform(split.images[index].to(device)), split.labels[index].to(device)
