import ast
import warnings

import nbformat
import papermill
import pytest
from conftest import ROOT, fashion_gan_here

from fashion_gan import UserError
from fashion_gan.config import params as params_module
from fashion_gan.config.params import RENAMED, Params, _declared, allowed, frozen_changes, meta
from fashion_gan.config.profiles import NOTEBOOKS, read_profile

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebooks_parameters_cell_is_the_definition(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        declared = papermill.inspect_notebook(str(ROOT / "notebooks" / f"{name}.ipynb"))
    assert declared, "papermill reads no parameter"
    for parameter, found in declared.items():
        field = Params.model_fields[parameter]
        assert found["inferred_type_name"] == {
            "str": "str",
            "int": "int",
            "float": "float",
            "bool": "bool",
        }.get(getattr(field.annotation, "__name__", "str"), "str"), parameter
        assert eval(found["default"]) == field.default, parameter
        assert found["help"], f"{parameter} has no help"


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_no_cell_gives_a_parameters_name_to_something_else(path):
    """So that every cell can be run a second time."""
    cells = [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    declared = set(_declared(cells[0]))
    assert declared
    for cell in cells[1:]:
        names = {n for n in ast.walk(ast.parse(cell)) if isinstance(n, ast.Name)}
        assert not declared & {n.id for n in names if isinstance(n.ctx, ast.Store)}, cell


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
        (
            {"lr_decay_start": 10, "lr_decay_end": 5},
            ["lr_decay_end 5 must lie after lr_decay_start 10"],
        ),
        ({"samples": 1001}, ["no multiple"]),
        ({"image_size": "65"}, ["image_size is '65'", "from 16 to 64", "a multiple of 4"]),
        ({"image_size": 8}, ["image_size is"]),
        ({"image_size": "32×32"}, ["image_size is", "two as 48x32"]),
        ({"image_size": True}, ["image_size is True"]),
        ({"ground": "orange"}, ["ground is 'orange'", "auto, black, white, or #rrggbb"]),
        ({"ground": "#fff"}, ["ground is '#fff'"]),
        ({"fit": "contain"}, ["fit is 'contain'", "crop, pad, squeeze"]),
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
    # to YAML: 8, False, None
    path.write_text(
        "epochs: 010\nrun_name: no\ncheckpoint:\nconditional: false\nmax_minutes: 1_0.5\n"
    )
    found = read_profile(path).params
    assert (
        found.epochs,
        found.run_name,
        found.checkpoint,
        found.conditional,
        found.max_minutes,
    ) == (10, "no", "", False, 10.5)
    for text in ("epochs: 1:30", "epochs: 2026-01-01", "epochs: [1]", "epochs:", "epochs: true"):
        path.write_text(text)
        with pytest.raises(UserError, match="parameter epochs is"):
            read_profile(path)


def test_later_overrides_win_over_the_profile(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("epochs: 3\nnotebooks: [02_train]\n")
    profile = read_profile(path, ["epochs=5", "loss=hinge"])
    assert (profile.params.epochs, profile.params.loss, profile.notebooks) == (
        5,
        "hinge",
        ("02_train",),
    )


def test_only_frozen_parameters_count_as_changes():
    old = Params().model_dump()
    assert frozen_changes(old, old | {"epochs": 99, "device": "cpu", "max_minutes": 1.0}) == []
    assert frozen_changes(old, old | {"seed": 1, "lr_g": 1e-2}) == ["seed", "lr_g"]
    older = {name: value for name, value in old.items() if name != "frechet_networks"}
    assert frozen_changes(older, old) == ["frechet_networks"]  # there was one
    assert frozen_changes(older, old | {"frechet_networks": 1}) == []


def test_the_table_shows_every_parameter():
    shown = fashion_gan_here("params").stdout
    for name, field in Params.model_fields.items():
        assert name in shown
        assert field.description in shown
        assert allowed(name) in shown
    assert "frozen" in shown


# default, allowed, unit, whether a resume must leave it: what profiles, old runs and other people's
# notebooks count on
MANUAL = {
    "seed": (0, "int from 0 below 2,147,483,648", "", True),
    "dataset": ("fashion-mnist", "str", "", True),
    "image_size": (
        "0",
        "0, a number from 16 to 64 that is a multiple of 4, or two as 48x32 (height x width)",
        "",
        True,
    ),
    "fit": ("crop", "one of crop, pad, squeeze", "", True),
    "ground": ("auto", "auto, black, white, or #rrggbb", "", True),
    "skip_unreadable": (False, "bool", "", False),
    "data_dir": ("data", "str", "", False),
    "subset": (50_000, "int from 256 to 100,000,000", "images", True),
    "augment": ("none", "one of none, flip, translate, translate+cutout, adaptive", "", True),
    "conditional": (True, "bool", "", True),
    "latent_dim": (64, "int from 2 to 1,024", "", True),
    "channels": (32, "int from 4 to 256", "", True),
    "extra_conv": (True, "bool", "", True),
    "d_norm": (True, "bool", "", True),
    "loss": ("non-saturating", "one of non-saturating, hinge, relativistic", "", True),
    "r1": (0.0, "float from 0 to 1,000", "", True),
    "r2": (0.0, "float from 0 to 1,000", "", True),
    "penalty_interval": (1, "int from 1 to 64", "steps", True),
    "frechet_weight": (2.0, "float from 0 to 100", "", True),
    "frechet_networks": (3, "int from 1 to 3", "", True),
    "frechet_start": (30_000, "int from 0 to 1,000,000,000", "images", True),
    "epochs": (10, "int from 1 to 100,000", "epochs", False),
    "images": (0, "int from 0 to 1,000,000,000", "images", False),
    "validation_interval": (0, "int from 0 to 100,000", "epochs", False),
    "batch_size": (64, "int from 16 to 4,096", "images", True),
    "lr_g": (0.001, "float over 0 to 1", "", True),
    "lr_d": (0.001, "float over 0 to 1", "", True),
    "lr_decay_start": (400_000, "int from 0 to 1,000,000,000", "images", True),
    "lr_decay_end": (500_000, "int from 0 to 1,000,000,000", "images", True),
    "beta1": (0.0, "float from 0 below 1", "", True),
    "beta2": (0.99, "float over 0 below 1", "", True),
    "ema_half_life": (20_000, "int from 0 to 100,000,000", "images", True),
    "max_minutes": (0.0, "float from 0 to 100,000", "min", False),
    "processes": (1, "int from 1 to 4,096", "", False),
    "sync_norm": (True, "bool", "", True),
    "device": ("auto", "one of auto, cpu, cuda, mps", "", False),
    "cuda_graph": ("auto", "one of auto, on, off", "", False),
    "precision": ("float32", "one of float32, bfloat16", "", True),
    "deterministic": (True, "bool", "", False),
    "checkpoint_seconds": (30.0, "float from 0.01 to 86,400", "s", False),
    "keep_checkpoints": (3, "int from 1 to 1,000", "", False),
    "val_samples": (2_000, "int from 100 to 10,000", "images", False),
    "checkpoint": ("", "str", "", False),
    "timeout_minutes": (240.0, "float over 0 to 100,000", "min", False),
    "model": ("auto", "str", "", False),
    "run_name": ("", "str", "", False),
    "draws": (5, "int from 1 to 100", "", False),
    "samples": (10_000, "int from 1,000 to 10,000", "images", False),
    "class_shares": ("data", "one of data, equal", "", False),
    "runs": ("", "str", "", False),
    "sample_seed": (0, "int from 0 below 2,147,483,648", "", False),
    "per_class": (10, "int from 1 to 100", "images", False),
    "code": ("", "str", "", False),
    "explore_images": (1_500, "int from 100 to 10,000", "images", False),
}


def test_defaults_bounds_and_what_is_frozen_are_what_others_count_on():
    found = {
        name: (field.default, allowed(name), meta(name)["unit"], meta(name)["frozen"])
        for name, field in Params.model_fields.items()
    }
    assert found == MANUAL
    assert {name: type(row[0]) for name, row in found.items()} == {
        name: type(row[0]) for name, row in MANUAL.items()
    }


@pytest.mark.parametrize(
    "values",
    [
        {"batch_size": 300, "subset": 300},
        {"lr_decay_start": 10, "lr_decay_end": 11},
        {"lr_decay_start": 10, "lr_decay_end": 0},
        {"processes": 4, "batch_size": 64},
        {"image_size": 64},  # as papermill injects it
        {"image_size": "48x32", "fit": "pad", "ground": "#ff8800"},
    ],
)
def test_what_just_fits_is_let_through(values):
    assert Params.checked(values)


@pytest.mark.parametrize(
    "values",
    [
        {"dataset": ""},
        {"data_dir": ""},
        {"model": ""},
        {"r1": float("inf")},
        {"seed": 2**31},
        {"beta1": 1.0},
    ],
)
def test_empty_and_endless_values_are_refused(values):
    with pytest.raises(UserError, match=f"parameter {next(iter(values))} is"):
        Params.checked(values)


def test_epochs_follow_from_images():
    params = Params.checked({"images": 10_000, "batch_size": 32, "subset": 1000})
    assert params.with_epochs(100).epochs == 105  # of 96 images, the last batch is not full
    assert params.with_epochs(100).validation_interval == 4
    assert params.with_epochs(50_000).epochs == 11
    assert params.with_epochs(50_000).validation_interval == 1
    assert Params().with_epochs(100) == Params()


def test_epochs_that_are_given_later_win_over_images(tmp_path):
    profile = tmp_path / "p.yaml"
    profile.write_text("images: 5000\n")
    assert read_profile(profile).params.images == 5000
    params = read_profile(profile, ["epochs=3"]).params
    assert (params.images, params.epochs) == (0, 3)
    assert read_profile(profile, ["epochs=3", "images=700"]).params.images == 700


def test_params_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Params().epochs = 3


def test_a_name_that_is_like_none_gets_no_hint():
    with pytest.raises(
        UserError, match=r"^unknown parameter 'xyzzy' \(fashion-gan params lists them all\)$"
    ):
        Params.checked({"xyzzy": 1})


def test_a_parameter_that_an_older_version_did_not_know_had_its_default():
    old = Params().model_dump()
    del old["sync_norm"]
    assert frozen_changes(old, Params().model_dump()) == []
    assert frozen_changes(old, Params(sync_norm=False).model_dump()) == ["sync_norm"]


class Shell:
    """What a notebook's shell knows: its variables, and the cells that ran."""

    def __init__(self, *cells, **variables):
        self.user_ns = {"In": list(cells)} | variables


def from_notebook(monkeypatch, *cells, **variables):
    monkeypatch.setattr("IPython.get_ipython", lambda: Shell(*cells, **variables))
    return Params.from_notebook()


DECLARED = "epochs: int = 9  # passes\nseed: int = 0"


def test_a_notebooks_variables_become_parameters(monkeypatch):
    injected = (
        "# Parameters\nepochs = 2\nlr_g = 0.1\nnotebooks = ['02_train']\nPAPERMILL_OUTPUT_PATH ="
        " 'x'\n"
    )
    found = from_notebook(
        monkeypatch, DECLARED, injected, "x: int = 3", "not python", epochs=2, seed=7, lr_g=0.1
    )
    # what this notebook does not declare is let through
    assert (found.epochs, found.seed, found.lr_g) == (2, 7, Params().lr_g)
    with pytest.raises(UserError, match="unknown parameter 'epoch'; did you mean epochs"):
        from_notebook(monkeypatch, DECLARED, "# Parameters\nepoch = 3\n", epochs=2, seed=0)


def test_an_older_name_is_injected_into_a_notebook(monkeypatch):
    cells = "processes: int = 1\nbatch_size: int = 64", "# Parameters\nworkers = 2\n"
    found = from_notebook(monkeypatch, *cells, processes=1, batch_size=64, workers=2)
    assert found.processes == 2


def test_older_names_are_taken_said_once_and_not_beside_the_new_ones(capsys):
    params_module.announce.cache_clear()
    old = {"workers": "2", "decay_to": "0", "refine": "false", "feature_loss": "1.5"}
    for _ in range(2):
        found = Params.read(old)
    assert (found.processes, found.lr_decay_end, found.extra_conv) == (2, 0, False)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "workers is called processes now; it is taken as that"
    assert len(said) == 4
    with pytest.raises(UserError, match="processes is given twice, as workers too; keep one"):
        Params.read({"processes": "2", "workers": "2"})
    assert set(RENAMED.values()) <= Params.model_fields.keys()
    assert not RENAMED.keys() & Params.model_fields.keys()
    stored = Params(processes=4).model_dump()
    assert frozen_changes(stored, {"workers": 2, "penalty_every": 4}) == ["penalty_interval"]


def test_an_override_by_either_name_wins_over_the_profile(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("feature_loss: 0\ndecay_to: 0\n")
    found = read_profile(path, ["frechet_weight=1.5", "lr_decay_end=600000"]).params
    assert (found.frechet_weight, found.lr_decay_end) == (1.5, 600_000)
    path.write_text("frechet_weight: 0\n")
    assert read_profile(path, ["feature_loss=1.5"]).params.frechet_weight == 1.5
