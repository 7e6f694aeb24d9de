"""Write, find, verify and keep checkpoints."""

import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, Field, TypeAdapter

from fashion_gan.config.params import current_names, frozen_changes
from fashion_gan.errors import UserError
from fashion_gan.files import digest, open_zip, reading, replacing

MOST_OBJECT_BYTES = 1_000_000  # of all that is no tensor
SCHEMA = 2  # 2: the moments of the joint Fréchet loss
NAME = re.compile(r"^(last|best)-(\d{10})-([0-9a-f]{12})\.pt$")


class OtherVersionError(UserError):
    """Written by another version of the program: never passed over, since an older one would lose
    what it holds."""


def save_checkpoint(
    folder: Path,
    content: dict[str, Any],
    params: dict[str, Any],
    images: int,
    keep: int,
    best: bool = False,
) -> Path:
    """Write a checkpoint `last-IMAGES-DIGEST.pt`, whole or not at all, and a copy as `best-...` if
    it is; then remove all but the last `keep`. Raises UserError where the disk is full."""
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / "new.pt"
    checkpoint = {"schema": SCHEMA, "params": params, "images": images, "state": content}
    try:
        with replacing(new) as temporary:
            torch.save(checkpoint, temporary)
        name = f"{images:010d}-{digest(new)[:12]}.pt"
        if best:  # first, so that a kill between the two is mended by doing the epoch again
            (folder / f"best-{name}").unlink(missing_ok=True)
            os.link(new, folder / f"best-{name}")
        os.replace(new, folder / f"last-{name}")
    except (OSError, RuntimeError) as error:  # torch turns a failed write into a RuntimeError
        raise UserError(
            f"checkpoint not written to {folder}: {error}; the one before is kept: free some space,"
            " then resume"
        ) from None
    finally:
        new.unlink(missing_ok=True)
    for kind, count in (("last", keep), ("best", 1)):
        for old in list_checkpoints(folder, kind)[count:]:
            old.unlink(missing_ok=True)
    return folder / f"last-{name}"


def list_checkpoints(folder: Path, kind: str) -> list[Path]:
    """The checkpoints of a kind ("last", "best"), newest first: by images seen, then by time."""
    paths = [path for path in folder.glob(f"{kind}-*.pt") if NAME.match(path.name)]
    return sorted(paths, key=lambda p: (NAME.match(p.name)[2], p.stat().st_mtime_ns), reverse=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content: "params", "images", "state". No pickled code is ever run. Raises
    UserError where it is missing, damaged, a pickle with code, or of another version."""
    if not path.is_file():
        raise UserError(f"no checkpoint {path}; a run keeps its own in <run>/checkpoints/")
    match = NAME.match(path.name)
    if match and digest(path)[:12] != match[3]:
        raise UserError(
            f"checkpoint {path} is damaged (its digest differs); take an earlier one from the same"
            " folder"
        )
    try:
        _check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types on a torn or foreign file
        reason = "is damaged or no checkpoint"
        is_pickle = isinstance(error, pickle.UnpicklingError)
        if is_pickle and re.search("Unsupported|GLOBAL", str(error)):
            reason = "holds code, not only weights, and is refused"
        advice = "take one that fashion-gan wrote, from <run>/checkpoints/"
        raise UserError(f"{path} {reason}; {advice}") from None
    kind, advice = "checkpoint of fashion-gan", "take one from <run>/checkpoints/"
    with reading(path, kind, advice):
        values = TypeAdapter(dict[str, Any]).validate_python(content)
        version = TypeAdapter(int).validate_python(values["schema"])
    if version != SCHEMA:
        raise OtherVersionError(
            f"checkpoint {path} has version {version}, not {SCHEMA}; use the program that wrote it"
        )
    with reading(path, kind, advice):
        _Content.model_validate(content)
        return content | {"params": current_names(content["params"])}


class _Content(BaseModel):
    """The types of what a checkpoint holds."""

    params: dict[str, bool | int | float | str | None]
    images: Annotated[int, Field(ge=0, lt=10**10)]
    state: dict[str, Any]


def _check_archive(path: Path) -> None:
    """Raises ValueError for what torch would not have written: compressed, or many small objects,
    of which each takes more memory than it has bytes."""
    with path.open("rb") as stream, open_zip(stream) as archive:
        sizes = {member.filename: member.file_size for member in archive.infolist()}
    objects = sum(size for name, size in sizes.items() if name.endswith(".pkl"))
    if sum(sizes.values()) > path.stat().st_size or objects > MOST_OBJECT_BYTES:
        raise ValueError("it takes more memory than it has bytes")


def load_latest(
    folder: Path, log: Callable[[str], None] = print, kind: str = "last"
) -> dict[str, Any] | None:
    """The newest whole checkpoint of a kind, or None where there is none. Says which damaged ones
    it passes over; raises UserError where all of the last ones are damaged."""
    paths = list_checkpoints(folder, kind)
    for path in paths:
        try:
            return load_checkpoint(path)
        except OtherVersionError:
            raise
        except UserError as error:
            log(f"{error}; trying the one before")
    if paths and kind == "last":
        raise UserError(
            f"none of the {len(paths)} checkpoints in {folder} is whole; start a new run"
        )
    return None


def assert_resumable(stored: dict[str, Any], params: dict[str, Any]) -> None:
    """Refuse to go on with parameters that change the training, naming them."""
    if changed := frozen_changes(stored, params):
        pairs = [f"{name} {stored.get(name)!r} -> {params.get(name)!r}" for name in changed]
        changes = ", ".join(pairs)
        raise UserError(f"a resume cannot change {changes}; leave them, or start a new run")


def rewind(folder: Path, path: Path) -> None:
    """Make the checkpoint `path` the newest in `folder`; later ones are renamed to aside-..."""
    images = load_checkpoint(path)["images"]
    target = folder / f"last-{images:010d}-{digest(path)[:12]}.pt"
    with replacing(folder / "rewound.pt") as temporary:
        shutil.copyfile(path, temporary)
    for other in [*list_checkpoints(folder, "last"), *list_checkpoints(folder, "best")]:
        kind, count, _ = NAME.match(other.name).groups()
        is_newer = int(count) > images
        if is_newer or (int(count) == images and kind == "last" and other != target):
            other.rename(folder / f"aside-{other.name}")
    os.replace(folder / "rewound.pt", target)
