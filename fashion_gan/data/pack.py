"""Pack a data set of any size into raw files that can be memory-mapped: a batch at a time,
resumably, one process at a time."""

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fashion_gan.data import arrays, sources
from fashion_gan.errors import UserError
from fashion_gan.files import Lock, read_json, write_json
from fashion_gan.text import duration

SCHEMA = 1
DONE, STATE, BEGUN = "dataset.json", "packing.json", "begun"
SPLITS = ("train", "validation", "test")
FILES = tuple(f"{split}-{kind}" for split in SPLITS for kind in ("images.u8", "labels.i64"))
TENTHS = (0, 0, 0, 0, 0, 0, 0, 0, 1, 2)  # the split of each tenth of all contents
SAY_SECONDS = 2


def pack_dataset(
    dataset: str, data_dir: Path, say: Callable[[str], None] = print, skip_unreadable: bool = False
) -> Path:
    """The folder with a data set's packed files, `dataset.json` last; made first where it is not
    there yet, or gone on with where a packing was killed. `dataset` is one of NAMED, a folder of
    images (its sub-folders are classes), or an .npz; an image's split follows from its content
    alone, but for NAMED, which have theirs. Grey images give one channel; one that is coloured
    makes it three for all. What is transparent stands on black ground. A second process waits for
    the first. Raises UserError for what cannot be packed."""
    data_dir = Path(data_dir)
    name, opened = resolve_dataset(dataset, data_dir, say)
    folder = data_dir / "sets" / name
    try:
        if not _is_whole(folder):
            with Lock(folder.with_name(f"{name}.lock")) as lock:
                _wait_for(lock, name, say)
                if not _is_whole(folder):
                    _make(opened(), folder, say, skip_unreadable)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written: {error}; make room, or name another folder with data_dir;"
            " then run it again"
        ) from None
    if (skipped := read_json(folder / DONE)["skipped"]) and not skip_unreadable:
        raise UserError(
            _unreadable(dataset, skipped[0], f"{len(skipped)} such were skipped when it was packed")
        )
    return folder


def resolve_dataset(
    dataset: str, data_dir: Path, say: Callable[[str], None]
) -> tuple[str, Callable[[], sources.Source]]:
    """The name that a data set is packed under, and what opens it. A name of NAMED wins over a
    folder that is called so: for that one write ./mnist. Folders and .npz are checked here, as far
    as that goes without reading every image."""
    if dataset in arrays.NAMED:
        return dataset, partial(arrays.named, dataset, data_dir, say)
    path, given = Path(os.path.abspath(os.path.expanduser(dataset))), bool(dataset.strip())
    if given and os.path.isdir(path):
        source = sources.from_folder(path)
    elif path.suffix.lower() == ".npz" and os.path.isfile(path):
        source = arrays.from_npz(path)
    else:
        problem = "does not exist"
        if given and os.path.exists(path):
            problem = "is neither a folder nor an .npz"
        raise UserError(
            f"dataset {dataset!r} {problem}; allowed: {', '.join(arrays.NAMED)}, a folder of"
            " images, an .npz"
        )
    return source.name, lambda: source


def one_channel_if_grey(pixels: np.ndarray) -> np.ndarray:
    """(1, H, W) of a grey image, however many channels (C, H, W) it came with; else as it is."""
    return pixels[:1] if all(np.array_equal(pixels[0], other) for other in pixels[1:]) else pixels


def split_of(pixels: np.ndarray) -> int:
    """0, 1 or 2, an index into SPLITS, from the content alone: equal images never straddle, others
    never move an image. A grey image has to be given as one channel, or it would move when the
    first coloured one comes."""
    mark = hashlib.blake2b(pixels.tobytes(), key=b"fashion-gan split", digest_size=8).digest()
    return TENTHS[int.from_bytes(mark, "big") % 10]


@dataclass
class _State:
    """How far a packing is, as `packing.json` has it."""

    channels: int
    done: int = 0  # images looked at
    bytes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FILES, 0))
    skipped: list[str] = field(default_factory=list)
    schema: int = SCHEMA


def _is_whole(folder: Path) -> bool:
    """Whether a folder holds all that its dataset.json says."""
    try:
        told = read_json(folder / DONE)
        image = int(np.prod(told["shape"]))
        sizes = {
            name: told["counts"][name.split("-")[0]] * (image if name.endswith("u8") else 8)
            for name in FILES
        }
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (FileNotFoundError, ValueError, KeyError):
        return False


def _wait_for(lock: Lock, name: str, say: Callable[[str], None]) -> None:
    if not lock.acquire():
        say(f"{name} is being packed by another process; waiting for it")
        while not lock.acquire():
            time.sleep(0.2)


def _unreadable(dataset: str, file: str, reason: str) -> str:
    return (
        f"dataset {dataset}: {file} cannot be read ({reason}); repair or remove it, "
        "or leave such images out with skip_unreadable: true (--skip-unreadable)"
    )


def _make(
    source: sources.Source, folder: Path, say: Callable[[str], None], skip_unreadable: bool
) -> None:
    begun = folder / BEGUN
    begun.mkdir(parents=True, exist_ok=True)
    (folder / DONE).unlink(missing_ok=True)
    try:
        state = _resumed(begun) or _State(source.channels)
        from_where = f", going on at {state.done:,}" if state.done else ""
        say(f"packing {len(source.labels):,} images of {source.origin} into {folder}{from_where}")
        if not _append_all(source, begun, state, say, skip_unreadable):
            if state.done:
                say(
                    f"{source.name}: coloured images after grey ones; begun again with three"
                    " channels"
                )
            state = _State(channels=3)
            # or the old mark would be believed of the new files
            write_json(begun / STATE, asdict(state))
            _append_all(source, begun, state, say, skip_unreadable)
        _finish(source, begun, folder, state)
    except UserError:
        shutil.rmtree(folder)
        raise


def _resumed(folder: Path) -> _State | None:
    """Where a killed packing stood; None where nothing of it is left that can be trusted."""
    try:
        state = _State(**read_json(folder / STATE))
        short = [
            name for name, size in state.bytes.items() if (folder / name).stat().st_size < size
        ]
    except (OSError, ValueError, TypeError):
        return None
    return None if short or state.schema != SCHEMA else state


def _append_all(
    source: sources.Source,
    folder: Path,
    state: _State,
    say: Callable[[str], None],
    skip_unreadable: bool,
) -> bool:
    """Append all images that are not done yet, with a mark in packing.json after each batch. False
    where a coloured image comes and the set was begun as a grey one."""
    tell = _teller(source, state.done, say)
    with contextlib.ExitStack() as stack:
        files = {name: stack.enter_context((folder / name).open("ab")) for name in FILES}
        for name, file in files.items():
            file.truncate(state.bytes[name])  # what was written after the last mark
        for batch in source.batches(state.done):
            images = [one if isinstance(one, str) else one_channel_if_grey(one) for one in batch]
            if any(len(one) > state.channels for one in images if not isinstance(one, str)):
                return False
            _append(images, source, state, files, skip_unreadable)
            for name, file in files.items():
                file.flush()
                os.fsync(file.fileno())
                state.bytes[name] = os.fstat(file.fileno()).st_size
            state.done += len(batch)
            write_json(folder / STATE, asdict(state))
            tell(state.done)
    return True


def _append(
    images: Sequence[np.ndarray | str],
    source: sources.Source,
    state: _State,
    files: dict[str, Any],
    skip_unreadable: bool,
) -> None:
    for i, pixels in enumerate(images, start=state.done):
        if isinstance(pixels, str):
            if not skip_unreadable:
                raise UserError(_unreadable(source.origin, source.files[i], pixels))
            state.skipped.append(source.files[i])
            continue
        split = SPLITS[split_of(pixels) if source.splits is None else source.splits[i]]
        files[f"{split}-images.u8"].write(
            np.broadcast_to(pixels, (state.channels, *pixels.shape[1:])).tobytes()
        )
        files[f"{split}-labels.i64"].write(int(source.labels[i]).to_bytes(8, "little"))


def _teller(
    source: sources.Source, begun_at: int, say: Callable[[str], None]
) -> Callable[[int], None]:
    """Says how far a packing is, every SAY_SECONDS at most."""
    begun = told = time.monotonic()

    def tell(done: int) -> None:
        nonlocal told
        now, total = time.monotonic(), len(source.labels)
        if now - told >= SAY_SECONDS and done < total:
            told, rate = now, (done - begun_at) / (now - begun)
            say(
                f"{source.name}: {done:,} of {total:,} images, {rate:,.0f} a second,"
                f" {duration((total - done) / rate)} left"
            )

    return tell


def _mix(begun: Path, folder: Path, counts: dict[str, int], size: int) -> None:
    """Write what was begun into `folder`, each split in a random order, the same at each time:
    whoever takes the first images of a folder shall not get those of its first class."""
    for split, count in counts.items():
        order = np.random.default_rng(0).permutation(count)
        for name, width in ((f"{split}-images.u8", size), (f"{split}-labels.i64", 8)):
            # a memory map would count as memory taken
            with (begun / name).open("rb") as source, (folder / name).open("wb") as file:
                for i in order.tolist():
                    file.write(os.pread(source.fileno(), width, i * width))
                file.flush()
                os.fsync(file.fileno())


def _finish(source: sources.Source, begun: Path, folder: Path, state: _State) -> None:
    """Check what is there, put it in place and describe it in dataset.json."""
    labels = {split: np.fromfile(begun / f"{split}-labels.i64", "<i8") for split in SPLITS}
    counts = {split: len(found) for split, found in labels.items()}
    if source.splits is None:
        held = np.bincount(
            np.concatenate(list(labels.values())), minlength=len(source.classes)
        ).tolist()
        sources.check_classes(
            dict(zip(source.classes, held, strict=False)), sum(counts.values()), source.origin
        )
    if empty := [split for split, count in counts.items() if not count]:
        raise UserError(
            f"{source.origin}: no image falls to {' and '.join(empty)}, as too few differ; allowed:"
            " some for each; add others"
        )
    if source.splits is None:
        _mix(begun, folder, counts, state.channels * source.size[0] * source.size[1])
    else:
        for name in FILES:
            os.replace(begun / name, folder / name)
    content = hashlib.sha256()
    for name in FILES:
        with (folder / name).open("rb") as file:
            while chunk := file.read(1 << 20):
                content.update(chunk)
    told = {
        "schema": SCHEMA,
        "name": source.name,
        "source": source.origin,
        "shape": [state.channels, *source.size],
    }
    told |= {
        "classes": source.classes,
        "counts": counts,
        "digest": content.hexdigest()[:16],
        "skipped": state.skipped,
    }
    write_json(folder / DONE, told)
    shutil.rmtree(begun)
