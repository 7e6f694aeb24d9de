"""Files that were made to harm: each is refused in one line, soon, and with little memory."""

import io
import json
import os
import socket
import struct
import time
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import fashion_gan_here
from PIL import Image
from safetensors.torch import load, save

from fashion_gan import UserError
from fashion_gan.config.params import Params
from fashion_gan.config.profiles import read_profile
from fashion_gan.data import limits
from fashion_gan.data.datasets import dataset_info
from fashion_gan.explorer import inversion
from fashion_gan.files import read_json
from fashion_gan.models.feature_network import load_feature_network
from fashion_gan.models.serialization import make_generator, save_network
from fashion_gan.runs.record import RunInfo
from fashion_gan.tracking import fetch
from fashion_gan.training.checkpoints import load_checkpoint
from fashion_gan.training.state import TrainingState

SAMPLE = ("sample", "--out", "out.npz", "--model")
SMALL = {"channels": 4, "latent_dim": 2, "subset": 256, "batch_size": 16, "device": "cpu"}


@pytest.fixture(autouse=True, scope="module")
def imported(tmp_path_factory):
    """What the commands import is in memory before their memory and time are measured."""
    folder = tmp_path_factory.mktemp("imported")
    (folder / "x.npz").write_bytes(packed(header((1000, 28, 28))))
    for command in (("evaluate", "x.npz"), ("data", "--dataset", "x.npz"), (*SAMPLE, "x.npz")):
        fashion_gan_here(*command, cwd=folder)


def refused(words, *command, folder):
    """The command ends with one line on standard error that holds the words."""
    tracemalloc.start()
    began = time.process_time()
    done = fashion_gan_here(*command, cwd=folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr[-1000:]
    assert words in done.stderr, done.stderr
    assert peak < 150e6
    assert time.process_time() - began < 10


# .npz


def header(shape, kind="|u1", by_columns=False):
    stream = io.BytesIO()
    about = {"descr": kind, "fortran_order": by_columns, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, about)
    return stream.getvalue()


def packed(images, labels=None, how=zipfile.ZIP_DEFLATED, names=()):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", how, compresslevel=1) as file:
        file.writestr("images.npy", images)
        if labels is not None:
            file.writestr("labels.npy", labels)
        for name in names:
            file.writestr(name, b"")
    return stream.getvalue()


def marked(where, value):
    """The members' flags (6 bytes in) or compression (8 bytes in), in both lists of them."""
    content = bytearray(packed(header((1000, 28, 28)) + bytes(784_000)))
    for start, more in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
        content[content.index(start) + where + more] = value
    return bytes(content)


GOOD = header((1000, 28, 28)) + bytes(range(196)) * 4000
NPZ = {
    "claims 10^12 images": lambda: packed(header((10**12, 28, 28)) + bytes(9999)),
    "claims a wrong shape": lambda: packed(header((1000, 28, 29)) + bytes(784_000)),
    "claims a wrong type": lambda: packed(header((1000, 28, 28), "<f8") + bytes(784_000)),
    "a header that nests": lambda: packed(b"\x93NUMPY\1\0\x88\x13" + b"(" * 5000),
    "a header of 250 MB": lambda: packed(b"\x93NUMPY\2\0\0\0\0\x0f" + bytes(252_000_000)),
    "encrypted": lambda: marked(6, 1),
    "unknown compression": lambda: marked(8, 99),
    "damaged LZMA": lambda: (
        packed(GOOD, how=zipfile.ZIP_LZMA)[:60]
        + b"\xff" * 140
        + packed(GOOD, how=zipfile.ZIP_LZMA)[200:]
    ),
    "cut off": lambda: packed(GOOD)[:-500],
    "lists too much": lambda: packed(GOOD, names=[f"{i}" * 30_000 for i in range(10, 40)]),
    "labels of a million letters": lambda: packed(
        GOOD, header((1000,), "<U999999") + bytes(9_999_990)
    ),
    "labels of objects": lambda: packed(GOOD, header((1000,), "|O") + bytes(99)),
    "labels that are many": lambda: packed(GOOD, header((10**12,), "|u1")),
}


@pytest.mark.parametrize("case", NPZ)
@pytest.mark.parametrize("command", [("evaluate",), ("data", "--folder", "to", "--dataset")])
def test_an_npz(tmp_path, case, command):
    (tmp_path / "x.npz").write_bytes(NPZ[case]())
    refused("x.npz", *command, "x.npz", folder=tmp_path)


def test_only_what_is_used_is_unpacked(tmp_path):
    """235 MB of images, of which 8 are measured, and the same by columns."""
    images = bytes(range(196)) * 40_000 + bytes(784 * 290_000)
    (tmp_path / "x.npz").write_bytes(
        packed(header((300_000, 28, 28)) + images, header((7,)) + bytes(7))
    )
    refused("300,000 images", "evaluate", "x.npz", folder=tmp_path)
    (tmp_path / "y.npz").write_bytes(packed(header((300_000, 28, 28), "|u1", True) + images))
    refused("row by row", "evaluate", "y.npz", folder=tmp_path)


# What is no regular file


def pipe(path):
    os.mkfifo(path)


def a_socket(path):
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path.name)


NO_FILES = {
    "pipe": pipe,
    "socket": a_socket,
    "folder": Path.mkdir,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "link to a pipe": lambda path: (pipe(path.with_name("p")), path.symlink_to("p")),
}


@pytest.mark.fast
@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_regular_file(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)  # a socket's path may not be long
    for name in ("x.npz", "generator.safetensors", "l.txt", "dataset.json", "x.pt", "run.json"):
        NO_FILES[kind](tmp_path / name)
        (tmp_path / "p").unlink(missing_ok=True)
    np.savez(tmp_path / "good.npz", images=np.arange(784_000, dtype=np.uint8).reshape(-1, 28, 28))
    refused("x.npz", "evaluate", "x.npz", folder=tmp_path)
    refused("x.npz", "data", "--dataset", "x.npz", folder=tmp_path)
    refused("l.txt", "evaluate", "good.npz", "--labels", "l.txt", folder=tmp_path)
    refused("generator", *SAMPLE, "generator.safetensors", folder=tmp_path)
    for read in (load_checkpoint, read_profile):
        with pytest.raises(UserError):
            read(tmp_path / "x.pt")
    with pytest.raises((UserError, FileNotFoundError)):
        RunInfo.read(tmp_path / "run.json")


# Pictures


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, *chunks, bits=8):
    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes((width * bits // 8 + 1) * min(height, 99))))
    return b"\x89PNG\r\n\x1a\n" + start + b"".join(chunks) + pixels + chunk(b"IEND", b"")


PICTURES = {
    "900 million pixels of a bit": lambda: png(30_000, 30_000, bits=1),
    "100 million pixels": lambda: png(10_000, 10_000),
    "text of 200 MB": lambda: png(
        28, 28, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200_000_000), 1))
    ),
    "41 MB": lambda: png(28, 28) + bytes(41_000_000),
    "cut off": lambda: png(28, 28)[:50],
    "no picture": lambda: b"\0" * 99,
}


@pytest.mark.parametrize("case", PICTURES)
def test_a_picture(tmp_path, case):
    content = PICTURES[case]()
    (tmp_path / "x").mkdir()
    for i in range(256):
        level = np.random.default_rng(i).integers(0, 256, (28, 28), np.uint8)
        Image.fromarray(level).save(tmp_path / "x" / f"{i}.png", compress_level=0)
    (tmp_path / "x" / "a.png").write_bytes(content)
    refused("a.png", "evaluate", "x", folder=tmp_path)
    refused("a.png cannot be read", "data", "--folder", "to", "--dataset", "x", folder=tmp_path)
    if case != "41 MB":
        with pytest.raises(UserError):
            inversion.prepare_photo(content)


def test_a_photo_of_many_scans():
    """60 million pixels, gone over a thousand times."""
    stream = io.BytesIO()
    Image.new("L", (7000, 7000), 3).save(stream, "jpeg", progressive=True)
    content = stream.getvalue()
    last = content.rindex(b"\xff\xda")
    many = content[:-2] + content[last:-2] * 1000 + b"\xff\xd9"
    began = time.process_time()
    with pytest.raises(UserError, match="no picture that can be read"):
        inversion.prepare_photo(many)
    assert time.process_time() - began < 10


# Models


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "x.safetensors"
    params = Params(**SMALL).model_dump()
    save_network(path, make_generator(params), params)
    return params, load(path.read_bytes())


def renamed(tensors, old, new):
    return {new if name == old else name: value for name, value in tensors.items()}


METADATA = {
    "too wide": (lambda p: p | {"channels": 1500}, "channels is 1500; allowed: int from 4 to 256"),
    "wider than its tensors": (lambda p: p | {"channels": 256}, "project.weight"),
    "as large as can be": (lambda p: p | {"shape": [3, 64, 64], "channels": 256}, "project.weight"),
    "a side of 10^9": (lambda p: p | {"shape": [1, 10**9, 10**9]}, "less than or equal to 64"),
    "two colours": (lambda p: p | {"shape": [2, 28, 28]}, "shape"),
    "100,000 classes": (lambda p: p | {"classes": ["a"] * 10**5}, "at most 1000"),
    "a number for a class": (lambda p: p | {"classes": [1, 2]}, "valid string"),
    "a text for a number": (lambda p: p | {"channels": "4"}, "channels is '4'"),
    "not a number": (lambda p: p | {"r1": float("nan")}, "r1 is nan"),
    "10^400": (lambda p: p | {"seed": 10**400}, "seed"),
    "a list": (lambda p: [1, 2], "no model of fashion-gan"),
    "a text": (lambda p: "words", "no model of fashion-gan"),
    "nothing": (lambda p: None, "no model of fashion-gan"),
    "no width": (lambda p: {k: v for k, v in p.items() if k != "channels"}, "channels"),
}


@pytest.mark.fast
@pytest.mark.parametrize("case", METADATA)
def test_a_models_metadata(tmp_path, model, case):
    change, words = METADATA[case]
    metadata = {"params": json.dumps(change(model[0]))}
    (tmp_path / "x.safetensors").write_bytes(save(model[1], metadata))
    refused(words, *SAMPLE, "x.safetensors", folder=tmp_path)


FIRST = "project.weight"
TENSORS = {
    "deep": (lambda t: (t, {"params": "[" * 100_000}), "no model"),
    "no metadata": (lambda t: (t, {}), "params"),
    "a large header": (lambda t: (t, {"params": "{}", "x": "x" * 2_000_000}), "header is too"),
    "not finite": (lambda t: (t | {FIRST: t[FIRST] * torch.nan}, None), "not finite"),
    "one too few": (lambda t: (renamed(t, FIRST, "x"), None), "project.weight"),
    "another's": (lambda t: (renamed(t, "layers.0.weight", "x"), None), "not those of such"),
    "one too many": (lambda t: (t | {"x": torch.zeros(9)}, None), "not those of such"),
    "a wrong size": (lambda t: (t | {"layers.0.weight": torch.zeros(9)}, None), "not those of"),
}


@pytest.mark.fast
@pytest.mark.parametrize("case", TENSORS)
def test_a_models_tensors(tmp_path, model, case):
    change, words = TENSORS[case]
    tensors, metadata = change(model[1])
    metadata = {"params": json.dumps(model[0])} if metadata is None else metadata
    (tmp_path / "x.safetensors").write_bytes(save(tensors, metadata))
    refused(words, *SAMPLE, "x.safetensors", folder=tmp_path)


# Checkpoints


def content(**changes):
    whole = {"schema": 2, "params": {"seed": 0}, "images": 1, "state": {}}
    return {name: value for name, value in (whole | changes).items() if value is not None}


CHECKPOINTS = {
    "no images": content(images=None) | {},
    "images a text": content(images="many"),
    "images below none": content(images=-1),
    "params a list": content(params=[1]),
    "params of tensors": content(params={"seed": torch.zeros(9)}),
    "state a text": content(state="words"),
    "version a tensor": content(schema=torch.zeros(3)),
    "many objects": content(state={"x": list(range(10**6))}),
    "a tensor": torch.zeros(3),
}


@pytest.mark.fast
@pytest.mark.parametrize("case", CHECKPOINTS)
def test_a_checkpoint(tmp_path, case):
    torch.save(CHECKPOINTS[case], tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"checkpoint") as error:
        load_checkpoint(tmp_path / "x.pt")
    assert "\n" not in str(error.value)


@pytest.mark.fast
def test_a_checkpoint_that_unpacks_to_much(tmp_path):
    torch.save(content(state={"x": torch.zeros(50_000_000)}), tmp_path / "whole.pt")
    with (
        zipfile.ZipFile(tmp_path / "whole.pt") as whole,
        zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bomb,
    ):
        for name in whole.namelist():
            bomb.writestr(name, whole.read(name))
    with pytest.raises(UserError, match=r"damaged or no checkpoint"):
        load_checkpoint(tmp_path / "x.pt")


@pytest.mark.fast
@pytest.mark.parametrize(
    "changes",
    [
        {"generator": {}},
        {"generator": [1]},
        {"optimizer_g": {"state": {0: {"exp_avg": torch.zeros(3)}}}},
        {"position": {"epoch": "one"}},
        {"position": 3},
        {"position": {"batch": -1}},
        {"losses": "none"},
    ],
    ids=lambda changes: str(next(iter(changes.items())))[:30],
)
def test_a_state_of_another_training(changes):
    state = TrainingState(Params(**SMALL))
    whole = state.state_dict()
    changes = {
        name: whole[name] | value if name == "optimizer_g" else value
        for name, value in changes.items()
    }
    with pytest.raises(UserError, match="holds no state of such a training"):
        state.load_state_dict(whole | changes)


# Data folders, JSON, a bucket's keys


@pytest.mark.fast
@pytest.mark.parametrize(
    "changes",
    [{"shape": [3, 10**6, 64]}, {"classes": ["a"] * 1001}, {"counts": {}}, {"name": 3}, None],
    ids=str,
)
def test_a_data_set_from_elsewhere(tmp_path, changes):
    counts = {"train": 9, "validation": 9, "test": 9}
    record = {"name": "x", "shape": [1, 16, 16], "classes": ["a", "b"], "counts": counts}
    record = record | {"source": "x", "digest": ""} | changes if changes else [1]
    (tmp_path / "dataset.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="description of a data set"):
        dataset_info(tmp_path)


@pytest.mark.fast
@pytest.mark.parametrize("record", ["[1]", "{}", '{"dev": 3}', "[" * 100_000])
def test_feature_networks_from_elsewhere(tmp_path, record):
    counts = {"train": 9, "validation": 9, "test": 9}
    values = {"name": "x", "shape": [1, 16, 16], "classes": [], "counts": counts}
    (tmp_path / "dataset.json").write_text(json.dumps(values | {"source": "x", "digest": ""}))
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks" / "dev.safetensors").write_bytes(b"no network")
    (tmp_path / "networks" / "features.json").write_text(record)
    with pytest.raises(UserError, match=r"features\.json"):
        load_feature_network("dev", folder=tmp_path)


@pytest.mark.fast
def test_json_that_nests(tmp_path):
    (tmp_path / "x.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"x\.json is damaged"):
        read_json(tmp_path / "x.json")


@pytest.mark.fast
def test_a_buckets_keys_stay_in_the_runs_folder():
    names = ["/etc/passwd", "a//b", "../x", "images/../../x", "a\0b", "..", "", "images/x.png"]
    assert fetch.in_order(names) == ["images/x.png"]


@pytest.mark.fast
def test_labels_in_a_text(tmp_path):
    np.savez(tmp_path / "x.npz", images=np.arange(784_000, dtype=np.uint8).reshape(-1, 28, 28))
    for text, words in (
        ("9" * 5000, "no class '999"),
        ("a" * 5000 + "\nb" * 999, "no class 'aaa"),
        ("0\n" * limits.MOST_TEXT_BYTES, "larger than"),
    ):
        (tmp_path / "l.txt").write_text(text)
        refused(words, "evaluate", "x.npz", "--labels", "l.txt", folder=tmp_path)
    np.lib.format.open_memmap(tmp_path / "l.npy", "w+", np.int64, (9,)).flush()
    claims = header((10**12,), "<i8")
    (tmp_path / "l.npy").write_bytes(claims)
    refused("cannot be read", "evaluate", "x.npz", "--labels", "l.npy", folder=tmp_path)
