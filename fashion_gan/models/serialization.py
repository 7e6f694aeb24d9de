"""Save and load a generator."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from fashion_gan.config.params import current_names
from fashion_gan.data.datasets import CLASSES
from fashion_gan.errors import UserError
from fashion_gan.files import digest, replacing
from fashion_gan.models.networks import IMAGE, Discriminator, Generator

GENERATOR, DISCRIMINATOR = "generator.safetensors", "discriminator.safetensors"
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
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stored:
            params = current_names(json.loads((stored.metadata() or {})["params"]))
            params.pop("schema", None)
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - it is no dict
        network = make(params)
        network.load_state_dict(
            {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
        )
    except (SafetensorError, KeyError, ValueError, RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0][:120]
        raise UserError(
            f"{path} is no model of fashion-gan, or it is damaged ({reason}); give a run, or a"
            f" {GENERATOR}"
        ) from None
    return network.eval().requires_grad_(False), params


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
