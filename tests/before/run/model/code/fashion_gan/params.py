"""Every parameter: its name, type, bounds, default, unit, one line of help, and whether a resume may change it."""

import ast
import difflib
from collections.abc import Iterable
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fashion_gan.errors import UserError


def parameter(
    default: Any, help: str, *, unit: str = "", frozen: bool = False, **bounds: Any
) -> Any:
    """One parameter. `frozen`: it changes the training, so a resume with another value is refused."""
    return Field(
        default, description=help, json_schema_extra={"unit": unit, "frozen": frozen}, **bounds
    )


class Params(BaseModel):
    """All parameters, checked once, strictly; unchangeable afterwards. The fields below are the manual."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    seed: int = parameter(0, "everything random follows from it", frozen=True, ge=0, lt=2**31)
    dataset: str = parameter("fashion-mnist", "fashion-mnist, mnist, kmnist, qmnist, a folder of images, or an .npz; packed into data_dir", frozen=True, min_length=1)  # fmt: skip
    skip_unreadable: bool = parameter(
        False, "leave out images of a folder that cannot be read, and name them"
    )
    data_dir: str = parameter(
        "data", "folder of the data set, from the project folder", min_length=1
    )
    subset: int = parameter(50_000, "training images used, the first of the split, as far as there are so many", unit="images", frozen=True, ge=256, le=10**8)  # fmt: skip
    augment: Literal["none", "flip", "translate", "translate+cutout"] = parameter("none", "random changes shown to the discriminator, of real and fake alike", frozen=True)  # fmt: skip

    conditional: bool = parameter(True, "ask the generator for a class", frozen=True)
    latent_dim: int = parameter(64, "size of the latent", frozen=True, ge=2, le=1024)
    channels: int = parameter(32, "width of both networks", frozen=True, ge=4, le=256)
    refine: bool = parameter(
        True, "one more convolution at full size in the generator", frozen=True
    )
    d_norm: bool = parameter(True, "batch norm in the discriminator", frozen=True)

    loss: Literal["non-saturating", "hinge", "relativistic"] = parameter("non-saturating", "the adversarial loss", frozen=True)  # fmt: skip
    r1: float = parameter(
        0.0, "weight of the gradient penalty on real images", frozen=True, ge=0, le=1000
    )
    r2: float = parameter(
        0.0, "weight of the gradient penalty on fake images", frozen=True, ge=0, le=1000
    )
    penalty_every: int = parameter(1, "a penalty each so many steps, scaled to the same weight", unit="steps", frozen=True, ge=1, le=64)  # fmt: skip
    feature_loss: float = parameter(2.0, "weight of the Fréchet loss in the frozen train network", frozen=True, ge=0, le=100)  # fmt: skip
    feature_from: int = parameter(50_000, "images seen before the Fréchet loss begins", unit="images", frozen=True, ge=0, le=10**9)  # fmt: skip

    epochs: int = parameter(10, "passes over the training images", unit="epochs", ge=1, le=100_000)
    batch_size: int = parameter(64, "images in a step", unit="images", frozen=True, ge=16, le=4096)
    lr_g: float = parameter(2e-4, "Adam's learning rate of the generator", frozen=True, gt=0, le=1)
    lr_d: float = parameter(
        2e-4, "Adam's learning rate of the discriminator", frozen=True, gt=0, le=1
    )
    decay_from: int = parameter(250_000, "images seen before the learning rates begin to fall", unit="images", frozen=True, ge=0, le=10**9)  # fmt: skip
    decay_to: int = parameter(500_000, "images seen when the learning rates have fallen to a twentieth; 0: they never fall", unit="images", frozen=True, ge=0, le=10**9)  # fmt: skip
    beta1: float = parameter(0.5, "Adam's first moment", frozen=True, ge=0, lt=1)
    beta2: float = parameter(0.999, "Adam's second moment", frozen=True, gt=0, lt=1)
    ema_half_life: int = parameter(20_000, "half-life of the generator's moving average; 0: none", unit="images", frozen=True, ge=0, le=10**8)  # fmt: skip
    max_minutes: float = parameter(
        0.0, "safety stop of the training; 0: none", unit="min", ge=0, le=100_000
    )
    workers: int = parameter(
        1,
        "processes that share the training, on Ray; the batch is split between them",
        ge=1,
        le=4096,
    )
    sync_norm: bool = parameter(
        True,
        "with several workers: batch norm over the whole batch, not over each worker's part",
        frozen=True,
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = parameter("auto", "where to train; auto takes a GPU where there is one")  # fmt: skip

    checkpoint_seconds: float = parameter(
        30.0, "time between checkpoints", unit="s", ge=0.01, le=86_400
    )
    keep_checkpoints: int = parameter(3, "last checkpoints kept, beside the best", ge=1, le=1000)
    look_images: int = parameter(
        2000, "images of each kind looked at after an epoch", unit="images", ge=100, le=10_000
    )
    checkpoint: str = parameter("", "a checkpoint to start from; empty: the run's own last one")
    timeout_minutes: float = parameter(
        240.0, "longest time a notebook may take", unit="min", gt=0, le=100_000
    )

    model: str = parameter("auto", "a run, a file or models:/fashion-gan@champion; auto: this run, else the newest, else the shipped one", min_length=1)  # fmt: skip
    run: str = parameter("", "a run to read, by name, when a notebook runs by itself")
    draws: int = parameter(5, "independent draws that are measured, for the spread", ge=1, le=100)
    samples: int = parameter(
        10_000, "generated images in a draw", unit="images", ge=1000, le=10_000
    )
    runs: str = parameter(
        "", "runs to compare, by name, with commas between; empty: the newest three"
    )
    sample_seed: int = parameter(0, "seed of the pictures in 04_sample", ge=0, lt=2**31)
    per_class: int = parameter(
        10, "images a class in the grids of 04_sample", unit="images", ge=1, le=100
    )
    code: str = parameter("", "a garment of the explorer, F1-...; empty: an ankle boot")
    explore_images: int = parameter(
        1500, "images placed in 01_explore's map", unit="images", ge=100, le=10_000
    )

    @model_validator(mode="after")
    def _no_contradictions(self) -> "Params":
        if self.batch_size > self.subset:
            raise ValueError(
                f"batch_size {self.batch_size} is larger than subset {self.subset}; make one of them fit"
            )
        if self.batch_size % self.workers:
            raise ValueError(
                f"batch_size {self.batch_size} cannot be shared by {self.workers} workers; make it a multiple"
            )
        if self.decay_to and self.decay_to <= self.decay_from:
            raise ValueError(
                f"decay_to {self.decay_to} must lie after decay_from {self.decay_from}; or say 0: no decay"
            )
        if self.samples % 10:
            raise ValueError(
                f"samples {self.samples} is no multiple of the 10 classes; say {self.samples // 10 * 10}"
            )
        return self

    @classmethod
    def checked(cls, values: dict[str, Any]) -> "Params":
        """Params from values. Raises UserError: the parameter, its value, what is allowed, the nearest name."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise UserError(_one_line(error)) from None

    @classmethod
    def read(cls, texts: dict[str, str]) -> "Params":
        """Params from values as they are written in a file or on the command line. Raises as `checked`."""
        for name, text in texts.items():
            if not isinstance(text, str):
                raise UserError(f"parameter {name} is {text!r}; allowed: one value")
        try:
            return cls.model_validate_strings(texts)
        except ValidationError as error:
            raise UserError(_one_line(error)) from None

    @classmethod
    def from_notebook(cls, *names: str) -> "Params":
        """Params from the running notebook's variables of these names: its parameters cell, and what was injected. An
        injected value that no parameter is called by is refused; one that this notebook does not use is let through."""
        from IPython import get_ipython

        namespace = get_ipython().user_ns
        injected = _injected(namespace.get("In", []))
        for name in injected:
            if (
                name not in cls.model_fields
                and name != "notebooks"
                and not name.startswith("PAPERMILL_")
            ):
                raise UserError(_unknown(name))
        return cls.checked({name: namespace[name] for name in names})


def meta(name: str) -> dict[str, Any]:
    """{"unit": ..., "frozen": ...} of a parameter."""
    return Params.model_fields[name].json_schema_extra


def frozen_changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Names of the frozen parameters that differ. One that an older version did not know had its default."""
    return [
        n
        for n, default in Params().model_dump().items()
        if meta(n)["frozen"] and old.get(n, default) != new.get(n, default)
    ]


def allowed(name: str) -> str:
    """What a parameter may be, in words: "float, 0 to 1" or "one of none, flip"."""
    field = Params.model_fields[name]
    if get_origin(field.annotation) is Literal:
        return "one of " + ", ".join(get_args(field.annotation))
    words = {"ge": "from {}", "gt": "over {}", "le": "to {}", "lt": "below {}"}
    bounds = [
        words[key].format(
            f"{getattr(m, key):,}" if isinstance(getattr(m, key), int) else getattr(m, key)
        )
        for m in field.metadata
        for key in words
        if hasattr(m, key)
    ]
    return " ".join([field.annotation.__name__, *bounds])


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, Params.model_fields, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"unknown parameter {name!r}{hint} (fashion-gan params lists them all)"


def _one_line(error: ValidationError) -> str:
    problem = error.errors()[0]
    if not problem["loc"]:
        return str(problem["ctx"]["error"])
    name = str(problem["loc"][0])
    if name not in Params.model_fields:
        return _unknown(name)
    return f"parameter {name} is {problem['input']!r}; allowed: {allowed(name)}"


def _injected(cells: Iterable[str]) -> list[str]:
    """Names assigned in the cell that papermill injected; it begins with a line "# Parameters"."""
    names = []
    for cell in cells:
        if cell.lstrip().startswith("# Parameters\n"):
            targets = [
                t
                for node in ast.parse(cell).body
                if isinstance(node, ast.Assign)
                for t in node.targets
            ]
            names += [t.id for t in targets if isinstance(t, ast.Name)]
    return names
