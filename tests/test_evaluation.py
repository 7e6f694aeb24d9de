"""Scores move as they should: ten kinds of corruption in rising strength, copies, repetition, the
order of three networks."""

import pytest
import torch
from torch.nn import functional as F
from torchvision.transforms.v2.functional import gaussian_blur

from fashion_gan.files import read_json
from fashion_gan.metrics.evaluator import SHIPPED, VERSION, Evaluator, blur_equivalent
from fashion_gan.models.feature_network import WEIGHTS, load_feature_network, network_id

COUNT = 1000


@pytest.fixture(scope="module")
def evaluator(data_dir):
    return Evaluator(data_dir)


@pytest.fixture(scope="module")
def real(evaluator):
    split = evaluator.splits["validation"]
    return split.images[:COUNT], split.labels[:COUNT]


def noise(images, level):
    drawn = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    return (images + level * drawn).round().clamp(0, 255).to(torch.uint8)


def strokes(count):
    """Images of bright strokes, as written digits have: a thick line through three random
    points."""
    rng = torch.Generator().manual_seed(2)
    points = 4 + 20 * torch.rand(count, 3, 2, generator=rng)
    t = torch.linspace(0, 1, 60)[:, None]
    paths = (
        ((1 - t) ** 2)[None] * points[:, :1]
        + (2 * t * (1 - t))[None] * points[:, 1:2]
        + (t**2)[None] * points[:, 2:]
    )
    images = torch.zeros(count, 1, 28, 28)
    rows, columns = paths.round().long().unbind(dim=2)
    images[torch.arange(count)[:, None], 0, rows, columns] = 255.0
    return (2.5 * gaussian_blur(images, [5, 5], [1.0, 1.0])).clamp(0, 255).to(torch.uint8)


def blurred(x, y, s):
    return (gaussian_blur(x, [9, 9], [s, s]) if s else x), y


def shifted(x, y, s):
    return F.pad(x, (s, 0, 0, 0))[..., :28], y


def occluded(x, y, s):
    x = x.clone()
    x[:, :, 10 : 10 + s, 10 : 10 + s] = 0
    return x, y


def missing(x, y, s):
    kept = (y >= s).nonzero().squeeze(1)
    again = kept[torch.arange(len(x)) % len(kept)]
    return x[again], y[again]


def mislabelled(x, y, s):
    return x, torch.where(torch.arange(len(y)) < s * len(y), (y + 1) % 10, y)


def mixed_with(other):
    def change(x, y, s):
        count = int(s * len(x))
        return torch.cat([other[:count], x[count:]]), y

    return change


LADDERS = {  # by name: the change, its strengths, the scores that must rise, those that must fall
    "noise": (
        lambda x, y, s: (noise(x, s), y),
        (0, 15, 30, 60),
        ("distance", "kernel_distance"),
        ("precision",),
    ),
    "blur": (blurred, (0, 0.6, 1.0, 1.6), ("distance", "kernel_distance"), ("recall",)),
    "contrast": (
        lambda x, y, s: ((x * s).round().to(torch.uint8), y),
        (1.0, 0.7, 0.45, 0.25),
        ("distance", "kernel_distance"),
        (),
    ),
    "shift": (shifted, (0, 3, 6, 10), ("distance", "kernel_distance"), ("precision",)),
    "occlusion": (occluded, (0, 4, 7, 10), ("distance", "kernel_distance"), ("precision",)),
    "missing classes": (
        missing,
        (0, 2, 4, 7),
        ("distance", "kernel_distance", "unevenness"),
        ("recall", "coverage"),
    ),
    "few distinct": (
        lambda x, y, s: (x[torch.arange(len(x)) % s], y[torch.arange(len(y)) % s]),
        (COUNT, 200, 50, 10),
        ("distance",),
        ("recall", "coverage"),
    ),
    "wrong labels": (mislabelled, (0, 0.2, 0.5, 1.0), (), ("label_accuracy",)),
    "strokes": (
        mixed_with(strokes(COUNT)),
        (0, 0.1, 0.3, 0.7),
        ("distance", "kernel_distance"),
        ("precision",),
    ),
}


@pytest.mark.parametrize("name", LADDERS)
def test_each_ladder_moves_what_it_should(evaluator, real, name):
    change, strengths, rising, falling = LADDERS[name]
    figures = []
    for strength in strengths:
        images, labels = change(*real, strength)
        figures.append(evaluator.figures(evaluator.extract_features(images), labels))
    for key in rising:
        values = [scores[key] for scores in figures]
        assert values == sorted(values), f"{key}: {values}"
        assert values[-1] > values[0]
    for key in falling:
        values = [scores[key] for scores in figures]
        assert values == sorted(values, reverse=True), f"{key}: {values}"
        assert values[-1] < values[0]


def test_copies_are_caught_by_memorisation_alone(evaluator, real):
    """The tenth ladder: more and more copies of training images, moved, mirrored, with light
    noise."""
    train, unseen = evaluator.splits["train"], real[0]
    again = torch.randperm(len(train), generator=torch.Generator().manual_seed(3))[:COUNT]
    reference, rows = evaluator.reference(COUNT), []
    for strength in (0.0, 0.1, 0.3, 1.0):
        count = int(strength * COUNT)
        copies = train.images[again[:count]]
        disguised = noise(F.pad(copies, (1, 0, 0, 0))[..., :28].flip(-1), 4) if count else copies
        images = torch.cat([disguised, unseen[count:]])
        signs = evaluator.memorization_scores(
            evaluator.nearest_neighbours(images, evaluator.extract_features(images)[0]),
            reference["nearness"],
        )
        exact = torch.cat([copies, unseen[count:]])
        distance = evaluator.figures(evaluator.extract_features(exact))["distance"]
        rows.append((signs["close_train"][0], signs["memorised"][0], distance))
    close, memorised, distances = zip(*rows, strict=True)
    assert list(close) == sorted(close)
    assert list(memorised) == sorted(memorised)
    assert close[0] == pytest.approx(0.05, abs=0.01)
    assert memorised[0] == pytest.approx(0, abs=0.12)
    assert close[-1] > 0.9
    assert memorised[-1] > 0.9
    assert memorised[2] == pytest.approx(0.3, abs=0.12)  # it estimates how many
    # the distance alone would praise the copier
    assert max(distances) < 1.5 * reference["real"]["distance"]


def test_beside_a_small_training_set_the_nearest_training_image_is_one(data_dir, real):
    """Of 20 training images and 10,000 test ones none of the former may be among the nearest."""
    few = Evaluator(data_dir, subset=20)
    images, train = real[0][:50], few.splits["train"].images
    nearest = few.nearest_neighbours(images, few.extract_features(images)[0])
    assert nearest["index"].max() < 20
    assert not nearest["pulled"].all()
    apart = (images.float() - train[nearest["index"]].float()).square().mean(dim=(1, 2, 3)).sqrt()
    assert (nearest["train"] <= apart + 1e-3).all()  # at the best of nine moves, or mirrored
    assert nearest["train"].isfinite().all()


def scores_of(evaluator, images, labels=None):
    return evaluator.scores([(images, labels)])[0]


def test_who_copies_and_who_repeats_is_told(evaluator, real):
    train, rng = evaluator.splits["train"], torch.Generator().manual_seed(4)
    assert scores_of(evaluator, *real)["warnings"] == []
    copier = noise(train.images[20_000 : 20_000 + COUNT].flip(-1), 4)
    assert [words.split(":")[0] for words in scores_of(evaluator, copier)["warnings"]] == [
        "It memorises"
    ]
    few = noise(real[0][torch.randint(0, 20, (COUNT,), generator=rng)], 3)
    assert "It repeats itself" in [
        words.split(":")[0] for words in scores_of(evaluator, few)["warnings"]
    ]


def test_scores_stand_beside_real_images(evaluator):
    split = evaluator.splits["validation"]
    # of fewer the copies' distance is mostly chance
    real = split.images[:2000], split.labels[:2000]
    scores = scores_of(evaluator, *real)
    for key, value in scores["real"].items():
        assert scores[key] == pytest.approx(value), key
    assert scores["like"] == "other real images"
    assert scores["copies"]["distance"] < 0.05
    assert scores["blur"] == sorted(scores["blur"])
    assert scores["noise"] == sorted(scores["noise"])
    several, _ = evaluator.scores([real, (noise(real[0], 3), real[1])])
    assert several["draws"] == 2
    assert several["spread"]["distance"] > 0


def test_the_same_network_is_named_and_reference_is_kept(evaluator):
    assert evaluator.metric_id(COUNT) == f"{network_id('judge')}-{COUNT}"
    shipped = read_json(SHIPPED)
    assert shipped["name"] == f"{VERSION}-{evaluator.metric_id(10_000)}-50000"
    assert shipped["real"]["distance"] == pytest.approx(
        evaluator.figures(evaluator.features["validation"], evaluator.splits["validation"].labels)[
            "distance"
        ],
        rel=1e-3,
    )


def test_three_networks_agree_on_the_order(data_dir):
    """Spearman's rank correlation of the distances of 12 image sets, as shipped, and that the
    shipped ones are met."""
    shipped = read_json(WEIGHTS / "agreement.json")
    assert len(shipped["sets"]) == 12
    assert min(shipped["spearman"].values()) >= 0.95
    dev = Evaluator(data_dir, role="dev")
    images = gaussian_blur(dev.splits["validation"].images[:5000], [9, 9], [0.6, 0.6])
    assert dev.figures(dev.extract_features(images))["distance"] == pytest.approx(
        shipped["distances"]["dev"][shipped["sets"].index("blur 0.6")], rel=1e-2
    )


@pytest.mark.parametrize(
    ("distance", "words"),
    [
        (0.0, "other"),
        (0.012, "by 0.3 px"),
        (0.05, "by 0.4 px"),
        (0.5, "by 0.6 px"),
        (5.0, "by 1.3 px"),
        (50.0, "more than 1.5 px"),
    ],
)
def test_a_distance_is_told_as_a_blur(distance, words):
    assert words in blur_equivalent(distance, 0.008, [0.012, 0.1, 0.7, 2.0, 3.3, 6.0])


def test_the_judge_is_out_of_reach_while_a_training_goes_on(tiny, splits):
    from fashion_gan.training import loop
    from fashion_gan.training.state import TrainingState

    going = loop.train(TrainingState(tiny()), *splits, tiny())
    next(going)
    with pytest.raises(RuntimeError, match="the judge takes part in no training"):
        load_feature_network("judge")
    load_feature_network("dev")
    going.close()
    load_feature_network("judge")
