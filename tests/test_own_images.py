"""Whole pipelines on images of one's own: in colour and oblong in a folder, without labels in an
.npz, in MNIST's format."""

import gzip
import json
import subprocess
import sys

import numpy as np
import pytest
import yaml
from conftest import TINY, fashion_gan_here
from PIL import Image

from fashion_gan import UserError
from fashion_gan.catalog.datasets import prepare_dataset
from fashion_gan.catalog.generators import find_generator
from fashion_gan.catalog.runs import find_run
from fashion_gan.data.datasets import dataset_dir
from fashion_gan.files import read_json
from fashion_gan.runs.run import all_runs

pytestmark = pytest.mark.timeout(900)
SHAPES = ("ball", "box", "bar")


def drawn(kind: str, height: int, width: int, random: np.random.Generator) -> np.ndarray:
    """A ball, a box or a bar, bright on black, somewhere near the middle: (height, width) of 0 and
    1."""
    y, x = np.mgrid[:height, :width]
    y, x, r = (
        y - height / 2 - random.normal(0, 2),
        x - width / 2 - random.normal(0, 2),
        min(height, width) * random.uniform(0.2, 0.35),
    )
    return {
        "ball": y * y + x * x < r * r,
        "box": np.maximum(abs(y), abs(x)) < r,
        "bar": abs(y) < r / 3,
    }[kind]


def images(count: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, count)
    levels = random.integers(120, 256, count)[:, None, None]
    return (np.stack([drawn(SHAPES[c], height, width, random) for c in labels]) * levels).astype(
        np.uint8
    ), labels


def written(project, **values):
    path = project / "params" / "own.yaml"
    sizes = {
        "channels": 8,
        "subset": 2000,
        "samples": 1000,
        "explore_images": 100,
        "data_dir": str(project / "mine"),
        "frechet_weight": 1.0,
        "frechet_start": 64,
    }
    path.write_text(yaml.safe_dump(TINY | sizes | values))
    return str(path)


def run(project, name, **values):
    done = fashion_gan_here("run", written(project, **values), "--name", name, cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    return find_run(name), done.stdout


def test_a_folder_of_oblong_pictures_in_colour_goes_to_the_end(project):
    grey, labels = images(600, 48, 32)
    for number, (picture, label) in enumerate(zip(grey, labels, strict=True)):
        folder = project / "photos" / SHAPES[label]
        folder.mkdir(parents=True, exist_ok=True)
        colour = np.stack([picture, picture // 2, 255 - picture], axis=2)
        Image.fromarray(colour).save(folder / f"{number}.png")
    found, said = run(project, "own", dataset=str(project / "photos"))
    assert "packing 600 images" in said
    assert "images are too few for a good model" in said
    assert found.info.data.shape == (3, 48, 32)
    assert found.info.data.classes == sorted(SHAPES)
    assert [each["profile"]["num_rows"] for each in found.info.datasets][1] > 20
    scores = found.read_json("scores")
    assert len(scores["class_accuracy"]) == 3
    assert scores["samples"] == min(each["profile"]["num_rows"] for each in found.info.datasets[1:])
    page = (found.folder / "index.html").read_text()
    assert '"shape":[3,48,32]' in page  # the twin
    assert "Fashion-MNIST" not in page
    assert "Fashion-MNIST" not in (found.folder / "MODEL_CARD.md").read_text()
    assert Image.open(found.folder / "images" / "samples_by_class.png").mode == "RGB"
    networks = read_json(next((project / "mine").glob("sets/*/networks/features.json")))
    assert networks["judge"]["test_accuracy"] > 0.9

    other = fashion_gan_here("resume", "own", "-p", "epochs=9", "-p", "data_dir=data", cwd=project)
    assert (other.returncode, other.stderr.count("\n")) == (2, 1), other.stderr
    assert "is not what run own was trained on" in other.stderr

    done = fashion_gan_here(
        "sample",
        "--model",
        "own",
        "--classes",
        "bar,ball",
        "--n",
        "8",
        "--out",
        "x.npz",
        cwd=project,
    )
    assert done.returncode == 0, done.stderr
    with np.load(project / "x.npz") as file:
        assert file["images"].shape == (8, 48, 32, 3)
        assert file["labels"].tolist() == [1, 0] * 4  # ball, bar, box
    measured = fashion_gan_here("evaluate", "own", "--json", "--draws", "1", cwd=project)
    assert measured.returncode == 0, measured.stderr
    assert json.loads(measured.stdout)["measure"] == scores["measure"]

    many = fashion_gan_here(
        "sample", "--model", "own", "--n", "1000", "--out", "many.npz", cwd=project
    )
    assert many.returncode == 0, many.stderr
    measured = fashion_gan_here(
        "evaluate", "many.npz", "--like", "own", "--html", "measured", "--json", cwd=project
    )
    assert measured.returncode == 0, measured.stderr
    assert json.loads(measured.stdout)["measure"] == scores["measure"]
    assert "Fashion-MNIST" not in (project / "measured" / "index.html").read_text()
    grey = fashion_gan_here("evaluate", "many.npz", cwd=project)
    assert (grey.returncode, grey.stderr.count("\n")) == (2, 1), grey.stderr
    assert (
        "shape (1000, 48, 32, 3); allowed: (N, 28, 28) or (N, 1, 28, 28), as Fashion-MNIST has"
        in grey.stderr
    )

    said = []  # neither is it packed again, nor are the networks trained
    again = prepare_dataset(found.params.model_copy(update={"data_dir": "mine"}), said.append)
    assert again.data_dir == found.params.data_dir
    assert not [line for line in said if "packing" in line or "networks" in line]
    assert read_json(next((project / "mine").glob("sets/*/networks/features.json"))) == networks


@pytest.mark.slow
def test_a_second_run_of_a_folder_packs_nothing_and_is_trained_on(project):
    for number, (picture, label) in enumerate(zip(*images(600, 48, 32), strict=True)):
        folder = project / "photos" / SHAPES[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{number}.png")
    first, _ = run(project, "own", dataset=str(project / "photos"), notebooks=["02_train"])
    networks = read_json(next((project / "mine").glob("sets/*/networks/features.json")))
    _, said = run(project, "again", dataset=str(project / "photos"), notebooks=["02_train"])
    assert "packing" not in said  # nor are the networks trained again
    assert read_json(next((project / "mine").glob("sets/*/networks/features.json"))) == networks
    more = fashion_gan_here(
        "resume", "again", "-p", f"epochs={first.params.epochs + 1}", cwd=project
    )
    assert more.returncode == 0, more.stdout + more.stderr
    assert len(find_run("again").series("loss_d")[1]) == first.params.epochs + 1


@pytest.mark.slow
def test_an_npz_without_labels_is_a_set_of_one_class(project):
    grey, _ = images(600, 20, 16)
    np.savez(project / "plain.npz", images=grey)
    found, _ = run(
        project,
        "plain",
        dataset=str(project / "plain.npz"),
        notebooks=["02_train", "03_evaluate", "04_sample", "05_explorer"],
    )
    assert found.info.data.classes == ["images"]
    assert "label_accuracy" not in found.read_json("scores")
    assert "learned which way images" in (found.folder / "index.html").read_text()
    assert not find_generator("plain").is_conditional
    done = fashion_gan_here(
        "sample", "--model", "plain", "--classes", "0", "--out", "x.png", cwd=project
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "cannot be asked for a class" in done.stderr


@pytest.mark.slow
def test_mnists_format(project):
    raw = project / "mine" / "KMNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, count in (("train", 480), ("t10k", 120)):
        grey, labels = images(count, 28, 28)

        def header(kind, *sizes):
            return bytes([0, 0, 8, kind]) + b"".join(size.to_bytes(4, "big") for size in sizes)

        with gzip.open(raw / f"{prefix}-images-idx3-ubyte.gz", "wb") as file:
            file.write(header(3, count, 28, 28) + grey.tobytes())
        with gzip.open(raw / f"{prefix}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(header(1, count) + labels.astype(np.uint8).tobytes())
    found, _ = run(project, "small", dataset="kmnist", notebooks=["02_train", "03_evaluate"])
    assert found.info.data.name == "kmnist"
    assert len(found.info.data.classes) == 10
    assert (found.folder / "generator.safetensors").exists()

    by_hand_on_kmnist(project, found.params)


def by_hand_on_kmnist(project, params):
    """02_train, opened and told dataset = "kmnist": it trains on that, and its run says so."""
    unused = ("samples", "draws", "explore_images")
    changed = {name: value for name, value in TINY.items() if name not in unused}
    changed |= {"dataset": "kmnist", "data_dir": "mine", "epochs": 1}
    given = [word for name, value in changed.items() for word in ("-p", name, str(value))]
    words = [
        "-m",
        "papermill",
        "notebooks/02_train.ipynb",
        "by_hand.ipynb",
        "-k",
        "python3",
        *given,
    ]
    done = subprocess.run([sys.executable, *words], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1500:]
    run = all_runs()[-1]
    assert run.info.data.name == "kmnist"
    assert run.params.data_dir == params.data_dir
    assert run.series("loss_d")[0] == [run.info.images_seen]
    with pytest.raises(UserError, match=r"holds what was packed from .*kmnist, not dataset mnist"):
        prepare_dataset(params.model_copy(update={"dataset": "mnist"}))
    with pytest.raises(UserError, match="dataset kmnist is not packed in data; pack it"):
        dataset_dir(params.model_copy(update={"data_dir": "data"}))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"dataset": "nowhere.npz"},
            (
                "dataset 'nowhere.npz' does not exist; allowed: fashion-mnist, mnist, kmnist,"
                " qmnist, a folder"
            ),
        ),
        ({"dataset": "few.npz"}, "allowed: 256 or more"),
        (
            {"dataset": "some.npz", "batch_size": 256},
            "fewer than batch_size 256; say -p batch_size=",
        ),
    ],
)
def test_what_cannot_be_trained_on_is_said_in_one_line(project, values, words):
    for name, count in (("few", 40), ("some", 300)):
        np.savez(project / f"{name}.npz", images=images(count, 16, 16)[0])
    done = fashion_gan_here("run", written(project, **values), cwd=project)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert words in done.stderr
    assert not list((project / "reports").glob("2*"))
