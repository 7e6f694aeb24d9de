"""Which data sets there are: Fashion-MNIST, verified, or a packed one; their splits."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, TypeAdapter

from fashion_gan.config.params import Params
from fashion_gan.config.settings import working_root
from fashion_gan.data.limits import LARGEST, MOST_CLASSES, SMALLEST, STEP
from fashion_gan.data.packed import RECORD, SPLITS
from fashion_gan.data.preparation import Preparation
from fashion_gan.errors import UserError
from fashion_gan.files import digest, read_json, reading

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
# md5 of the *uncompressed* files: Debian's and torchvision's .gz differ in bytes, their content
# does not.
DIGESTS = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
COUNTS = {"train": 50_000, "validation": 10_000, "test": 10_000}
FASHION_MNIST = "fashion-mnist"  # the one that is not packed
Side = Annotated[int, Field(ge=SMALLEST, le=LARGEST, multiple_of=STEP)]


@dataclass(frozen=True)
class DatasetInfo:
    """What a data set is: Fashion-MNIST by default, else a packed one. One without labels has one
    class, so nothing else need know of it."""

    name: str = "Fashion-MNIST"
    shape: tuple[Literal[1, 3], Side, Side] = (1, 28, 28)  # colours, height, width
    classes: Annotated[tuple[str, ...], Field(min_length=1, max_length=MOST_CLASSES)] = CLASSES
    # images by split
    counts: dict[str, Annotated[int, Field(ge=0)]] = field(default_factory=COUNTS.copy)
    source: str = FASHION_MNIST  # what it was packed from: a folder, an .npz, a name
    digest: str = ""  # of the packed files
    is_packed: bool = False
    preparation: Preparation | None = None  # of the files; None: an older set, or none of files

    @classmethod
    def checked(cls, **values: Any) -> "DatasetInfo":
        """Raises ValueError where a field is not what it can be."""
        return TypeAdapter(cls).validate_python(values)


@dataclass(frozen=True)
class Split:
    """Images of one split: in memory, or where the data set is a packed one mapped from its
    file."""

    images: torch.Tensor  # uint8 (N, C, H, W), 0 black ... 255 white
    labels: torch.Tensor  # int64 (N,), index into classes
    classes: tuple[str, ...] = CLASSES

    def __len__(self) -> int:
        return len(self.labels)


def dataset_dir(params: Params, trained: dict[str, Any] | None = None) -> Path:
    """The data folder of a run; that of a model with the parameters `trained`, where it was trained
    on a packed data set. Raises UserError where it holds another one than `params` name."""
    if trained is not None and "shape" in trained:
        return working_root() / trained["data_dir"]
    folder = working_root() / params.data_dir
    if params.dataset != FASHION_MNIST and not dataset_info(folder).is_packed:
        raise UserError(
            f"dataset {params.dataset} is not packed in {params.data_dir}; pack it: fashion-gan"
            f" data --dataset {params.dataset}, and name its folder as data_dir"
        )
    return folder


def dataset_info(folder: Path) -> DatasetInfo:
    """What lies in a data folder: a packed data set, else Fashion-MNIST."""
    if not (folder / RECORD).exists():
        return DatasetInfo()
    with reading(folder / RECORD, "description of a data set", "pack it again"):
        record = read_json(folder / RECORD)
        return DatasetInfo.checked(
            name=record["name"],
            shape=record["shape"],
            classes=record["classes"] or ("images",),
            counts={split: record["counts"][split] for split in SPLITS},
            source=record["source"],
            digest=record["digest"],
            is_packed=True,
            preparation=record.get("preparation"),
        )


def raw_folder(folder: Path) -> Path:  # torchvision's, so that both share one copy
    return folder / "FashionMNIST" / "raw"


def verify_files(folder: Path) -> list[str]:
    """What is wrong with Fashion-MNIST's files in a data folder, a line a file; [] where all is
    well."""
    missing, damaged = [], []
    for name, md5 in DIGESTS.items():
        path = raw_folder(folder) / name
        if not path.exists():
            missing.append(f"{name} is missing")
        elif digest(path, "md5") != md5:
            damaged.append(f"{name} has the wrong content (its digest differs)")
    return missing + damaged


def dataset_fingerprints(folder: Path, subset: int) -> list[dict[str, Any]]:
    """What a run with this subset reads, for its record: name, digest, source and size of each
    split."""
    info = dataset_info(folder)
    if info.is_packed:
        counts = info.counts
        source = {"packed from": info.source, "digest": info.digest}
        rows = (
            ("training", source, source, 0, min(subset, counts["train"])),
            ("validation", source, source, 0, counts["validation"]),
            ("test", source, source, 0, counts["test"]),
        )
    else:
        train = {name: md5 for name, md5 in DIGESTS.items() if name.startswith("train")}
        test = {name: md5 for name, md5 in DIGESTS.items() if name.startswith("t10k")}
        rows = (
            ("training", {"md5": train}, train, 0, subset),
            ("validation", {"md5": train}, train, 50_000, 60_000),
            ("test", {"md5": test}, test, 0, 10_000),
        )
    return [_fingerprint(info.name, *row) for row in rows]


def _fingerprint(
    name: str, context: str, source: dict, files: dict, first: int, last: int
) -> dict[str, Any]:
    rows = {"files": files, "first": first, "last": last}
    return {
        "name": f"{name.lower()}-{context}",
        "context": context,
        "digest": digest(json.dumps(rows, sort_keys=True).encode(), "md5"),
        "source": json.dumps(source),
        "profile": {"num_rows": last - first, "rows": f"{first} to {last - 1}"},
    }


def ensure_data(folder: Path, log: Callable[[str], None] = print) -> Path:
    """The folder of the four files, each with the known digest; what is missing or damaged is
    fetched (data/download.py). Raises UserError where it cannot be had."""
    if not dataset_info(folder).is_packed and verify_files(folder):
        from fashion_gan.data.download import fetch

        log(f"Fashion-MNIST is in {fetch(folder.absolute(), log)}")
    return raw_folder(folder)


def load_split(
    folder: Path, split: str, subset: int | None = None, log: Callable[[str], None] = print
) -> Split:
    """The "train" (50,000), "validation" (10,000) or "test" (10,000) split, the first `subset`
    images of it. The split is by fixed position: train is 0-49,999 and validation 50,000-59,999 of
    the training files."""
    raw = ensure_data(folder, log)
    info = dataset_info(folder)
    if info.is_packed:
        return _packed_split(folder, info, split, subset)
    from torchvision.datasets.mnist import read_image_file, read_label_file

    file = "t10k" if split == "test" else "train"
    images = read_image_file(str(raw / f"{file}-images-idx3-ubyte"))[:, None]
    labels = read_label_file(str(raw / f"{file}-labels-idx1-ubyte"))
    part = slice(50_000, None) if split == "validation" else slice(info.counts[split])
    return Split(images[part][:subset], labels[part][:subset])


def _packed_split(folder: Path, info: DatasetInfo, split: str, subset: int | None) -> Split:
    count = info.counts[split]
    size = count * math.prod(info.shape)
    labels = torch.from_file(str(folder / f"{split}-labels.i64"), False, count, dtype=torch.int64)
    images = torch.from_file(str(folder / f"{split}-images.u8"), False, size, dtype=torch.uint8)
    images = images.view(-1, *info.shape)
    return Split(images[:subset], labels[:subset], info.classes)
