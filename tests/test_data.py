import gzip
import shutil

import fetch
import images
import pytest
import torch
from conftest import fashion_gan_here

from fashion_gan import UserError, data
from fashion_gan.files import digest

pytestmark = pytest.mark.fast


def test_splits_are_fixed_and_whole(data_dir):
    train, validation, test = (data.load_split(data_dir, name) for name in ("train", "validation", "test"))
    assert [len(s) for s in (train, validation, test)] == [50_000, 10_000, 10_000]
    assert train.images.dtype == torch.uint8
    assert train.images.shape == (50_000, 1, 28, 28)
    assert torch.bincount(test.labels).tolist() == [1000] * 10
    again = data.load_split(data_dir, "train", 100)
    assert torch.equal(again.images, train.images[:100])


def test_it_agrees_with_torchvisions_own_reader(data_dir):
    from torchvision.datasets import FashionMNIST

    theirs = FashionMNIST(data_dir, train=True, download=False)
    assert torch.equal(theirs.data[50_000:], data.load_split(data_dir, "validation").images.squeeze(1))
    assert torch.equal(theirs.targets[50_000:], data.load_split(data_dir, "validation").labels)


@pytest.fixture
def copy(tmp_path, data_dir):
    shutil.copytree(data.raw_folder(data_dir), data.raw_folder(tmp_path / "copy"))
    return tmp_path / "copy"


@pytest.fixture
def system_copy(tmp_path, data_dir, monkeypatch):
    """A system copy as Debian packs it: compressed, under its own folder."""
    folder = tmp_path / "system"
    folder.mkdir()
    for name in data.DIGESTS:
        (folder / f"{name}.gz").write_bytes(gzip.compress((data.raw_folder(data_dir) / name).read_bytes(), 1))
    monkeypatch.setattr(fetch, "SYSTEM_FOLDER", folder)
    return folder


@pytest.mark.parametrize("harm", ["truncate", "flip"])
def test_a_damaged_file_is_named_set_aside_and_fetched_again(copy, system_copy, harm):
    path = data.raw_folder(copy) / "train-labels-idx1-ubyte"
    content = bytearray(path.read_bytes())
    path.write_bytes(content[:1000] if harm == "truncate" else bytes([*content[:-1], content[-1] ^ 1]))
    said = []
    fetch.fetch(copy, said.append)
    assert "train-labels-idx1-ubyte has the wrong content" in said[0]
    assert path.with_name(path.name + ".damaged").exists()
    assert digest(path, "md5") == data.DIGESTS[path.name]


def test_a_damaged_source_is_never_used(tmp_path, system_copy, monkeypatch):
    monkeypatch.setattr(fetch, "_from_torchvision", lambda folder: "not reachable")
    (system_copy / "t10k-labels-idx1-ubyte.gz").write_bytes(b"not gzip")
    with pytest.raises(UserError, match=r"t10k-labels-idx1-ubyte\.gz is damaged"):
        fetch.fetch(tmp_path / "new", lambda _: None)
    assert not (data.raw_folder(tmp_path / "new") / "t10k-labels-idx1-ubyte").exists()


def test_no_source_gives_one_line_that_names_what_was_tried(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "_from_torchvision", lambda folder: "not reachable")
    monkeypatch.setattr(fetch, "SYSTEM_FOLDER", tmp_path / "none")
    with pytest.raises(UserError) as error:
        fetch.fetch(tmp_path, lambda _: None)
    for words in ("make data", "torchvision's download: not reachable", str(tmp_path / "none")):
        assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_batches_cover_an_epoch_once_and_start_anywhere(splits):
    train, _ = splits
    all_of = list(data.batches(train, 32, seed=1, epoch=2))
    assert len(all_of) == 8
    assert sorted(torch.cat([y for _, y in all_of]).tolist()) == sorted(train.labels.tolist())
    late = list(data.batches(train, 32, seed=1, epoch=2, start=5))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(all_of[5:], late, strict=True))
    assert not torch.equal(all_of[0][0], next(data.batches(train, 32, seed=1, epoch=3))[0])
    assert not torch.equal(all_of[0][0], next(data.batches(train, 32, seed=2, epoch=2))[0])


def test_the_transform_and_back(splits):
    images = splits[0].images[:50]
    x = data.make_transform()(images)
    assert (x.dtype, x.min().item(), x.max().item()) == (torch.float32, -1.0, 1.0)
    assert torch.equal(data.to_uint8(x), images)


@pytest.mark.parametrize(("given", "index"), [("9", 9), (0, 0), ("Ankle boot", 9), ("ankle-boot", 9), ("t-shirt", 0), ("BAG", 8)])
def test_class_names(given, index):
    assert images.class_index(given) == index


@pytest.mark.parametrize("given", ["10", "-1", "hat", ""])
def test_unknown_classes(given):
    with pytest.raises(UserError, match="no class"):
        images.class_index(given)


def test_the_data_command(data_dir, tmp_path):
    done = fashion_gan_here("data", "--folder", str(data_dir))
    assert done.returncode == 0
    assert "Fashion-MNIST is in" in done.stdout
