"""Profiles: YAML files of parameters, and what -p says beside them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fashion_gan.config.params import Params, announce, current_names
from fashion_gan.errors import UserError
from fashion_gan.files import check_file
from fashion_gan.text import short_repr

MOST_BYTES = 100_000  # of a profile; YAML takes a second for so many
NOTEBOOKS = ("01_explore", "02_train", "03_evaluate", "04_sample", "05_explorer")


class _Loader(yaml.BaseLoader):
    """YAML whose values stay text, so that the parameter says what it is: 010 is ten, 1:30 no
    number, no is no truth value of a text. A key given twice is refused."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict:
    keys = [loader.construct_object(key) for key, _ in node.value]
    for key, count in Counter(map(str, keys)).items():
        if count > 1:
            raise UserError(f"parameter {key!r} is given twice; keep one")
    return yaml.BaseLoader.construct_mapping(loader, node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


@dataclass(frozen=True)
class Profile:
    name: str
    notebooks: tuple[str, ...]  # in order
    params: Params


def read_profile(
    path: Path, overrides: Iterable[str] = (), notebooks: Sequence[str] = ()
) -> Profile:
    """A YAML profile with `name=value` overrides, and with these notebooks in place of its own, if
    any. Raises UserError, in one line, for anything that is not right."""
    values = read_yaml(path)
    notebooks = list(notebooks) or values.pop("notebooks", list(NOTEBOOKS))
    values.pop("notebooks", None)
    choice = f"there are: {', '.join(NOTEBOOKS)}"
    if not isinstance(notebooks, list) or not notebooks:
        raise UserError(f"{path}: notebooks must be a list of names; {choice}")
    for name in notebooks:
        if name not in NOTEBOOKS:
            raise UserError(f"{path}: unknown notebook {short_repr(name)}; {choice}")
    if len(set(notebooks)) < len(notebooks):
        raise UserError(f"{path}: a notebook is named twice; keep one")
    values = with_changes(current_names(values, announce), read_overrides(overrides))
    return Profile(name=path.stem, notebooks=tuple(notebooks), params=Params.read(values))


def with_changes(values: dict[str, Any], changes: dict[str, str]) -> dict[str, Any]:
    """Values with changes in their place; epochs among these win over images that were given
    before."""
    if "epochs" in changes:
        values = values | {"images": "0"}
    return values | changes


def read_overrides(overrides: Iterable[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for text in overrides:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"-p {text!r} is no name=value")
        if name in values:
            raise UserError(f"parameter {name!r} is given twice; keep one")
        values[name] = value
    return current_names(values, announce)


def read_yaml(path: Path) -> dict[str, Any]:
    try:
        check_file(path, MOST_BYTES)
        # makes text, lists and mappings only
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError:
        profiles = ", ".join(sorted(str(p) for p in Path("params").glob("*.yaml")))
        raise UserError(f"no profile {path}; there are: {profiles or 'none here'}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"profile {path} cannot be read: {error}; save it as UTF-8") from None
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark else ""
        raise UserError(f"profile {path} is no YAML{line}") from None
    if not values:
        return {}
    if not isinstance(values, dict):
        raise UserError(
            f"profile {path} holds a {type(values).__name__}; it must hold lines of name: value"
        )
    return values
