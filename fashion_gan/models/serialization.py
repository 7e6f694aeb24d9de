"""Save and load a generator."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from fashion_gan.config.params import Params, current_names
from fashion_gan.data.datasets import CLASSES, DatasetInfo
from fashion_gan.errors import UserError
from fashion_gan.files import check_file, digest, reading, replacing
from fashion_gan.models.networks import IMAGE, Discriminator, Generator

GENERATOR, DISCRIMINATOR = "generator.safetensors", "discriminator.safetensors"
MOST_HEADER_BYTES = 1_000_000
FIRST_LAYER = "project.weight"  # by far the largest, the others take 60 MB at most
GENERATOR_PARAMS = ("latent_dim", "channels", "conditional", "extra_conv")


@dataclass(frozen=True)
class Model:
    """A loaded generator."""

    generator: Generator  # in evaluation mode
    source: str  # the run, file or registered model, for people
    folder: Path  # of the run it came from: its discriminator, curves and pictures lie there
    params: dict[str, Any]  # that it was trained with
    digest: str
    classes: tuple[str, ...]

    @property
    def is_conditional(self) -> bool:
        """Whether it can be asked for a class."""
        return self.generator.conditional and len(self.classes) > 1


def make_generator(params: dict[str, Any]) -> Generator:
    """A new generator of parameters as save_network takes them."""
    return Generator(**{name: params[name] for name in GENERATOR_PARAMS}, **_sizes(params))


def make_discriminator(params: dict[str, Any]) -> Discriminator:
    """A new discriminator of such parameters."""
    norm = params["d_norm"]
    return Discriminator(params["channels"], params["conditional"], norm, **_sizes(params))


def _sizes(params: dict[str, Any]) -> dict[str, Any]:
    classes = params.get("classes", CLASSES)
    return {"shape": tuple(params.get("shape", IMAGE)), "class_count": len(classes)}


def save_network(
    path: Path, network: nn.Module, params: dict[str, Any], half: bool = False
) -> None:
    """Write weights and parameters as safetensors; `params` has `shape` and `classes` too where the
    data set is not Fashion-MNIST. `half`: float16, half the size, at most a grey level off."""
    from safetensors.torch import save_file

    tensors = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    if half:
        tensors = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
    # One entry: safetensors writes several in a random order, and equal networks shall have equal
    # digests.
    metadata = {"params": json.dumps({"schema": 1} | params, sort_keys=True)}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def _read_network(
    path: Path, make: Callable[[dict[str, Any]], nn.Module]
) -> tuple[nn.Module, dict[str, Any]]:
    """What save_network wrote. Raises UserError where the file is another one, or damaged."""
    with (
        reading(path, "model of fashion-gan", f"give a run, or a {GENERATOR}"),
        open_weights(path) as stored,
    ):
        params = _checked((stored.metadata() or {})["params"])
        first = FIRST_LAYER in stored.keys() and stored.get_slice(FIRST_LAYER).get_shape()  # noqa: SIM118 - it is no dict
        if make is make_generator and first != _first_shape(params):
            raise ValueError(f"its {FIRST_LAYER} is not of the size that its parameters say")
        network = make(params)
        load_weights(network, stored)
    return network.eval().requires_grad_(False), params


@contextlib.contextmanager
def open_weights(path: Path) -> Iterator[Any]:
    """A safetensors file of which only the header is read yet."""
    from safetensors import safe_open

    check_file(path, sys.maxsize)
    with path.open("rb") as stream:
        if int.from_bytes(stream.read(8), "little") > MOST_HEADER_BYTES:
            raise ValueError("its header is too large")
    with safe_open(path, framework="pt") as stored:
        yield stored


def load_weights(network: nn.Module, stored: Any) -> None:
    """Raises ValueError where the file holds other tensors, which are not read then, or numbers
    that are not finite."""
    expected = network.state_dict()
    shapes = {name: stored.get_slice(name).get_shape() for name in stored.keys()}  # noqa: SIM118 - it is no dict
    if shapes != {name: list(tensor.shape) for name, tensor in expected.items()}:
        raise ValueError("its tensors are not those of such a network")
    tensors = {name: stored.get_tensor(name).to(expected[name].dtype) for name in shapes}
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise ValueError("it holds numbers that are not finite")
    network.load_state_dict(tensors)


def _checked(text: str) -> dict[str, Any]:
    """A model's parameters, all of them, within their bounds."""
    params = current_names(dict(json.loads(text)))
    if missing := set(GENERATOR_PARAMS) - params.keys():
        raise ValueError(f"it does not say {', '.join(sorted(missing))}")
    known = {name: value for name, value in params.items() if name in Params.model_fields}
    sizes = {name: params[name] for name in ("shape", "classes") if name in params}
    DatasetInfo.checked(**sizes)
    return Params.checked(known).model_dump() | sizes


def _first_shape(params: dict[str, Any]) -> list[int]:
    """Of a generator's first layer."""
    (_, height, width), classes = _sizes(params).values()
    inputs = params["latent_dim"] + classes * params["conditional"]
    return [4 * params["channels"] * (height // 4) * (width // 4), inputs]


def load_generator(path: Path, source: str = "") -> Model:
    """Read a generator. Raises UserError where the file is no model, or damaged."""
    generator, params = _read_network(path, make_generator)
    classes = tuple(params.get("classes", CLASSES))
    return Model(generator, source or str(path), path.parent, params, digest(path), classes)


def load_discriminator(folder: Path) -> Discriminator:
    """The discriminator beside a generator. Raises UserError where there is none."""
    path = folder / DISCRIMINATOR
    if not path.exists():
        raise UserError(
            f"there is no {DISCRIMINATOR} in {folder}; give a run, or a registered model, which"
            " keep both"
        )
    return _read_network(path, make_discriminator)[0]
