import warnings

import papermill
import pytest
from conftest import ROOT, fashion_gan_here
from profiles import NOTEBOOKS, read_profile

from fashion_gan import UserError, params
from fashion_gan.params import Params, allowed, frozen_changes, meta

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebooks_parameters_cell_is_the_definition(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        declared = papermill.inspect_notebook(str(ROOT / "notebooks" / f"{name}.ipynb"))
    assert declared, "papermill reads no parameter"
    source = (ROOT / "notebooks" / f"{name}.ipynb").read_text()
    for parameter, found in declared.items():
        field = Params.model_fields[parameter]
        assert found["inferred_type_name"] == {"str": "str", "int": "int", "float": "float", "bool": "bool"}.get(
            getattr(field.annotation, "__name__", "str"), "str"
        ), parameter
        assert eval(found["default"]) == field.default, parameter
        assert found["help"], f"{parameter} has no help"
        assert f'\\"{parameter}\\"' in source, f"{parameter} is not passed to Params.from_notebook"


def test_02_train_declares_every_parameter_of_the_training():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        declared = set(papermill.inspect_notebook(str(ROOT / "notebooks" / "02_train.ipynb")))
    assert {name for name in Params.model_fields if meta(name)["frozen"]} <= declared


@pytest.mark.parametrize("path", sorted((ROOT / "params").glob("*.yaml")), ids=lambda p: p.stem)
def test_profiles_are_valid(path):
    assert read_profile(path).params


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"epoch": 3}, ["unknown parameter 'epoch'", "did you mean epochs"]),
        ({"epochs": 2.5}, ["epochs is 2.5", "int from 1"]),
        ({"epochs": "3"}, ["epochs is '3'"]),
        ({"epochs": True}, ["epochs is True"]),
        ({"conditional": 1}, ["conditional is 1", "bool"]),
        ({"lr_g": "fast"}, ["lr_g is 'fast'", "float over 0 to 1"]),
        ({"lr_g": 0}, ["lr_g is 0"]),
        ({"r1": float("nan")}, ["r1 is nan"]),
        ({"loss": "wgan"}, ["loss is 'wgan'", "non-saturating, hinge, relativistic"]),
        ({"batch_size": 512, "subset": 300}, ["batch_size 512 is larger than subset 300"]),
        ({"decay_from": 10, "decay_to": 5}, ["decay_to 5 must lie after decay_from 10"]),
        ({"samples": 1001}, ["no multiple"]),
    ],
)
def test_wrong_values_are_refused_in_one_line(values, words):
    with pytest.raises(UserError) as error:
        Params.checked(values)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_a_float_may_be_written_as_yaml_reads_it(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("lr_g: 2e-4\nr1: 1\n")
    found = read_profile(path).params
    assert found.lr_g == 2e-4
    assert found.r1 == 1.0


def test_values_in_yaml_are_read_as_they_are_written(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("epochs: 010\nrun: no\ncheckpoint:\nconditional: false\nmax_minutes: 1_0.5\n")  # to YAML: 8, False, None
    found = read_profile(path).params
    assert (found.epochs, found.run, found.checkpoint, found.conditional, found.max_minutes) == (10, "no", "", False, 10.5)
    for text in ("epochs: 1:30", "epochs: 2026-01-01", "epochs: [1]", "epochs:", "epochs: true"):
        path.write_text(text)
        with pytest.raises(UserError, match="parameter epochs is"):
            read_profile(path)


def test_later_overrides_win_over_the_profile(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("epochs: 3\nnotebooks: [02_train]\n")
    profile = read_profile(path, ["epochs=5", "loss=hinge"])
    assert (profile.params.epochs, profile.params.loss, profile.notebooks) == (5, "hinge", ("02_train",))


def test_only_frozen_parameters_count_as_changes():
    old = Params().model_dump()
    assert frozen_changes(old, old | {"epochs": 99, "device": "cpu", "max_minutes": 1.0}) == []
    assert frozen_changes(old, old | {"seed": 1, "lr_g": 1e-3}) == ["seed", "lr_g"]


def test_the_table_shows_every_parameter():
    shown = fashion_gan_here("params").stdout
    for name, field in Params.model_fields.items():
        assert name in shown
        assert field.description in shown
        assert allowed(name) in shown
    assert "frozen" in shown


def test_names_in_the_injected_cell_are_found():
    cells = ["x = 1", "# Parameters\nepochs = 2\nepoch = 3\n", "# no\nbad = 1"]
    assert params._injected(cells) == ["epochs", "epoch"]
