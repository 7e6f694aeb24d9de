"""Data sets of anybody's, packed: what is on disk, resuming, splits by content, wrong inputs."""

import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, fashion_gan_here
from PIL import Image

from fashion_gan import UserError
from fashion_gan.data import pack, sources
from fashion_gan.data.pack import FILES, _append, pack_dataset, resolve_dataset
from fashion_gan.data.packed import SPLITS
from fashion_gan.files import Lock, digest, read_json

quiet = {"log": lambda _: None}


def noise(count, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def make_folder(folder, images, classes=("cat", "dog")):
    """A PNG an image, in turn into the classes' sub-folders, or all directly into the folder."""
    for i, image in enumerate(images):
        path = folder / (classes[i % len(classes)] if classes else "") / f"{i:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, compress_level=1)
    return folder


def make_npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def contents(folder):
    return {path.name: digest(path) for path in folder.iterdir()}


def unpacked(folder):
    """{split: (images, labels)}, memory-mapped as a reader would."""
    told = read_json(folder / "dataset.json")
    found = {}
    for split, count in told["counts"].items():
        images = np.memmap(folder / f"{split}-images.u8", np.uint8, "r").reshape(-1, *told["shape"])
        labels = np.fromfile(folder / f"{split}-labels.i64", "<i8")
        assert len(images) == len(labels) == count
        found[split] = images, labels
    return found


def together(folder):
    """{image's bytes: its labels}"""
    found = {}
    for images, labels in unpacked(folder).values():
        for image, label in zip(images, labels.tolist(), strict=True):
            found.setdefault(image.tobytes(), []).append(label)
    return found


@pytest.mark.fast
def test_a_folder_of_classes(tmp_path):
    images = noise(300, 16, 24)
    folder = make_folder(tmp_path / "pets", images)
    packed = pack_dataset(str(folder), tmp_path / "data", **quiet)
    told = read_json(packed / "dataset.json")
    assert packed.parent == tmp_path / "data" / "sets"
    assert packed.name.startswith("pets-") and len(packed.name) == len("pets-") + 8
    assert sorted(contents(packed)) == sorted(["dataset.json", *FILES])
    assert (told["schema"], told["name"], told["source"]) == (1, packed.name, str(folder))
    assert (told["shape"], told["classes"], told["skipped"]) == ([1, 16, 24], ["cat", "dog"], [])
    assert (
        told["digest"]
        == hashlib.sha256(b"".join((packed / name).read_bytes() for name in FILES)).hexdigest()[:16]
    )
    assert together(packed) == {image.tobytes(): [i % 2] for i, image in enumerate(images)}


@pytest.mark.fast
def test_the_first_images_are_of_all_classes(tmp_path):
    folder = make_folder(tmp_path / "pets", noise(600, 16, 16), ("ant", "bee", "cat"))
    packed = pack_dataset(str(folder), tmp_path / "data", **quiet)
    first = np.fromfile(packed / "train-labels.i64", "<i8")[:60]
    assert np.bincount(first, minlength=3).min() > 5


@pytest.mark.fast
def test_a_folder_without_classes(tmp_path):
    packed = pack_dataset(
        str(make_folder(tmp_path / "plain", noise(256, 16, 16), classes=())), tmp_path, **quiet
    )
    assert read_json(packed / "dataset.json")["classes"] == []
    assert all(not labels.any() for _, labels in unpacked(packed).values())


@pytest.mark.fast
def test_unchanged_is_found_again_and_changed_is_packed_anew(tmp_path):
    folder, said = make_folder(tmp_path / "pets", noise(256, 16, 16)), []
    first = pack_dataset(str(folder), tmp_path, said.append)
    before = contents(first), (first / "dataset.json").stat().st_mtime_ns, len(said)
    assert pack_dataset(str(folder), tmp_path, said.append) == first
    assert (contents(first), (first / "dataset.json").stat().st_mtime_ns, len(said)) == before
    os.utime(folder / "cat" / "00000.png", ns=(1, 1))
    second = pack_dataset(str(folder), tmp_path, **quiet)
    assert second != first
    assert (
        read_json(second / "dataset.json")["digest"] == read_json(first / "dataset.json")["digest"]
    )


@pytest.mark.fast
def test_hidden_files_and_others_do_not_count(tmp_path):
    folder = make_folder(tmp_path / "pets", noise(256, 16, 16))
    for name in (
        ".ipynb_checkpoints/x.png",
        "__MACOSX/cat/._00000.png",
        "cat/._00000.png",
        "cat/notes.txt",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    told = read_json(pack_dataset(str(folder), tmp_path, **quiet) / "dataset.json")
    assert (sum(told["counts"].values()), told["classes"]) == (256, ["cat", "dog"])


@pytest.mark.fast
def test_a_split_follows_from_content_alone(tmp_path):
    images = noise(3000, 16, 16)
    packed = unpacked(
        pack_dataset(str(make_npz(tmp_path / "a.npz", images=images)), tmp_path, **quiet)
    )
    shares = {split: len(labels) / 3000 for split, (_, labels) in packed.items()}
    assert shares == pytest.approx({"train": 0.8, "validation": 0.1, "test": 0.1}, abs=0.03)
    where = {image.tobytes(): split for split, (found, _) in packed.items() for image in found}
    # others, another order, copies
    more = np.concatenate([noise(500, 16, 16, seed=1), images[::-1], images[:700]])
    again = unpacked(
        pack_dataset(str(make_npz(tmp_path / "b.npz", images=more)), tmp_path, **quiet)
    )
    splits = {}
    for split, (found, _) in again.items():
        for image in found:
            splits.setdefault(image.tobytes(), set()).add(split)
    assert all(len(found) == 1 for found in splits.values())  # equal images never straddle
    assert all(splits[content] == {split} for content, split in where.items())


@pytest.mark.fast
def test_a_coloured_image_makes_three_channels_and_moves_no_grey_one(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "BATCH", 100)
    grey = noise(300, 16, 16)
    folder = make_folder(tmp_path / "pets", grey, classes=())
    before = unpacked(pack_dataset(str(folder), tmp_path, **quiet))
    Image.fromarray(noise(1, 16, 16, 3)[0]).save(folder / "99999.png")
    after = unpacked(pack_dataset(str(folder), tmp_path, **quiet))
    for split, (images, _) in before.items():
        expected = {np.repeat(image, 3, 0).tobytes() for image in images}
        assert expected <= {image.tobytes() for image in after[split][0]}
    assert sum(len(images) for images, _ in after.values()) == 301


RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
BLACK = np.zeros_like(RAMP)


def palette():
    picture = Image.fromarray(RAMP).convert("P")
    picture.putpalette([value for i in range(256) for value in (i, i, i)])
    return picture


def cut_out():
    alpha = np.where(RAMP < 128, 0, 255).astype(np.uint8)
    return Image.merge("LA", [Image.fromarray(RAMP), Image.fromarray(alpha)])


PICTURES = {
    "L": (Image.fromarray(RAMP), RAMP),
    "1": (Image.fromarray(RAMP > 100), np.where(RAMP > 100, 255, 0)),
    "16 bits": (Image.fromarray(RAMP.astype(np.uint16) * 257), RAMP),
    "grey as RGB": (Image.fromarray(RAMP).convert("RGB"), RAMP),
    "palette of greys": (palette(), RAMP),
    "transparent on black": (cut_out(), np.where(RAMP < 128, 0, RAMP)),
    "coloured": (
        Image.merge("RGB", [Image.fromarray(RAMP), Image.fromarray(BLACK), Image.fromarray(BLACK)]),
        [RAMP, BLACK, BLACK],
    ),
}


@pytest.mark.fast
@pytest.mark.parametrize("kind", PICTURES)
def test_modes(tmp_path, kind):
    picture, expected = PICTURES[kind]
    folder = make_folder(tmp_path / "x", noise(256, 16, 16), classes=())
    picture.save(folder / "other.png")
    expected = np.array(expected, np.uint8).reshape(-1, 16, 16)
    packed = pack_dataset(str(folder), tmp_path, **quiet)
    assert read_json(packed / "dataset.json")["shape"] == [len(expected), 16, 16]
    assert expected.tobytes() in together(packed)


@pytest.mark.fast
@pytest.mark.parametrize("suffix", ["jpg", "JPEG", "webp", "bmp", "gif"])
def test_suffixes(tmp_path, suffix):
    folder = make_folder(tmp_path / "x", noise(256, 16, 16), classes=())
    Image.fromarray(RAMP).save(folder / f"other.{suffix}")
    assert (
        sum(
            read_json(pack_dataset(str(folder), tmp_path, **quiet) / "dataset.json")[
                "counts"
            ].values()
        )
        == 257
    )


@pytest.mark.fast
def test_every_form_of_an_npz(tmp_path):
    colour, labels = noise(300, 3, 16, 20), np.arange(300) % 3
    forms = {
        "chw": {"images": colour, "labels": labels, "classes": ["a", "b", "c"]},
        "hwc": {
            "images": np.ascontiguousarray(np.moveaxis(colour, 1, 3)),
            "labels": np.array(["a", "b", "c"])[labels],
        },
        "columns": {
            "images": np.asfortranarray(colour),
            "labels": labels.astype(np.uint8),
            "classes": ["a", "b", "c"],
        },
    }
    told = [
        read_json(
            pack_dataset(str(make_npz(tmp_path / f"{n}.npz", **form)), tmp_path, **quiet)
            / "dataset.json"
        )
        for n, form in forms.items()
    ]
    assert [(one["shape"], one["classes"]) for one in told] == [([3, 16, 20], ["a", "b", "c"])] * 3
    assert len({one["digest"] for one in told}) == 1
    grey = [
        make_npz(tmp_path / f"{n}.npz", images=images)
        for n, images in {
            "nhw": colour[:, 0],
            "n1hw": colour[:, :1],
            "nhw1": colour[:, 0, :, :, None],
        }.items()
    ]
    told = [read_json(pack_dataset(str(path), tmp_path, **quiet) / "dataset.json") for path in grey]
    assert [one["shape"] for one in told] == [[1, 16, 20]] * 3
    assert len({one["digest"] for one in told}) == 1


def idx(array, kind):
    return (
        bytes([0, 0, kind, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
    )


def make_idx(
    raw,
    prefixes=("train", "t10k"),
    counts=(60, 12),
    extra=False,
    pack_with=bytes,
    suffix="",
    before_idx="-",
):
    """Small files of that format; QMNIST's labels are tables of integers whose first column is the
    class."""
    raw.mkdir(parents=True)
    made = []
    for seed, (prefix, count) in enumerate(zip(prefixes, counts, strict=True)):
        images, labels = noise(count, 28, 28, seed=seed), (np.arange(count) % 10).astype(np.uint8)
        table = np.stack([labels, *[labels + 50] * 7], 1).astype(">i4")
        (raw / f"{prefix}-images{before_idx}idx3-ubyte{suffix}").write_bytes(
            pack_with(idx(images, 8))
        )
        name, content = (
            ("labels-idx2-int", idx(table, 12))
            if extra
            else (f"labels{before_idx}idx1-ubyte", idx(labels, 8))
        )
        (raw / f"{prefix}-{name}{suffix}").write_bytes(pack_with(content))
        made.append((images, labels))
    return made


NAMED_FORMS = {
    "mnist": ("MNIST", {"before_idx": "."}),
    "kmnist": ("KMNIST", {"pack_with": gzip.compress, "suffix": ".gz"}),
    "qmnist": ("QMNIST", {"prefixes": ("qmnist-train", "qmnist-test"), "extra": True}),
}


@pytest.mark.fast
@pytest.mark.parametrize("dataset", NAMED_FORMS)
def test_mnist_and_its_kin_keep_their_official_split(tmp_path, dataset):
    kind, form = NAMED_FORMS[dataset]
    (train, train_labels), (test, test_labels) = make_idx(tmp_path / kind / "raw", **form)
    packed = pack_dataset(dataset, tmp_path, **quiet)
    told, found = read_json(packed / "dataset.json"), unpacked(packed)
    assert packed == tmp_path / "sets" / dataset
    assert (told["shape"], told["counts"], told["source"]) == (
        [1, 28, 28],
        {"train": 50, "validation": 10, "test": 12},
        dataset,
    )
    assert told["classes"] == (
        ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]
        if dataset == "kmnist"
        else list("0123456789")
    )
    for split, images, labels in (
        ("train", train[:50], train_labels[:50]),
        ("validation", train[50:], train_labels[50:]),
        ("test", test, test_labels),
    ):
        assert np.array_equal(found[split][0][:, 0], images)
        assert np.array_equal(found[split][1], labels)


@pytest.mark.fast
def test_fashion_mnist_is_packed_as_it_is_read(tmp_path, data_dir):
    from fashion_gan.data.datasets import CLASSES, load_split

    (tmp_path / "FashionMNIST").symlink_to(data_dir / "FashionMNIST")
    packed = pack_dataset("fashion-mnist", tmp_path, **quiet)
    for split in SPLITS:
        ours, theirs = unpacked(packed)[split], load_split(data_dir, split)
        assert np.array_equal(ours[0], theirs.images.numpy())
        assert np.array_equal(ours[1], theirs.labels.numpy())
    assert read_json(packed / "dataset.json")["classes"] == list(CLASSES)


def test_torchvisions_download(tmp_path, monkeypatch):
    """From a server of our own, since the real ones may be out of reach."""
    from torchvision.datasets import MNIST

    make_idx(tmp_path / "server", pack_with=gzip.compress, suffix=".gz")
    (tmp_path / "data" / "MNIST" / "raw").mkdir(parents=True)  # a download that was torn off
    (tmp_path / "data" / "MNIST" / "raw" / "train-images-idx3-ubyte.gz").write_bytes(b"torn")
    files = {path.name: digest(path, "md5") for path in (tmp_path / "server").iterdir()}
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(handler, directory=tmp_path / "server")
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        monkeypatch.setattr(MNIST, "resources", list(files.items()))
        packed = pack_dataset("mnist", tmp_path / "data", **quiet)
        server.shutdown()
    assert read_json(packed / "dataset.json")["counts"] == {
        "train": 50,
        "validation": 10,
        "test": 12,
    }


@pytest.mark.fast
def test_no_source_gives_one_line_that_names_what_was_tried(tmp_path, monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    done = fashion_gan_here("data", "--folder", str(tmp_path), "--dataset", "qmnist", cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    for words in (
        str(tmp_path / "QMNIST" / "raw"),
        "torchvision's download",
        "qmnist-test-labels-idx2-int",
    ):
        assert words in done.stderr


@pytest.mark.fast
@pytest.mark.parametrize(
    "harm", ["cut", "gzip cut", "gzip checksum", "no header", "other count", "label 10"]
)
def test_damaged_files_of_mnist(tmp_path, harm):
    raw = tmp_path / "MNIST" / "raw"
    make_idx(raw)
    images, labels = raw / "train-images-idx3-ubyte", raw / "t10k-labels-idx1-ubyte"
    if harm == "cut":
        images.write_bytes(images.read_bytes()[:-1])
    elif "gzip" in harm:
        content = gzip.compress(images.read_bytes())
        content = content[:-9] if harm == "gzip cut" else content[:-8] + bytes(4) + content[-4:]
        images.with_name(f"{images.name}.gz").write_bytes(content)
        images.unlink()
    elif harm == "no header":
        images.write_bytes(b"")
    else:
        labels.write_bytes(
            idx(
                np.full(
                    12 if harm == "label 10" else 11, 10 if harm == "label 10" else 1, np.uint8
                ),
                8,
            )
        )
    with pytest.raises(UserError, match="damaged"):
        pack_dataset("mnist", tmp_path, **quiet)
    assert [path.name for path in (tmp_path / "sets").iterdir()] == ["mnist.lock"]


# Resuming

CHILD = """
import sys, pathlib
from fashion_gan.data.pack import pack_dataset
pack_dataset(sys.argv[1], pathlib.Path(sys.argv[2]), log=lambda line: print(line, flush=True))
"""


def start_packing(folder, data_dir, code=CHILD):
    words = [sys.executable, "-c", code, str(folder), str(data_dir)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def make_links(folder, images, count):
    """A folder of so many images in four classes, quickly: each of the contents has many names."""
    originals = sorted(make_folder(folder.parent / "originals", images, classes=()).iterdir())
    for c in range(4):
        (folder / f"class{c}").mkdir(parents=True)
    for i in range(count):
        os.link(originals[i % len(originals)], folder / f"class{i % 4}" / f"{i:05}.png")
    return folder


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """20,000 coloured 64×64 PNGs; unpacked they are 250 MB."""
    folder = make_links(
        tmp_path_factory.mktemp("many") / "many", np.tile(noise(50, 8, 8, 3), (1, 8, 8, 1)), 20_000
    )
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    return make_links(tmp_path_factory.mktemp("few") / "few", noise(701, 16, 16), 6000)


def done_so_far(data_dir):
    """Images that packing.json counts, of the one set in a data folder."""
    for path in (data_dir / "sets").glob("*/begun/packing.json"):
        return json.loads(path.read_text())["done"]
    return 0


def test_killed_again_and_again_it_gives_the_same_bytes(tmp_path, few):
    whole = pack_dataset(str(few), tmp_path / "whole", **quiet)
    marks = [0]
    while len(marks) < 4:
        child = start_packing(few, tmp_path / "killed")
        wait = time.monotonic() + 30
        while done_so_far(tmp_path / "killed") <= marks[-1] and time.monotonic() < wait:
            time.sleep(0.001)
        child.kill()
        said = child.communicate()[0]
        assert ("going on at" in said) == (marks[-1] > 0)
        marks.append(done_so_far(tmp_path / "killed"))
        assert not list((tmp_path / "killed").glob("sets/*/dataset.json")), "killed too late"
    assert marks == sorted(set(marks))
    said = []
    resumed = pack_dataset(str(few), tmp_path / "killed", said.append)
    assert f"going on at {marks[-1]:,}" in said[0]
    assert contents(resumed) == contents(whole)


HARMS = {
    "shorter than its mark": lambda folder: os.truncate(folder / "begun" / "train-images.u8", 10),
    "a mark that is none": lambda folder: (folder / "begun" / "packing.json").write_text("{"),
    "a file is gone": lambda folder: (folder / "begun" / "test-labels.i64").unlink(),
}


@pytest.mark.fast
@pytest.mark.parametrize("harm", HARMS)
def test_what_a_power_cut_has_harmed_is_begun_anew(tmp_path, monkeypatch, harm):
    path, append = make_npz(tmp_path / "a.npz", images=noise(1500, 16, 16)), _append
    whole = pack_dataset(str(path), tmp_path / "whole", **quiet)

    def append_once(images, source, state, *others):
        if state.done:
            raise KeyboardInterrupt
        append(images, source, state, *others)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pack, "_append", append_once)
        pack_dataset(str(path), tmp_path / "cut", **quiet)
    assert done_so_far(tmp_path / "cut") == 1000
    HARMS[harm](tmp_path / "cut" / "sets" / whole.name)
    said = []
    assert contents(pack_dataset(str(path), tmp_path / "cut", said.append)) == contents(whole)
    assert "going on" not in said[0]


def interruptible(kind, tmp_path):
    """A source of some batches of 100: what `dataset` names it."""
    labels = np.arange(350) % 2
    if kind == "mnist":
        for data_dir in ("whole", "stopped"):
            make_idx(
                tmp_path / data_dir / "MNIST" / "raw",
                counts=(250, 130),
                pack_with=gzip.compress,
                suffix=".gz",
            )
        return "mnist"
    if kind == "folder with a bad one":
        return str(with_a_bad_one(tmp_path))
    images = noise(350, 16, 20, 3)
    form = {"npz": np.savez, "npz compressed": np.savez_compressed, "npz by columns": np.savez}[
        kind
    ]
    form(
        tmp_path / "x.npz",
        images=np.asfortranarray(images) if "columns" in kind else images,
        labels=labels,
    )
    return str(tmp_path / "x.npz")


@pytest.mark.fast
@pytest.mark.parametrize(
    "kind", ["npz", "npz compressed", "npz by columns", "mnist", "folder with a bad one"]
)
def test_interrupted_at_each_batch_it_gives_the_same_bytes(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(sources, "BATCH", 100)
    dataset = interruptible(kind, tmp_path)
    whole = pack_dataset(dataset, tmp_path / "whole", skip_unreadable=True, **quiet)
    append, batches = _append, []

    def append_half(images, *others):
        batches.append(len(images))
        if len(batches) % 2:
            append(images[: len(images) // 2], *others)
            raise KeyboardInterrupt
        append(images, *others)

    monkeypatch.setattr(pack, "_append", append_half)
    stops = 0
    while True:
        try:
            stopped = pack_dataset(dataset, tmp_path / "stopped", skip_unreadable=True, **quiet)
        except KeyboardInterrupt:
            stops += 1
        else:
            break
    assert stops >= 2
    assert contents(stopped) == contents(whole)


@pytest.mark.fast
def test_a_packed_set_that_lost_a_file_is_made_again(tmp_path):
    path = make_npz(tmp_path / "a.npz", images=noise(300, 16, 16))
    packed = pack_dataset(str(path), tmp_path, **quiet)
    before = contents(packed)
    os.truncate(packed / "test-images.u8", 16)
    assert contents(pack_dataset(str(path), tmp_path, **quiet)) == before


def test_two_at_once_pack_it_once(tmp_path, few):
    first = start_packing(few, tmp_path)
    assert first.stdout.readline().startswith("packing 6,000")
    first.send_signal(signal.SIGSTOP)  # else it may have ended before the second has begun
    second = start_packing(few, tmp_path)
    assert "waiting" in second.stdout.readline()
    first.send_signal(signal.SIGCONT)
    assert second.communicate()[0] == ""
    first.communicate()
    assert (first.returncode, second.returncode) == (0, 0)
    assert len(list((tmp_path / "sets").glob("*/dataset.json"))) == 1


def test_memory_does_not_grow_with_the_images(tmp_path, many):
    code = "import resource\n" + CHILD + "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    # A shell between: a process takes over the peak of the one that starts it.
    words = [
        "sh",
        "-c",
        '"$0" -c "$1" "$2" "$3"; exit $?',
        sys.executable,
        code,
        str(many),
        str(tmp_path),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    # MiB; the images alone are 234
    assert int(lines[-1]) / (1024**2 if sys.platform == "darwin" else 1) / 1024 < 150, lines
    assert read_json(next(tmp_path.glob("sets/*/dataset.json")))["shape"] == [3, 64, 64]


@pytest.mark.fast
def test_progress_has_rate_and_time_left(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "BATCH", 100)
    clock = iter(range(1000))
    monkeypatch.setattr(pack.clock, "running", lambda: next(clock))
    said = []
    pack_dataset(
        str(make_npz(tmp_path / "a.npz", images=noise(1000, 16, 16))), tmp_path, said.append
    )
    name = next((tmp_path / "sets").glob("a-*/")).name
    assert said[1] == f"{name}: 200 of 1,000 images, 100 a second, 8 s left"
    assert len(said) == 1 + 4


# Wrong inputs


def damaged_npz(path):
    make_npz(path, images=noise(300, 16, 16))
    content = bytearray(path.read_bytes())
    content[20_000] ^= 1
    path.write_bytes(content)
    return path


def boastful_npz(path):
    """Its header speaks of 9 million million images."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (9 * 10**12, 16, 16)}
    )
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("images.npy", header.getvalue() + bytes(1000))
    return path


def folder_of(**counts):
    def make(tmp_path):
        images = noise(sum(counts.values()), 16, 16)
        for name, count in counts.items():
            (tmp_path / "x" / name).mkdir(parents=True)
            for i in range(count):
                Image.fromarray(images[i]).save(tmp_path / "x" / name / f"{i}.png")
        return tmp_path / "x"

    return make


def mixed_sizes(tmp_path):
    folder = make_folder(tmp_path / "x", noise(298, 16, 20), classes=())
    for name in ("a", "b"):
        Image.fromarray(noise(1, 32, 20)[0]).save(folder / f"{name}.png")
    return folder


def with_a_bad_one(tmp_path):
    folder = make_folder(tmp_path / "x", noise(300, 16, 16))
    content = (folder / "dog" / "00001.png").read_bytes()
    (folder / "dog" / "00001.png").write_bytes(content[: len(content) // 2])
    return folder


def both(tmp_path):
    folder = make_folder(tmp_path / "x", noise(300, 16, 16))
    Image.fromarray(noise(1, 16, 16)[0]).save(folder / "direct.png")
    return folder


def npz(images=None, **more):
    return lambda tmp_path: make_npz(
        tmp_path / "x.npz", images=noise(300, 16, 16) if images is None else images, **more
    )


def text(name, content=b"words"):
    def make(tmp_path):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return make


def all_unreadable(tmp_path):
    (tmp_path / "x").mkdir()
    for i in range(256):
        (tmp_path / "x" / f"{i}.png").write_bytes(b"")
    return tmp_path / "x"


LABELS = np.arange(300) % 3
BAD = {
    "no such path": (lambda tmp_path: tmp_path / "none", ["does not exist", "mnist", ".npz"]),
    "neither": (text("x.tar"), ["neither a folder nor an .npz"]),
    "empty": (
        lambda tmp_path: (tmp_path / "x").mkdir() or tmp_path / "x",
        ["holds no images", ".png"],
    ),
    "unreadable": (with_a_bad_one, ["dog/00001.png", "skip_unreadable: true"]),
    "all unreadable": (all_unreadable, ["not one of 256", "0.png"]),
    "mixed sizes": (
        mixed_sizes,
        ["00000.png is 20×16", "a.png is 20×32", "298 of 20×16, 2 of 20×32", "-p image_size=16 "],
    ),
    "too small": (
        lambda tmp_path: make_folder(tmp_path / "x", noise(256, 12, 16)),
        ["16×12", "from 16 to 64"],
    ),
    "too large": (
        lambda tmp_path: make_folder(tmp_path / "x", noise(256, 16, 68)),
        ["68×16", "from 16 to 64"],
    ),
    "no multiple of 4": (npz(noise(300, 18, 16)), ["16×18", "multiple of 4"]),
    "a class empty": (folder_of(cat=150, dog=150, emu=0), ["no image of class emu"]),
    "a label unused": (npz(labels=np.arange(300) % 2 * 2), ["no image of class 1"]),
    "a class unused": (npz(labels=LABELS, classes=list("abcd")), ["no image of class d"]),
    "one class": (folder_of(cat=300), ["one class only (cat)", "2 to 1000"]),
    "one label": (npz(labels=np.zeros(300, np.int64)), ["one class only"]),
    "1001 classes": (folder_of(**{f"c{i}": 1 for i in range(1001)}), ["1001 classes", "2 to 1000"]),
    "1001 labels": (npz(labels=np.arange(701, 1001)), ["from 701 to 1000", "0 to 999"]),
    "1001 names": (npz(labels=LABELS, classes=[f"c{i}" for i in range(1001)]), ["1001 classes"]),
    "negative labels": (npz(labels=LABELS - 1), ["from -1 to 1"]),
    "labels in bytes of no class": (
        npz(labels=np.array([b"a", b"b", b"\xff"])[LABELS], classes=list("ab")),
        ["is not in classes (a, b, …)"],
    ),
    "labels of another length": (npz(labels=LABELS[:-1]), ["(299,)", "(300,)"]),
    "labels float": (npz(labels=LABELS / 1), ["float64", "integers"]),
    "a name that is no class": (
        npz(labels=np.array(list("abc"))[LABELS], classes=list("ab")),
        ["'c'"],
    ),
    "a class named twice": (npz(labels=LABELS, classes=list("aba")), ["twice"]),
    "classes without labels": (npz(classes=list("ab")), ["no labels"]),
    "images float": (npz(np.zeros((300, 16, 16))), ["float64", "uint8"]),
    "wrong ndim": (npz(noise(300, 256)), ["(300, 256)", "(N, 3, H, W)"]),
    "two channels": (npz(noise(300, 2, 16, 16)), ["(300, 2, 16, 16)"]),
    "too few": (folder_of(cat=128, dog=127), ["255 images", "256 or more"]),
    "too few in an npz": (npz(noise(255, 16, 16)), ["255 images"]),
    "all the same": (npz(np.zeros((300, 16, 16), np.uint8)), ["too few differ"]),
    "no npz": (text("x.npz"), ["damaged"]),
    "npz cut": (text("x.npz", b"PK\x03\x04 and no more"), ["damaged"]),
    "npz flipped": (lambda tmp_path: damaged_npz(tmp_path / "x.npz"), ["damaged"]),
    "npz without images": (
        lambda tmp_path: make_npz(tmp_path / "x.npz", pictures=noise(1, 16, 16)),
        ["holds pictures", "`images`"],
    ),
    "npz that says too much": (lambda tmp_path: boastful_npz(tmp_path / "x.npz"), ["damaged"]),
    "objects": (npz(labels=np.array([{}] * 300)), ["Python objects", "labels.astype(str)"]),
    "names as objects": (
        npz(labels=np.array(["a", "b", "c"], object)[LABELS]),
        ["labels.astype(str)"],
    ),
    "classes as objects": (
        npz(labels=LABELS, classes=np.array(["a", "b", "c"], object)),
        ["classes.astype(str)"],
    ),
    "labels from 1": (npz(labels=LABELS + 1), ["begin at 1", "labels - 1"]),
    "labels from 1 of named classes": (
        npz(labels=LABELS + 1, classes=list("abc")),
        ["from 1 to 3", "begin at 1"],
    ),
    "labels from 1 to 16": (npz(labels=np.arange(300) % 16 + 1), ["from 1 to 16", "begin at 1"]),
    "both": (both, ["direct.png", "cat", "not clear"]),
}


@pytest.mark.fast
@pytest.mark.parametrize("case", BAD)
def test_one_line_and_nothing_left(tmp_path, case):
    make, expected = BAD[case]
    source = make(tmp_path)
    done = fashion_gan_here(
        "data", "--folder", str(tmp_path / "data"), "--dataset", str(source), cwd=ROOT
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    for words in [*expected, source.name]:
        assert words in done.stderr
    assert [path for path in tmp_path.glob("data/sets/*") if path.suffix != ".lock"] == []


@pytest.mark.fast
def test_unreadable_images_are_skipped_where_that_is_asked_for(tmp_path):
    folder = with_a_bad_one(tmp_path)
    (folder / "cat" / "link.png").symlink_to("nothing")
    words = ["data", "--folder", str(tmp_path), "--dataset", str(folder)]
    done = fashion_gan_here(*words, "--skip-unreadable", cwd=ROOT)
    assert "skipped 2 that cannot be read: cat/link.png, dog/00001.png" in done.stdout
    told = read_json(next(tmp_path.glob("sets/*/dataset.json")))
    assert (told["skipped"], sum(told["counts"].values())) == (
        ["cat/link.png", "dog/00001.png"],
        299,
    )
    # without asking, the same answer as if it were not packed yet
    again = fashion_gan_here(*words, cwd=ROOT)
    assert again.returncode == 2
    assert "skip_unreadable: true" in again.stderr


@pytest.mark.fast
def test_a_class_that_loses_all_its_images_to_skipping(tmp_path):
    folder = make_folder(tmp_path / "x", noise(300, 16, 16))
    (folder / "emu").mkdir()
    (folder / "emu" / "1.png").write_bytes(b"")
    with pytest.raises(UserError, match="no image of class emu"):
        pack_dataset(str(folder), tmp_path, skip_unreadable=True, **quiet)


@pytest.mark.fast
def test_the_command_says_where_it_lies(tmp_path):
    path = make_npz(
        tmp_path / "pets.npz",
        images=noise(300, 16, 16),
        labels=np.arange(300) % 2,
        classes=["cat", "dog"],
    )
    done = fashion_gan_here("data", "--folder", str(tmp_path), "--dataset", str(path), cwd=ROOT)
    where = next((tmp_path / "sets").glob("pets-*/"))
    assert f"is packed in {where}" in done.stdout
    assert "images of 1×16×16; classes: cat, dog" in done.stdout
    assert "300 images in 2 classes\n" in done.stdout
    assert Image.open(where / "sheet.png").size == (12 * 18 * 4, 2 * 18 * 4)
    refused = fashion_gan_here("data", "--skip-unreadable", cwd=ROOT)
    assert "belongs to --dataset" in refused.stderr


@pytest.mark.fast
def test_a_data_folder_that_cannot_be_one(tmp_path):
    (tmp_path / "file").write_text("")
    path = make_npz(tmp_path / "a.npz", images=noise(300, 16, 16))
    with pytest.raises(UserError, match="cannot be written"):
        pack_dataset(str(path), tmp_path / "file", **quiet)


@pytest.mark.fast
def test_a_lock_that_is_held_is_waited_for(tmp_path):
    path, said = make_npz(tmp_path / "a.npz", images=noise(300, 16, 16)), []
    name, _ = resolve_dataset(str(path), tmp_path, said.append)
    held = Lock(Path(tmp_path / "sets" / f"{name}.lock"))
    assert held.acquire()
    threading.Timer(0.5, held.release).start()
    pack_dataset(str(path), tmp_path, said.append)
    assert "waiting" in said[0]
