"""The notebooks' charts: each is a picture, and its words say what is in it."""

import io

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fashion_gan.report import charts

pytestmark = pytest.mark.fast
CLASSES = ("shirt", "bag")
COLOURS = {"finished": "#3465a4", "stopped early": "#d9822b"}


def drawn(picture):
    """The alternative text of a picture that is a PNG with something on it."""
    with Image.open(io.BytesIO(picture.png)) as image:
        assert image.format == "PNG"
        assert image.width == pytest.approx(2 * picture.width, rel=0.1)
        assert np.asarray(image.convert("L")).std() > 0
    return picture.alt


def test_grey_levels_say_how_much_is_black():
    images = torch.full((4, 1, 2, 2), 200, dtype=torch.uint8)
    images[0] = 0
    alt = drawn(charts.grey_levels(images))
    assert alt == "histogram of the grey levels of 4 images; 25 % of the pixels are black"


@pytest.mark.parametrize("count", [2, 12])
def test_a_map_colours_any_number_of_classes(count):
    classes = tuple(f"class {number}" for number in range(count))
    points = np.random.default_rng(0).normal(size=(30, 2))
    alt = drawn(charts.tsne_map(points, torch.arange(30) % count, classes))
    assert alt.startswith("30 images as points coloured by class")


def test_bars_say_the_range_of_each_share():
    shares = {"generated": [0.25, 0.75], "real": [0.5, 1.0]}
    alt = drawn(charts.class_bars(shares, CLASSES))
    assert alt.endswith("generated: 0.25 to 0.75; real: 0.50 to 1.00")


def test_nearest_distances_end_where_no_training_image_is_near():
    quantiles = {"generated": torch.tensor([1.0, 2.0, 255.0]), "unseen real": torch.arange(3.0)}
    alt = drawn(charts.nearest_distances(quantiles, close=0.125))
    assert alt.endswith("12.5 % of the samples are nearer than 95 % of unseen real images")
    cut = charts.nearest_distances({"generated": torch.tensor([1.0, 2.0, torch.nan])}, close=0.125)
    assert charts.nearest_distances({"generated": quantiles["generated"]}, 0.125).png == cut.png


def test_a_confusion_matrix_says_all_four_shares():
    alt = drawn(charts.confusion_matrix([[90.0, 10.0], [25.0, 75.0]], "test"))
    assert alt == (
        "discriminator on the test split: real images judged real 90.0 %, fake 10.0 %;"
        " fakes judged real 25.0 %, fake 75.0 %"
    )


def test_learning_curves_are_a_line_a_run():
    points = pd.DataFrame({"images": [1, 2, 1, 2], "distance": [4.0, 2.0, 3.0, 1.0]})
    points["run"] = ["a", "a", "b", "b"]
    points["end"] = ["finished", "finished", "stopped early", "stopped early"]
    lines = {"x": "images", "y": "distance", "hue": "end", "units": "run", "palette": COLOURS}
    picture = charts.learning_curves(points, "Curves", "images seen", "two runs", **lines)
    assert drawn(picture) == "two runs"


@pytest.mark.parametrize("values", [[0.1, 0.1, 0.2], [True, True, False], ["a", "a", "b"]])
def test_a_parameters_effect_names_the_lowest_trial(values):
    trials = pd.DataFrame({"lr": values, "distance": [0.5, 0.4, 0.3], "point": ["p", "p", "q"]})
    trials["end"] = ["finished", "finished", "stopped early"]
    finished = trials[trials.end == "finished"]
    log = isinstance(values[0], float) and not isinstance(values[0], bool)
    chart = charts.parameter_effect(trials, finished, "lr", "distance", COLOURS, log=log)
    assert drawn(chart) == f"distance of 3 trials by lr; lowest 0.3 at lr {values[2]}"
