import gzip
import io
import json
import math
import re
import shutil
import zipfile

import numpy as np
import pytest
import torch
from conftest import fashion_gan_here, packed_folder
from PIL import Image

from fashion_gan import UserError
from fashion_gan.config.params import Params
from fashion_gan.data import download, readers
from fashion_gan.data.batches import epoch_order, make_transform, to_uint8
from fashion_gan.data.datasets import (
    DIGESTS,
    DatasetInfo,
    dataset_dir,
    dataset_fingerprints,
    dataset_info,
    load_split,
    raw_folder,
    verify_files,
)
from fashion_gan.data.download import fetch
from fashion_gan.data.formats import image_tensor
from fashion_gan.files import digest

pytestmark = pytest.mark.fast


def test_splits_are_fixed_and_whole(data_dir):
    train, validation, test = (
        load_split(data_dir, name) for name in ("train", "validation", "test")
    )
    assert [len(s) for s in (train, validation, test)] == [50_000, 10_000, 10_000]
    assert train.images.dtype == torch.uint8
    assert train.images.shape == (50_000, 1, 28, 28)
    assert dataset_info(data_dir).shape == (1, 28, 28)
    assert torch.bincount(test.labels).tolist() == [1000] * 10
    again = load_split(data_dir, "train", 100)
    assert torch.equal(again.images, train.images[:100])


def test_it_agrees_with_torchvisions_own_reader(data_dir):
    from torchvision.datasets import FashionMNIST

    theirs = FashionMNIST(data_dir, train=True, download=False)
    assert torch.equal(theirs.data[50_000:], load_split(data_dir, "validation").images.squeeze(1))
    assert torch.equal(theirs.targets[50_000:], load_split(data_dir, "validation").labels)


@pytest.fixture
def copy(tmp_path, data_dir):
    shutil.copytree(raw_folder(data_dir), raw_folder(tmp_path / "copy"))
    return tmp_path / "copy"


@pytest.fixture
def system_copy(tmp_path, data_dir, monkeypatch):
    """A system copy as Debian packs it: compressed, under its own folder."""
    folder = tmp_path / "system"
    folder.mkdir()
    for name in DIGESTS:
        (folder / f"{name}.gz").write_bytes(
            gzip.compress((raw_folder(data_dir) / name).read_bytes(), 1)
        )
    monkeypatch.setattr(download, "SYSTEM_FOLDER", folder)
    return folder


@pytest.mark.parametrize("harm", ["truncate", "flip"])
def test_a_damaged_file_is_named_set_aside_and_fetched_again(copy, system_copy, harm):
    path = raw_folder(copy) / "train-labels-idx1-ubyte"
    content = bytearray(path.read_bytes())
    path.write_bytes(
        content[:1000] if harm == "truncate" else bytes([*content[:-1], content[-1] ^ 1])
    )
    said = []
    fetch(copy, said.append)
    assert "train-labels-idx1-ubyte has the wrong content" in said[0]
    assert path.with_name(path.name + ".damaged").exists()
    assert digest(path, "md5") == DIGESTS[path.name]


def test_a_damaged_source_is_never_used(tmp_path, system_copy, monkeypatch):
    monkeypatch.setattr(download, "from_torchvision", lambda *_: "not reachable")
    (system_copy / "t10k-labels-idx1-ubyte.gz").write_bytes(b"not gzip")
    with pytest.raises(UserError, match=r"t10k-labels-idx1-ubyte\.gz is damaged"):
        fetch(tmp_path / "new", lambda _: None)
    assert not (raw_folder(tmp_path / "new") / "t10k-labels-idx1-ubyte").exists()


def test_no_source_gives_one_line_that_names_what_was_tried(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "from_torchvision", lambda *_: "not reachable")
    monkeypatch.setattr(download, "SYSTEM_FOLDER", tmp_path / "none")
    with pytest.raises(UserError) as error:
        fetch(tmp_path, lambda _: None)
    for words in ("make data", "torchvision's download: not reachable", str(tmp_path / "none")):
        assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_batches_cover_an_epoch_once(splits):
    train, _ = splits
    from fashion_gan.training.feature_networks import batches

    cpu = torch.device("cpu")
    all_of = list(batches(train, 32, 1, 2, cpu))
    assert len(all_of) == 8
    assert sorted(torch.cat([y for _, y in all_of]).tolist()) == sorted(train.labels.tolist())
    assert not torch.equal(all_of[0][0], next(batches(train, 32, 1, 3, cpu))[0])
    assert not torch.equal(all_of[0][0], next(batches(train, 32, 2, 2, cpu))[0])


def test_the_transform_and_back(splits):
    images = splits[0].images[:50]
    x = make_transform()(images)
    assert (x.dtype, x.min().item(), x.max().item()) == (torch.float32, -1.0, 1.0)
    assert torch.equal(to_uint8(x), images)


@pytest.mark.parametrize(
    ("given", "index"),
    [("9", 9), (0, 0), ("Ankle boot", 9), ("ankle-boot", 9), ("t-shirt", 0), ("BAG", 8)],
)
def test_class_names(given, index):
    assert readers.class_index(given) == index


@pytest.mark.parametrize("given", ["10", "-1", "hat", ""])
def test_unknown_classes(given):
    with pytest.raises(UserError, match="no class"):
        readers.class_index(given)


NUMBERS = ("1", "10", "11", "12", "2")


@pytest.mark.parametrize(
    ("given", "classes", "index"),
    [
        ("10", NUMBERS, 1),
        ("1", NUMBERS, 0),
        (2, NUMBERS, 4),
        ("1999", ("1999", "2000"), 0),
        ("3", tuple("0123456789"), 3),
        ("Cat", ("cat", "Cat"), 1),
        ("c++", ("c", "c++", "C#"), 1),
        (" dog", ("dog", " dog"), 1),
        ("dog", ("dog", " dog"), 0),
        ("1", ("one", "two"), 1),
        ("CAT", ("cat", "dog"), 0),
        ("---", ("---", "+++"), 0),
        ("café", ("cafe", "café"), 1),
        ("caf\udce9", ("caf\\xe9", "dog"), 0),
    ],
)
def test_the_exact_name_wins(given, classes, index):
    assert readers.class_index(given, classes) == index


@pytest.mark.parametrize(
    ("given", "classes", "words"),
    [
        ("0", NUMBERS, "no class '0'; the 5 classes are: 1, 10, 11"),
        ("3", NUMBERS, "no class '3'"),
        ("1", ("10", "20", "30"), "no class '1'"),
        ("CAT", ("cat", "Cat"), "class 'CAT' could be 'cat', 'Cat'; write one of these"),
        ("a b", ("a-b", "a_b"), "could be 'a-b', 'a_b'"),
        ("!!!", ("---", "+++"), "no class '!!!'"),
        ("٣", ("a", "b", "c", "d"), "no class '٣'"),
    ],
)
def test_what_could_be_two_classes_is_refused(given, classes, words):
    with pytest.raises(UserError, match=re.escape(words)):
        readers.class_index(given, classes)


@pytest.mark.parametrize(
    ("text", "indices"),
    [
        ("b,c", [1, 2]),
        ("red, white", [0]),
        ('"red, white", b', [0, 1]),
        ("0,2", [0, 2]),
        ("b,b", [1, 1]),
    ],
)
def test_classes_on_the_command_line(text, indices):
    assert readers.class_indices(text, ("red, white", "b", "c")) == indices


PETS = DatasetInfo("pets", (1, 16, 20), ("cat", "dog"))


def make_pngs(folder, levels):
    """A PNG of each class in turn, by its number."""
    for i, image in enumerate(levels):
        path = folder / PETS.classes[i % 2] / f"{i:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(image)
        (picture.convert("P") if i % 3 else picture).save(path, compress_level=1)
    return folder


def test_a_folder_to_be_measured_is_read_as_one_that_is_packed(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (1000, 16, 20), np.uint8)
    folder = make_pngs(tmp_path / "x", levels)
    for name in ("cat/._0000.png", "__MACOSX/0.png", ".ipynb_checkpoints/0.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
    held = readers.from_images(folder, PETS)
    assert held.labels.tolist() == [0] * 500 + [1] * 500
    assert np.array_equal(held.images[:, 0], np.concatenate([levels[::2], levels[1::2]]))
    assert held.summary == ("1,000 images in 2 classes; left out: 3 hidden (.ipynb_checkpoints)")


def test_images_beside_sub_folders_are_not_measured(tmp_path):
    folder = make_pngs(tmp_path / "x", np.zeros((2, 16, 20), np.uint8))
    (folder / "0.png").write_bytes((folder / "cat" / "0000.png").read_bytes())
    with pytest.raises(UserError, match=r"0\.png.*cat.*not clear whether there are classes"):
        readers.from_images(folder, PETS)


def test_an_npz_to_be_measured_that_says_too_much_is_refused(tmp_path):
    header = io.BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (9 * 10**12, 16, 20)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as file:
        file.writestr("images.npy", header.getvalue())
    with pytest.raises(UserError, match=r"is no \.npz of images, or it is damaged"):
        readers.from_npz(tmp_path / "x.npz", PETS)


def test_the_data_command(data_dir, tmp_path):
    done = fashion_gan_here("data", "--folder", str(data_dir))
    assert done.returncode == 0
    assert "Fashion-MNIST is in" in done.stdout


def test_a_runs_record_names_its_images(data_dir):
    """Digests by which MLflow knows the data sets of all runs there ever were."""
    training, validation, test = dataset_fingerprints(data_dir, 300)
    assert [each["name"] for each in (training, validation, test)] == [
        f"fashion-mnist-{part}" for part in ("training", "validation", "test")
    ]
    assert [each["context"] for each in (training, validation, test)] == [
        "training",
        "validation",
        "test",
    ]
    assert training["profile"] == {"num_rows": 300, "rows": "0 to 299"}
    assert validation["profile"] == {"num_rows": 10_000, "rows": "50000 to 59999"}
    assert test["profile"] == {"num_rows": 10_000, "rows": "0 to 9999"}
    assert training["digest"] == "a3e7afbbdd81a1c6d52e0e3eb1c60c1c"
    assert validation["digest"] == "30024d38dea9885ac747532f3dfe1ddc"
    assert test["digest"] == "2b59a7e38a2fd092da34c5095a92a8d5"
    files = {name: md5 for name, md5 in DIGESTS.items() if name.startswith("t10k")}
    assert json.loads(test["source"]) == {"md5": files}
    assert dataset_fingerprints(data_dir, 400)[0]["digest"] != training["digest"]


def test_a_packed_sets_record_names_its_source(tmp_path):
    folder = packed_folder(tmp_path / "x", (1, 20, 16), ("a", "b"), 600)
    training, validation, test = dataset_fingerprints(folder, 500)
    assert [each["profile"]["num_rows"] for each in (training, validation, test)] == [500, 200, 200]
    # as many as there are
    assert dataset_fingerprints(folder, 10_000)[0]["profile"]["rows"] == "0 to 599"
    assert json.loads(test["source"]) == {"packed from": "x", "digest": "600-(1, 20, 16)"}
    # validation and test have equal sizes here
    assert len({each["digest"] for each in (training, validation, test)}) == 2


@pytest.mark.parametrize(
    ("seed", "epoch", "order"),
    [
        (0, 0, [4, 0, 7, 3, 2, 5, 1, 6]),
        (0, 1, [5, 4, 2, 6, 7, 3, 1, 0]),
        (3, 2, [2, 3, 5, 7, 4, 0, 6, 1]),
    ],
)
def test_the_order_of_an_epoch_stays_what_it_was(seed, epoch, order):
    """A resume, on any version of the program, has to find it again."""
    assert epoch_order(8, seed, epoch).tolist() == order


def test_floats_are_rounded_to_levels_and_held_within_them():
    levels = torch.tensor([-9.0, -1.0, -0.997, -0.995, 0.0, 0.001, 1.0, 9.0])
    assert to_uint8(levels).tolist() == [0, 0, 0, 1, 128, 128, 255, 255]


@pytest.mark.parametrize(
    ("shape", "made"),
    [
        ((5, 9, 7), (5, 1, 9, 7)),
        ((5, 9, 7, 3), (5, 3, 9, 7)),
        ((5, 9, 7, 1), (5, 1, 9, 7)),
        ((5, 3, 9, 7), (5, 3, 9, 7)),
    ],
)
def test_channels_come_first(shape, made):
    images = np.arange(math.prod(shape), dtype=np.uint8).reshape(shape)
    found = image_tensor(images)
    assert found.shape == made
    assert found.is_contiguous()
    assert (
        found[3, -1, 2, 1]
        == images[(3, 2, 1, -1)[: len(shape)] if shape[1] != 3 else (3, -1, 2, 1)]
    )


def test_problems_are_named(copy):
    raw = raw_folder(copy)
    assert verify_files(copy) == []
    (raw / "t10k-labels-idx1-ubyte").unlink()
    (raw / "t10k-images-idx3-ubyte").write_bytes(b"x")
    assert verify_files(copy) == [
        "t10k-labels-idx1-ubyte is missing",
        "t10k-images-idx3-ubyte has the wrong content (its digest differs)",
    ]


def test_where_a_runs_data_lies(bare_project):
    params = Params(data_dir="mine")
    assert dataset_dir(params) == bare_project / "mine"
    # a model of Fashion-MNIST takes any folder
    assert dataset_dir(params, {"data_dir": "theirs"}) == bare_project / "mine"
    assert (
        dataset_dir(params, {"data_dir": "theirs", "shape": [1, 28, 28]}) == bare_project / "theirs"
    )


def test_a_packed_set_without_labels_has_one_class(tmp_path):
    about = dataset_info(packed_folder(tmp_path / "x", (3, 16, 16), (), 300))
    assert (about.classes, about.shape, about.counts["train"]) == (("images",), (3, 16, 16), 300)
    assert dataset_info(tmp_path) == DatasetInfo()


def test_a_subset_of_a_packed_set(tmp_path):
    folder = packed_folder(tmp_path / "x", (3, 16, 20), ("a", "b"), 300)
    whole, some = load_split(folder, "train"), load_split(folder, "train", 40)
    assert (whole.images.shape, some.images.shape) == ((300, 3, 16, 20), (40, 3, 16, 20))
    assert torch.equal(whole.images[:40], some.images)
    assert torch.equal(whole.labels[:40], some.labels)
    assert some.classes == ("a", "b")
