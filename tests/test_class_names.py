"""Classes of any name, up to a thousand of them, of unequal size: figures, measures, training."""

import json
import os

import numpy as np
import pytest
import torch
from conftest import TINY, fashion_gan_here, packed_folder
from PIL import Image

from fashion_gan import UserError
from fashion_gan.catalog.runs import find_run
from fashion_gan.config.params import Params
from fashion_gan.data.classes import spread_classes
from fashion_gan.data.datasets import dataset_info, load_split
from fashion_gan.errors import warn_once
from fashion_gan.files import read_json
from fashion_gan.metrics.evaluator import Evaluator
from fashion_gan.models.latents import balanced_labels, class_shares, proportional_labels
from fashion_gan.report import charts, plots
from fashion_gan.text import plain_text, writable_text
from fashion_gan.training import loop
from fashion_gan.training.state import MOST_ONE_HOT, TrainingState, class_codes

LATIN = os.fsdecode(b"caf\xe9")
LONG = "a very long name " * 7
NAMES = (r"$\frac$", "costs 5 $", "a, b", "日本語", "قطة", "😀", LATIN, LONG)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("name", "written"),
    [
        (LATIN, r"caf\xe9"),
        (os.fsdecode(b"\xff\xfe x"), r"\xff\xfe x"),
        ("caf\ud800", r"caf\ud800"),
        *((name, name) for name in ("café", "日本語", "قطة", "💀", r"C:\x")),
    ],
)
def test_what_is_no_utf8_is_written_with_its_bytes(name, written):
    assert writable_text(name) == written
    assert plain_text(name) == written
    assert str(UserError(name)) == written


@pytest.mark.fast
def test_a_data_sets_names_can_be_written_anywhere(tmp_path):
    names = (LATIN, os.fsdecode(b"th\xe9"), "💀", "日本語")
    folder = packed_folder(tmp_path / "x", (1, 16, 16), names)
    assert dataset_info(folder).classes == (r"caf\xe9", r"th\xe9", "💀", "日本語")
    (tmp_path / "x.json").write_text(json.dumps({LATIN: [LATIN, 1, None]}))
    assert read_json(tmp_path / "x.json") == {r"caf\xe9": [r"caf\xe9", 1, None]}


@pytest.mark.fast
def test_figures_show_names_as_they_are_and_warn_once(capsys, recwarn):
    warn_once.cache_clear()
    count = len(NAMES)
    shares = {"generated": [0.5] * count, "real": [None] + [1.0] * (count - 1)}
    assert charts.class_bars(shares, NAMES).alt.endswith(
        "generated: 0.50 to 0.50; real: 1.00 to 1.00"
    )
    points = np.random.default_rng(0).normal(size=(2 * count, 2))
    assert charts.tsne_map(points, torch.arange(2 * count) % count, NAMES).png
    assert not [w for w in recwarn if "Glyph" in str(w.message)]
    assert capsys.readouterr().err.count("no font of this machine has") <= 1
    assert plots.label(LONG) == "a very long name a very…"
    assert plots.label(NAMES[0]) == r"\$\frac\$"  # as Matplotlib wants a dollar


@pytest.mark.fast
def test_a_letter_that_no_font_has_is_named_once(capsys, monkeypatch):
    warn_once.cache_clear()
    monkeypatch.setattr(plots, "fonts", lambda: ["DejaVu Sans"])
    for _ in range(2):
        charts.class_bars({"generated": [0.5, 0.6]}, ("日本語", "漢字"))
    assert capsys.readouterr().err.count("boxes stand for them") == 1


@pytest.mark.fast
def test_a_maps_colours_are_those_of_its_legend(monkeypatch):
    drawn = []
    monkeypatch.setattr(charts, "picture", lambda figure, alt: drawn.append(figure))
    labels = torch.tensor([2, 0, 1, 2])
    charts.tsne_map(np.zeros((4, 2)), labels, ("a", "b", "c"))
    (axes,) = drawn[0].axes
    legend = axes.get_legend()
    colours = [handle.get_markerfacecolor() for handle in legend.legend_handles]
    dots = axes.collections[0].get_facecolors()[:, :3]
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "c"]
    assert np.allclose(dots, [colours[label][:3] for label in labels])


@pytest.mark.fast
@pytest.mark.parametrize("count", [20, 21, 1000])
def test_of_many_classes_the_lowest_are_shown(count, monkeypatch):
    drawn = []
    monkeypatch.setattr(charts, "picture", lambda figure, alt: drawn.append(figure))
    classes = tuple(f"class {i}" for i in range(count))
    charts.class_bars({"generated": [i / count for i in range(count)]}, classes)
    charts.tsne_map(np.zeros((4, 2)), torch.arange(4), classes)
    bars, dots = (figure.axes[0] for figure in drawn)
    names = [text.get_text() for text in bars.get_xticklabels()]
    assert names == list(classes[:20])
    assert ("lowest of" in bars.get_title(loc="left")) == (count > 20)
    assert (dots.get_legend() is None) == (count > 20)


@pytest.mark.fast
def test_the_pairs_that_are_confused_most():
    share = torch.eye(30, dtype=torch.float64)
    share[3, 3], share[3, 7] = 0.4, 0.6
    share[5, 5], share[5, 6] = 0.9, 0.1
    share[9] = 0  # no sample of it
    classes = tuple(f"c{i}" for i in range(30))
    assert charts.most_confused(share, classes).to_numpy().tolist() == [
        ["c3", "c7", 0.6],
        ["c5", "c6", 0.1],
    ]
    assert "on average: 0.98 of a class" in charts.class_confusion(share).alt


@pytest.mark.fast
@pytest.mark.parametrize("count", [1, 10, 1000])
def test_equal_shares_go_round(count):
    shares = torch.full((count,), 1 / count, dtype=torch.float64)
    for images in (7, 1000, 2500):
        assert torch.equal(
            proportional_labels(images, shares), balanced_labels(images, range(count))
        )


@pytest.mark.fast
@pytest.mark.parametrize("shares", [[0.7, 0.2, 0.1], [0.5, 0.0, 0.5], [0.01] * 3 + [0.97]])
def test_labels_are_as_frequent_as_their_shares_wherever_one_stops(shares):
    for count in (100, 333, 2000):
        counts = torch.bincount(
            proportional_labels(count, torch.tensor(shares)), minlength=len(shares)
        )
        assert (counts - count * torch.tensor(shares)).abs().max() <= len(shares) / 2


def test_random_parts_of_equal_classes_are_equal(data_dir):
    for split in ("train", "validation", "test"):
        labels = load_split(data_dir, split).labels
        for count in (256, 1000, 5000, None):
            shares = class_shares(labels[:count], 10)
            assert (shares == 0.1).all()
    assert class_shares(torch.tensor([0] * 80 + [1] * 20), 2).tolist() == [0.8, 0.2]
    few = class_shares(torch.arange(0, 1000, 10), 1000)  # images of a tenth of the classes
    assert few.unique().tolist() == [0, 0.01]


@pytest.mark.fast
@pytest.mark.parametrize("count", [3, 20, 21, 1000])
def test_some_classes_are_spread_over_all(count):
    shown = spread_classes(count)
    assert len(set(shown)) == min(count, 20)
    assert shown[0] == 0
    assert count - count // 10 - 1 <= shown[-1] < count


def unequal(tmp_path, classes=("a", "b", "c"), count=900):
    """A packed set of which seven tenths are of the first class, two of the second."""
    folder = packed_folder(tmp_path / "unequal", (1, 16, 16), classes, count)
    for split, size in dataset_info(folder).counts.items():
        labels = torch.tensor([0, 0, 0, 0, 0, 0, 0, 1, 1, 2])[torch.arange(size) % 10]
        (folder / f"{split}-labels.i64").write_bytes(labels.numpy().tobytes())
    return folder


def quiet(_):
    """Nobody reads it."""


def test_like_is_compared_with_like(tmp_path):
    folder = unequal(tmp_path)
    images = load_split(folder, "train").images
    as_data = Evaluator(folder, log=quiet)
    equal = Evaluator(folder, log=quiet, mixture="equal")
    assert torch.bincount(as_data.labels(300)).tolist() == [210, 60, 30]
    assert torch.bincount(equal.labels(90)).tolist() == [30, 30, 30]
    assert torch.bincount(equal.splits["test"].labels).tolist() == [30, 30, 30]
    names = {evaluator.metric_id(90).split("-", 2)[2] for evaluator in (as_data, equal)}
    assert names == {"data-90", "equal-90"}
    sets = ((as_data, 300, []), (equal, 90, []), (as_data, 300, balanced_labels(300, range(3))))
    mixtures = []
    for evaluator, count, labels in sets:
        labels = labels if len(labels) else evaluator.labels(count)
        scores, _ = evaluator.scores([(images[:count], labels)])
        mixtures.append(any("not as frequent" in words for words in scores["warnings"]))
        few = [words for words in scores["warnings"] if "rest on 90 real images only" in words]
        assert len(few) == (count == 90)
    assert mixtures == [False, False, True]


def test_a_class_without_samples_has_no_accuracy(tmp_path):
    folder = packed_folder(tmp_path / "x", (1, 16, 16), ("a", "b", "c"), 900)
    evaluator = Evaluator(folder, log=quiet)
    images, labels = load_split(folder, "train", 300).images, torch.arange(300) % 2
    figures = evaluator.figures(evaluator.extract_features(images), labels)
    assert figures["class_accuracy"][2] is None
    assert all(isinstance(value, float) for value in figures["class_accuracy"][:2])
    (folder / "test-labels.i64").write_bytes((torch.arange(300) % 2).numpy().tobytes())
    with pytest.raises(UserError, match="class_shares=data"):
        Evaluator(folder, log=quiet, mixture="equal")


@pytest.mark.parametrize("count", [3, 100])
def test_many_and_unequal_classes_are_trained_on(count, tmp_path):
    folder = unequal(tmp_path, tuple(f"c{i}" for i in range(count)))
    used = {"data_dir": str(folder), "dataset": "x", "frechet_weight": 1.0, "frechet_start": 0}
    params = Params(**TINY | used | {"epochs": 1, "val_samples": 200})
    state = TrainingState(params)
    (moments,) = state.moments  # such a set has one network for the Fréchet loss
    assert moments.mean.shape == (64 + 48 + min(count, MOST_ONE_HOT),)
    train, validation = load_split(folder, "train", 256), load_split(folder, "validation")
    (result,) = loop.train_in_process(state, train, validation, params)
    assert len(result.grid) == 10 * min(count, 20)
    assert torch.isfinite(torch.tensor(list(result.metrics.values()))).all()


@pytest.mark.fast
@pytest.mark.parametrize("count", [10, MOST_ONE_HOT, 1000])
def test_a_code_a_class(count):
    codes = class_codes(count)
    assert codes.shape == (count, min(count, MOST_ONE_HOT))
    assert torch.allclose(codes.norm(dim=1), torch.ones(count))
    assert ((codes @ codes.T).triu(1) < 0.9).all()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_of_strange_names_goes_to_the_end(project):
    names = (b"caf\xe9", "日本語 $\\frac$, x".encode(), (LONG[:118].strip()).encode())
    random = np.random.default_rng(0)
    for number, name in enumerate(names):
        folder = os.path.join(os.fsencode(project), b"photos", name)
        os.makedirs(folder)
        for i in range((500, 250, 150)[number]):
            levels = random.integers(0, 80, (16, 16)) + 80 * number
            with open(os.path.join(folder, b"%d.png" % i), "wb") as file:
                Image.fromarray(levels.astype(np.uint8)).save(file, "png")
    small = {"dataset": "photos", "channels": 8, "data_dir": "mine", "frechet_weight": 1.0}
    options = [f"{name}={value}" for name, value in (TINY | small | {"frechet_start": 64}).items()]
    words = [word for option in options for word in ("-p", option)]
    done = fashion_gan_here("run", "params/smoke.yaml", *words, "--name", "strange", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    run = find_run("strange")
    scores = run.read_json("scores")
    assert any("real images only" in words for words in scores["warnings"])
    assert not any("not as frequent" in words for words in scores["warnings"])
    assert r"caf\xe9" in run.info.data.classes
    assert "Fashion" not in (run.folder / "MODEL_CARD.md").read_text()
    assert "garment" not in (run.folder / "index.html").read_text().split("<script>")[0]
    for asked in (r"caf\xe9", '"日本語 $\\frac$, x",2', os.fsdecode(b"caf\xe9")):
        words = ("--model", "strange", "--classes", asked, "--n", "4", "--out", "x.png")
        done = fashion_gan_here("sample", *words, cwd=project)
        assert done.returncode == 0, done.stderr
