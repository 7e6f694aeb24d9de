"""`fashion-gan evaluate`, `compare` and `champion`: any images, refused in one line where they are
none."""

import json

import numpy as np
import pytest
from conftest import TINY, fashion_gan_here
from PIL import Image

from fashion_gan.catalog.generators import find_generator
from fashion_gan.config.params import Params
from fashion_gan.models.latents import balanced_labels, sample_images
from fashion_gan.models.serialization import GENERATOR, save_network
from fashion_gan.runs.create import create_run
from fashion_gan.runs.run import Run
from fashion_gan.tracking import mlflow_sync, registry
from fashion_gan.tracking.client import MODEL_NAME, make_client


@pytest.fixture(scope="module")
def clothes(data_dir):
    from fashion_gan.data.datasets import load_split

    split = load_split(data_dir, "validation", 1000)
    return split.images.squeeze(1).numpy(), split.labels.numpy()


@pytest.fixture
def world(project, clothes):
    """Files that are no images of the right kind, by name."""
    images, labels = clothes
    save = np.savez_compressed
    save("floats.npz", images=images / 255)
    save("signed.npz", images=images.astype(np.int64))
    save("small.npz", images=images[:, :27])
    save("colour.npz", images=np.repeat(images[..., None], 3, axis=3))
    save("flat.npz", images=images.reshape(1000, -1))
    save("few.npz", images=images[:999])
    save("none.npz", images=images[:0])
    save("range.npz", images=(images > 127).astype(np.uint8))
    save("constant.npz", images=np.full_like(images, 7))
    save("names.npz", pictures=images)
    save("short_labels.npz", images=images, labels=labels[:-1])
    save("wide_labels.npz", images=images, labels=labels[:, None])
    save("high_labels.npz", images=images, labels=labels + 1)
    save("float_labels.npz", images=images, labels=labels.astype(float))
    save("odd_labels.npz", images=images, labels=np.full(1000, "hat"))
    np.savez("names_as_objects.npz", images=images, labels=labels.astype(str).astype(object))
    np.savez("objects.npz", images=np.array([{"a": 1}] * 1000, dtype=object))
    save("good.npz", images=images, labels=labels)
    for name, content in {
        "text.npz": b"no images",
        "empty.npz": b"",
        "torn.npz": (project / "good.npz").read_bytes()[:5000],
    }.items():
        (project / name).write_bytes(content)
    np.save("array.npy", images)
    for name in ("empty", "large", "coloured", "broken", "two"):
        (project / name).mkdir()
    Image.new("L", (32, 32)).save("large/a.png")
    Image.new("RGB", (28, 28), "red").save("coloured/a.png")
    (project / "broken" / "a.png").write_bytes(b"\x89PNG no")
    for i in range(2):
        Image.new("L", (28, 28), i).save(f"two/{i}.png")
    (project / "ones").mkdir()
    for i in range(1000):
        Image.fromarray((images[i] > 127).astype(np.uint8)).save(f"ones/{i}.png", compress_level=1)
    (project / "labels.txt").write_text("boot\n" * 1000)
    (project / "short.txt").write_text("boot\n")
    (project / "binary.txt").write_bytes(b"\xff\xfe\x00")
    return project


REFUSED = {
    "floats": (["floats.npz"], "float64; allowed: uint8"),
    "signed": (["signed.npz"], "int64; allowed: uint8"),
    "27 pixels": (["small.npz"], "shape (1000, 27, 28)"),
    "colour": (["colour.npz"], "shape (1000, 28, 28, 3)"),
    "flat": (["flat.npz"], "shape (1000, 784)"),
    "999 images": (["few.npz"], "999 images; allowed: 1,000"),
    "no image": (["none.npz"], "0 images"),
    "0 and 1": (["range.npz"], "no grey level is over 1"),
    "all equal": (["constant.npz"], "every pixel is 7"),
    "no images in it": (["names.npz"], "holds pictures"),
    "labels too few": (["short_labels.npz"], "one for each of the 1,000"),
    "labels in a column": (["wide_labels.npz"], "one for each of the 1,000"),
    "labels to 10": (["high_labels.npz"], "from 1 to 10; allowed: integers 0 to 9"),
    "labels are floats": (["float_labels.npz"], "float64"),
    "labels no class": (["odd_labels.npz"], "no class 'hat'"),
    "pickled objects": (["objects.npz"], "no .npz of images"),
    "text": (["text.npz"], "no .npz of images"),
    "empty file": (["empty.npz"], "no .npz of images"),
    "torn": (["torn.npz"], "no .npz of images"),
    "an .npy": (["array.npy"], "holds one array"),
    "no such file": (["absent.npz"], "no .npz of images"),
    "neither run nor file": (["nonsense"], "no model 'nonsense'"),
    "folder without PNG": (["empty"], "holds no images; give a folder"),
    "large PNG": (["large"], "is 32×32 in grey; allowed: 28×28 in grey"),
    "coloured PNG": (["coloured"], "is 28×28 in colour; allowed: 28×28 in grey"),
    "broken PNG": (["broken"], "is no picture (PNG"),
    "two PNGs": (["two"], "2 images; allowed"),
    "labels file short": (["good.npz", "--labels", "short.txt"], "one for each of the 1,000"),
    "labels file binary": (["good.npz", "--labels", "binary.txt"], "cannot be read"),
    "labels file absent": (["good.npz", "--labels", "no.txt"], "cannot be read"),
    "labels of a run": (["showcase", "--labels", "labels.txt"], "asks for its own"),
    "like of a run": (["showcase", "--like", "showcase"], "--like belongs to an .npz"),
    "names as objects": (["names_as_objects.npz"], "save labels.astype(str)"),
    "labels from 1": (["high_labels.npz"], "begin at 1: save labels - 1"),
    "a folder of 0 and 1": (["ones"], "no grey level is over 1"),
    "like nothing": (["good.npz", "--like", "nonsense"], "no model 'nonsense'"),
    "split that is none": (
        ["good.npz", "--split", "train"],
        "'train' is not one of 'test', 'validation'",
    ),
    "no draw": (["showcase", "--draws", "0"], "allowed: 1 to 100"),
    "html is there": (["good.npz", "--html", "two"], "is there already"),
    "model not registered": (["models:/fashion-gan@champion"], "in MLflow at"),
}


def test_what_is_no_set_of_images_is_refused_in_one_line(world):
    for name, (words, expected) in REFUSED.items():
        done = fashion_gan_here("evaluate", *words, cwd=world)
        assert done.returncode == 2, name
        assert done.stderr.strip().count("\n") == 0, f"{name}: {done.stderr}"
        assert done.stderr.startswith("error: "), name
        assert expected in done.stderr, f"{name}: {done.stderr}"
        assert done.stdout == "", name


def test_a_file_a_folder_and_labels_from_a_file_score_the_same(world, clothes):
    images, labels = clothes
    first = fashion_gan_here("evaluate", "good.npz", "--json", cwd=world)
    assert first.returncode == 0, first.stderr
    scores = json.loads(first.stdout)
    assert scores["samples"] == 1000
    # they are the very images that the floor is measured on
    assert scores["distance"] == pytest.approx(scores["real"]["distance"])
    assert scores["label_accuracy"] > 0.9
    assert scores["warnings"] == []
    (world / "folder").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(world / "folder" / f"{i:04d}.png")
    (world / "asked.txt").write_text("\n".join(map(str, labels)))
    again = json.loads(
        fashion_gan_here("evaluate", "folder", "--labels", "asked.txt", "--json", cwd=world).stdout
    )
    assert {k: v for k, v in again.items() if k != "model"} == {
        k: v for k, v in scores.items() if k != "model"
    }
    shown = fashion_gan_here(
        "evaluate", "good.npz", "--split", "validation", "--inception", cwd=world
    )
    assert shown.returncode == 0, shown.stderr
    assert "Fréchet distance" in shown.stdout
    assert "Inception" in shown.stdout
    assert "same count" in shown.stderr


def test_html_is_the_report_that_a_run_has(world):
    done = fashion_gan_here("evaluate", "good.npz", "--html", "page", cwd=world)
    assert done.returncode == 0, done.stderr
    text = (world / "page" / "index.html").read_text()
    assert "No sign of memorising or repeating" in text
    assert "default-src 'none'" in text
    for name in (
        "03_evaluate.html",
        "scores.json",
        "images/nearest.png",
        "images/worst.png",
        "notebooks/03_evaluate.ipynb",
        "MODEL_CARD.md",
    ):
        assert (world / "page" / name).exists(), name


@pytest.fixture
def three_runs(project):
    """Two seeds of one setting and one run of another, with networks, points and scores."""
    import torch

    from fashion_gan.models.networks import Generator

    for name, changes, distance in (
        ("a0", {"seed": 0}, 0.50),
        ("a1", {"seed": 1}, 0.52),
        ("b", {"lr_g": 2e-3}, 0.40),
    ):
        run = create_run(Params.checked(TINY | changes), name=name, notebooks=())
        torch.manual_seed(0)
        save_network(run.folder / GENERATOR, Generator(8, 8, True, True), run.params.model_dump())
        for step in (256, 512):
            run.log_metrics(
                {"validation_distance": distance + 1 / step, "images": step, "seconds": step / 100},
                step,
            )
        figures = {
            "distance": distance,
            "recall": 0.5,
            "label_accuracy": 0.8,
            "kernel_distance": 0.01,
            "precision": 0.9,
        }
        run.log_json(
            {"measure": "judge-x-1000", "spread": {"distance": 0.003}, "real": {"distance": 0.01}}
            | figures,
            "scores",
        )
        run.finish()
    return project


def test_compare_takes_seeds_together_and_marks_only_what_exceeds_the_spread(three_runs):
    done = fashion_gan_here("compare", "a0", "a1", "b", "--html", "page", cwd=three_runs)
    assert done.returncode == 0, done.stderr
    assert "1: a0 = a1" in done.stdout
    assert "0.5100 ± 0.0141" in done.stdout
    marked = [
        line for line in done.stdout.splitlines() if line.endswith("*") and not line.startswith("*")
    ]
    assert [line.split()[0] for line in marked] == ["distance"]  # recall is equal
    page = (three_runs / "page" / "06_compare.html").read_text()
    assert "lr_g" in page
    assert "../reports/a1/index.html" in page
    assert fashion_gan_here("compare", "a0", cwd=three_runs).returncode == 2
    absent = fashion_gan_here("compare", "a0", "none", cwd=three_runs)
    assert (absent.returncode, absent.stderr.count("\n")) == (2, 1)


def figures(**changes):
    return {
        "measure": "judge-x-1000",
        "distance": 0.1,
        "recall": 0.7,
        "label_accuracy": 0.9,
        "spread": {"distance": 0.01},
        "warnings": [],
    } | changes


@pytest.mark.parametrize(
    ("ours", "refusal"),
    [
        ({"distance": 0.08}, ""),
        ({"distance": 0.095}, "distance 0.0950 against 0.1000, spread 0.0100"),
        ({"distance": 0.2}, "distance"),
        ({"distance": 0.05, "recall": 0.6}, "recall 0.6000 against 0.7000"),
        ({"distance": 0.05, "recall": 0.6, "spread": {"distance": 0.01, "recall": 0.2}}, ""),
        ({"distance": 0.05, "label_accuracy": 0.85}, "label_accuracy"),
        ({"distance": 0.05, "label_accuracy": None}, ""),
        ({"distance": 0.01, "warnings": ["It memorises: 90 of 100 images …"]}, "It memorises"),
        ({"distance": 0.01, "measure": "judge-y-1000"}, "do not compare"),
        ({"distance": 0.5, "measure": "judge-x-10000"}, ""),
        ({"distance": 0.01, "measure": "judge-x-500"}, "500 images"),
        ({"distance": None}, "nothing was measured"),
    ],
)
def test_the_champions_rule(ours, refusal):
    found = registry.why_not_champion(figures(**ours), figures())
    assert refusal in found
    assert bool(refusal) == bool(found)


def test_champion_tells_who_and_why(three_runs):
    none = fashion_gan_here("champion", cwd=three_runs)
    assert (none.returncode, none.stderr.count("\n")) == (2, 1)
    for name in ("a0", "a1", "b"):
        (three_runs / "reports" / name / "discriminator.safetensors").write_bytes(b"d")
        mlflow_sync.sync(Run(three_runs / "reports" / name))
    done = fashion_gan_here("champion", cwd=three_runs)
    assert done.returncode == 0, done.stderr
    assert "champion  version 3  run b" in done.stdout
    assert (
        "refused: distance 0.5200 against 0.5000, spread 0.0030, against version 1 (a0, 0.5)"
        in done.stdout
    )
    assert "given at 20" in done.stdout
    client = make_client()
    assert client.get_model_version_by_alias(MODEL_NAME, "champion").tags["run"] == "b"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_overfitted_on_purpose_memorises(project, data_dir):
    """Trained on 256 images for long: its report says so. The shipped generator, held against the
    same 256: no sign."""
    from fashion_gan.data.datasets import Split, load_split
    from fashion_gan.metrics.evaluator import Evaluator
    from fashion_gan.report import pages
    from fashion_gan.training import loop
    from fashion_gan.training.state import TrainingState
    from fashion_gan.training.validation import ema_for_eval

    params = Params.checked(
        {
            "subset": 256,
            "epochs": 4,
            "channels": 16,
            "batch_size": 50,
            "val_samples": 100,
            "ema_half_life": 2000,
            "lr_g": 4e-4,
            "lr_d": 4e-4,
            "frechet_weight": 0.0,
            "lr_decay_end": 0,
            "lr_decay_start": 0,
            "device": "cpu",
        }
    )
    state, few = TrainingState(params), load_split(data_dir, "train", 256)
    # 80 times an epoch: what is looked at after each costs more
    again = Split(few.images.repeat(80, 1, 1, 1), few.labels.repeat(80))
    for _ in loop.train(state, again, load_split(data_dir, "validation", 500), params):
        pass
    evaluator, labels = Evaluator(data_dir, subset=256), balanced_labels(3000)
    generators = [ema_for_eval(state, params), find_generator("showcase").generator]
    overfitted, shipped = (
        evaluator.scores([(sample_images(g, len(labels), 0, labels), labels)])[0]
        for g in generators
    )
    assert any(words.startswith("It memorises") for words in overfitted["warnings"]), overfitted[
        "memorised"
    ]
    assert not any(words.startswith("It memorises") for words in shipped["warnings"]), shipped[
        "memorised"
    ]
    run = create_run(params, name="overfitted", notebooks=())
    run.log_json(overfitted, "scores")
    run.finish()
    assert "It memorises" in pages.write_report(run).read_text()
