"""Every parameter: its name, type, bounds, default, unit, one line of help, and whether a resume
may change it."""

import ast
import difflib
import functools
import sys
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fashion_gan.errors import UserError
from fashion_gan.text import short_repr

RENAMED = {  # older names, which are still taken
    "run": "run_name",
    "workers": "processes",
    "look_images": "val_samples",
    "feature_loss": "frechet_weight",
    "feature_from": "frechet_start",
    "penalty_every": "penalty_interval",
    "decay_from": "lr_decay_start",
    "decay_to": "lr_decay_end",
    "refine": "extra_conv",
}


SIDE = "(16|20|24|28|32|36|40|44|48|52|56|60|64)"  # of an image, in pixels


def parameter(
    default: Any,
    help: str,
    *,
    unit: str = "",
    frozen: bool = False,
    allowed: str = "",
    **bounds: Any,
) -> Any:
    """One parameter. `frozen`: it changes the training, so a resume with another value is
    refused. `allowed`: what it may be, where the bounds do not say it."""
    more = {"unit": unit, "frozen": frozen, "allowed": allowed}
    return Field(default, description=help, json_schema_extra=more, **bounds)


class Params(BaseModel):
    """All parameters, checked once, strictly; unchangeable afterwards. The fields below are the
    manual."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    # fmt: off
    seed: int = parameter(0, "everything random follows from it", frozen=True, ge=0, lt=2**31)
    dataset: str = parameter("fashion-mnist", "fashion-mnist, mnist, kmnist, qmnist, a folder, zip or tar of images, or an .npz; packed into data_dir", frozen=True, min_length=1)
    image_size: str = parameter("0", "size that images of one's own are made: 64, or height x width as 48x32; 0: as they are", frozen=True, pattern=f"^(0|{SIDE}(x{SIDE})?)$", allowed="0, a number from 16 to 64 that is a multiple of 4, or two as 48x32 (height x width)")
    fit: Literal["crop", "pad", "squeeze"] = parameter("crop", "with image_size: cut the middle out, add ground at the sides, or squeeze", frozen=True)
    ground: str = parameter("auto", "colour behind what is transparent; auto: black or white, on which the images differ more", frozen=True, pattern="^(auto|black|white|#[0-9a-fA-F]{6})$", allowed="auto, black, white, or #rrggbb")
    skip_unreadable: bool = parameter(False, "leave out images of a folder that cannot be read, and name them")
    data_dir: str = parameter("data", "folder of the data set, from the project folder", min_length=1)
    subset: int = parameter(50_000, "training images used, the first of the split, as far as there are so many", unit="images", frozen=True, ge=256, le=10**8)
    augment: Literal["none", "flip", "translate", "translate+cutout", "adaptive"] = parameter("none", "random changes shown to the discriminator, of real and fake alike; adaptive: of many kinds, the more the more it overfits", frozen=True)

    conditional: bool = parameter(True, "ask the generator for a class", frozen=True)
    latent_dim: int = parameter(64, "size of the latent", frozen=True, ge=2, le=1024)
    channels: int = parameter(32, "width of both networks", frozen=True, ge=4, le=256)
    extra_conv: bool = parameter(True, "one more convolution at full size in the generator", frozen=True)
    d_norm: bool = parameter(True, "batch norm in the discriminator", frozen=True)

    loss: Literal["non-saturating", "hinge", "relativistic"] = parameter("non-saturating", "the adversarial loss", frozen=True)
    r1: float = parameter(0.0, "weight of the gradient penalty on real images", frozen=True, ge=0, le=1000)
    r2: float = parameter(0.0, "weight of the gradient penalty on fake images", frozen=True, ge=0, le=1000)
    penalty_interval: int = parameter(1, "a penalty each so many steps, scaled to the same weight", unit="steps", frozen=True, ge=1, le=64)
    frechet_weight: float = parameter(2.0, "weight of the Fréchet loss in frozen networks", frozen=True, ge=0, le=100)
    frechet_start: int = parameter(30_000, "images seen before the Fréchet loss begins", unit="images", frozen=True, ge=0, le=10**9)
    frechet_networks: int = parameter(3, "frozen networks that the Fréchet loss looks through, one a step in turn; a set of one's own has one", frozen=True, ge=1, le=3)

    epochs: int = parameter(10, "passes over the training images", unit="epochs", ge=1, le=100_000)
    images: int = parameter(0, "real images to see in all, from which epochs follow; 0: as epochs says", unit="images", ge=0, le=10**9)
    validation_interval: int = parameter(0, "epochs from one validation and picture to the next; 0: each epoch, or with images so many that there are some 25", unit="epochs", ge=0, le=100_000)
    batch_size: int = parameter(64, "images in a step", unit="images", frozen=True, ge=16, le=4096)
    lr_g: float = parameter(1e-3, "Adam's learning rate of the generator", frozen=True, gt=0, le=1)
    lr_d: float = parameter(1e-3, "Adam's learning rate of the discriminator", frozen=True, gt=0, le=1)
    lr_decay_start: int = parameter(400_000, "images seen before the learning rates begin to fall", unit="images", frozen=True, ge=0, le=10**9)
    lr_decay_end: int = parameter(500_000, "images seen when the learning rates have fallen to a twentieth; 0: they never fall", unit="images", frozen=True, ge=0, le=10**9)
    beta1: float = parameter(0.0, "Adam's first moment", frozen=True, ge=0, lt=1)
    beta2: float = parameter(0.99, "Adam's second moment", frozen=True, gt=0, lt=1)
    ema_half_life: int = parameter(20_000, "half-life of the generator's moving average; 0: none", unit="images", frozen=True, ge=0, le=10**8)
    max_minutes: float = parameter(0.0, "longest time of the training, whose schedule is planned to end by then; 0: none", unit="min", ge=0, le=100_000)
    processes: int = parameter(1, "processes that share the training, on Ray; the batch is split between them", ge=1, le=4096)
    sync_norm: bool = parameter(True, "with several processes: batch norm over the whole batch, not over each one's part", frozen=True)
    device: Literal["auto", "cpu", "cuda", "mps"] = parameter("auto", "where to train; auto takes a GPU where there is one")
    cuda_graph: Literal["auto", "on", "off"] = parameter("auto", "on an NVIDIA GPU: launch a whole step at once; auto: where it can be done")
    precision: Literal["float32", "bfloat16"] = parameter("float32", "of the networks' arithmetic in training; losses, moments and averages stay in float32 or more", frozen=True)
    deterministic: bool = parameter(True, "on an NVIDIA GPU: the same bits each time, also after a resume, for an eighth of the speed")

    checkpoint_seconds: float = parameter(30.0, "time between checkpoints", unit="s", ge=0.01, le=86_400)
    keep_checkpoints: int = parameter(3, "last checkpoints kept, beside the best", ge=1, le=1000)
    val_samples: int = parameter(2000, "images of each kind that are measured after an epoch", unit="images", ge=100, le=10_000)
    checkpoint: str = parameter("", "a checkpoint to start from; empty: the run's own last one")
    timeout_minutes: float = parameter(240.0, "longest time a notebook may take", unit="min", gt=0, le=100_000)

    model: str = parameter("auto", "a run, a file or models:/fashion-gan@champion; auto: this run, else the newest, else the shipped one", min_length=1)
    run_name: str = parameter("", "a run to read, by name, when a notebook runs by itself")
    draws: int = parameter(5, "independent draws that are measured, for the spread", ge=1, le=100)
    samples: int = parameter(10_000, "generated images in a draw", unit="images", ge=1000, le=10_000)
    class_shares: Literal["data", "equal"] = parameter("data", "how often each class is measured, of generated and real images alike: as in the data, or equally often")
    runs: str = parameter("", "runs to compare, by name, with commas between; empty: the newest three")
    sample_seed: int = parameter(0, "seed of the pictures in 04_sample", ge=0, lt=2**31)
    per_class: int = parameter(10, "images a class in the grids of 04_sample", unit="images", ge=1, le=100)
    code: str = parameter("", "a picture of the explorer, F1-...; empty: an ankle boot, or the first class")
    explore_images: int = parameter(1500, "images placed in 01_explore's map", unit="images", ge=100, le=10_000)
    # fmt: on

    @field_validator("image_size", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        """papermill injects a number."""
        return str(value) if type(value) is int else value

    @model_validator(mode="after")
    def _no_contradictions(self) -> "Params":
        if self.batch_size > self.subset:
            raise ValueError(
                f"batch_size {self.batch_size} is larger than subset {self.subset}; make one of"
                " them fit"
            )
        if self.batch_size % self.processes:
            raise ValueError(
                f"batch_size {self.batch_size} cannot be shared by {self.processes} processes; make it"
                " a multiple"
            )
        if self.lr_decay_end and self.lr_decay_end <= self.lr_decay_start:
            raise ValueError(
                f"lr_decay_end {self.lr_decay_end} must lie after lr_decay_start {self.lr_decay_start}; or say 0:"
                " no decay"
            )
        if self.samples % 10:
            raise ValueError(
                f"samples {self.samples} is no multiple of the 10 classes; say"
                f" {self.samples // 10 * 10}"
            )
        return self

    def with_epochs(self, training_images: int) -> "Params":
        """With the epochs that `images` takes of so many training images, and their validations."""
        if not self.images:
            return self
        each = min(self.subset, training_images) // self.batch_size * self.batch_size
        epochs = -(-self.images // max(each, 1))
        interval = self.validation_interval or max(1, epochs // 25)
        return self.model_copy(update={"epochs": epochs, "validation_interval": interval})

    @classmethod
    def checked(cls, values: dict[str, Any]) -> "Params":
        """Params from values. Raises UserError: the parameter, its value, what is allowed, the
        nearest name."""
        try:
            return cls(**current_names(values))
        except ValidationError as error:
            raise UserError(_one_line(error)) from None

    @classmethod
    def read(cls, texts: dict[str, str]) -> "Params":
        """Params from values as they are written in a file or on the command line. Raises as
        `checked`."""
        for name, text in texts.items():
            if not isinstance(text, str):
                raise UserError(f"parameter {name} is {short_repr(text)}; allowed: one value")
        try:
            return cls.model_validate_strings(current_names(texts, announce))
        except ValidationError as error:
            raise UserError(_one_line(error)) from None

    @classmethod
    def from_notebook(cls) -> "Params":
        """Params from the running notebook's variables: those that its parameters cell declares,
        with what was injected. An injected value that no parameter is called by is refused; one
        that this notebook does not use is let through."""
        from IPython import get_ipython

        variables = get_ipython().user_ns
        cells = variables.get("In", [])
        values = {name: variables[name] for cell in cells for name in _declared(cell)}
        for name in [name for cell in cells for name in _injected(cell)]:
            if name in RENAMED and RENAMED[name] in values:
                announce(name)
                values[RENAMED[name]] = variables[name]
            elif not _is_known(name):
                raise UserError(_unknown(name))
        return cls.checked(values)


def current_names(
    values: dict[str, Any], announce: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Values by the names that parameters have now; `announce` gets each older name. Raises
    UserError where one is given by both."""
    current = {}
    for name, value in values.items():
        new = RENAMED.get(name, name)
        if new != name:
            announce(name)
        if new in current:
            raise UserError(f"parameter {new} is given twice, as {name} too; keep one")
        current[new] = value
    return current


@functools.cache
def announce(name: str) -> None:
    """Say once in a process that a parameter has another name now."""
    print(f"{name} is called {RENAMED[name]} now; it is taken as that", file=sys.stderr)


def meta(name: str) -> dict[str, Any]:
    """{"unit": ..., "frozen": ...} of a parameter."""
    return Params.model_fields[name].json_schema_extra


# what versions did that did not know a parameter, where it is not what is the default now
BEFORE = {"frechet_networks": 1}


def frozen_changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Names of the frozen parameters that differ. One that an older version did not know had its
    default, or what BEFORE says."""
    defaults = Params().model_dump()
    old, new = current_names(old), current_names(new)
    before = {name: value for name, value in BEFORE.items() if name in new}
    old, new = defaults | before | old, defaults | new
    return [name for name in defaults if meta(name)["frozen"] and old[name] != new[name]]


def allowed(name: str) -> str:
    """What a parameter may be, in words: "float, 0 to 1" or "one of none, flip"."""
    field = Params.model_fields[name]
    if words := meta(name)["allowed"]:
        return words
    if get_origin(field.annotation) is Literal:
        return "one of " + ", ".join(get_args(field.annotation))
    words = [field.annotation.__name__]
    for bound in field.metadata:
        for key, word in {"ge": "from", "gt": "over", "le": "to", "lt": "below"}.items():
            if (value := getattr(bound, key, None)) is not None:
                words.append(f"{word} {value:,}" if isinstance(value, int) else f"{word} {value}")
    return " ".join(words)


def _is_known(name: str) -> bool:
    """Whether papermill may inject a value of this name."""
    is_ours = name in Params.model_fields or name in RENAMED or name == "notebooks"
    return is_ours or name.startswith("PAPERMILL_")


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, Params.model_fields, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"unknown parameter {short_repr(name)}{hint} (fashion-gan params lists them all)"


def _one_line(error: ValidationError) -> str:
    problem = error.errors()[0]
    if not problem["loc"]:
        return str(problem["ctx"]["error"])
    name = str(problem["loc"][0])
    if name not in Params.model_fields:
        return _unknown(name)
    return f"parameter {name} is {short_repr(problem['input'])}; allowed: {allowed(name)}"


def _parsed(cell: str) -> ast.Module:
    """A cell's code; empty for one that is not Python."""
    try:
        return ast.parse(cell)
    except SyntaxError:
        return ast.Module([], [])


def _declared(cell: str) -> list[str]:
    """Names of a parameters cell: nothing but `name: type = value` of parameters."""
    names = []
    for node in _parsed(cell).body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            return []
        names.append(node.target.id)
    return names if set(names) <= Params.model_fields.keys() else []


def _injected(cell: str) -> list[str]:
    """Names assigned in the cell that papermill injected; it begins with a line "# Parameters"."""
    if not cell.lstrip().startswith("# Parameters\n"):
        return []
    assigned = [node.targets for node in _parsed(cell).body if isinstance(node, ast.Assign)]
    return [target.id for (target,) in assigned if isinstance(target, ast.Name)]
