"""Pack a data set of any size into raw files that can be memory-mapped: a batch at a time,
resumably, one process at a time."""

import contextlib
import hashlib
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fashion_gan import clock
from fashion_gan.data import inspection, listing, sources
from fashion_gan.data.packed import RECORD, SPLITS
from fashion_gan.data.pictures import one_channel_if_grey
from fashion_gan.data.preparation import Preparation
from fashion_gan.data.sources import Source
from fashion_gan.errors import UserError
from fashion_gan.files import Lock, read_json, write_json
from fashion_gan.text import duration

SCHEMA = 1
STATE, STAGING = "packing.json", "begun"
FILES = tuple(f"{split}-{kind}" for split in SPLITS for kind in ("images.u8", "labels.i64"))
TENTHS = (0, 0, 0, 0, 0, 0, 0, 0, 1, 2)  # the split of each tenth of all contents
SAY_SECONDS = 2


def pack_dataset(
    dataset: str,
    data_dir: Path,
    log: Callable[[str], None] = print,
    skip_unreadable: bool = False,
    preparation: Preparation = Preparation(),  # noqa: B008, it never changes
) -> Path:
    """The folder with a data set's packed files, `dataset.json` last; made first where it is not
    there yet, or gone on with where a packing was killed. `dataset` is one of NAMED, a folder, a
    zip or a tar of images (its sub-folders are classes), or an .npz; an image's split follows from
    its content alone, but for NAMED and for folders train/, val/, test/. Grey images give one
    channel; one that is coloured makes it three for all. A second process waits for the first.
    Raises UserError for what cannot be packed."""
    data_dir = Path(data_dir)
    name, open_source = resolve_dataset(dataset, data_dir, log, preparation)
    folder = data_dir / "sets" / name
    try:
        if not _is_whole(folder):
            with Lock(folder.with_name(f"{name}.lock")) as lock:
                if not lock.acquire():
                    log(f"{name} is being packed by another process; waiting for it")
                while not lock.acquire():
                    time.sleep(0.2)
                if not _is_whole(folder):
                    _pack(open_source(), folder, log, skip_unreadable)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written: {error}; make room, or name another folder with data_dir;"
            " then run it again"
        ) from None
    if (skipped := read_json(folder / RECORD)["skipped"]) and not skip_unreadable:
        raise _unreadable(
            dataset, skipped[0], f"{len(skipped)} such were skipped when it was packed"
        )
    return folder


def resolve_dataset(
    dataset: str,
    data_dir: Path,
    log: Callable[[str], None],
    preparation: Preparation = Preparation(),  # noqa: B008, it never changes
) -> tuple[str, Callable[[], Source]]:
    """The name that a data set is packed under, and what opens it. A name of NAMED wins over a
    folder that is called so: for that one write ./mnist. What is none is checked here, as far as
    that goes without reading every image."""
    if dataset in sources.NAMED:
        check_unprepared(dataset, preparation)
        return dataset, partial(sources.from_name, dataset, data_dir, log)
    path = Path(os.path.abspath(os.path.expanduser(dataset)))
    problem = "is neither a folder nor an .npz, nor a zip or tar of images"
    if not dataset.strip() or not os.path.exists(path):
        problem = "does not exist"
    elif path.suffix.lower() == ".npz" and os.path.isfile(path):
        source = sources.from_npz(path, preparation)
        return source.name, lambda: source
    elif os.path.isdir(path) or listing.is_archive(path):
        source = sources.from_images(path, preparation)
        return source.name, partial(sources.on_chosen_ground, source)
    raise UserError(
        f"dataset {dataset!r} {problem}; allowed: {', '.join(sources.NAMED)}, a folder, a zip or a"
        " tar of images, an .npz"
    )


def check_unprepared(dataset: str, preparation: Preparation) -> None:
    """Raises UserError where images of a data set with a name are to be changed."""
    if preparation != Preparation():
        raise UserError(
            f"{dataset} is taken as it is; allowed: image_size, fit and ground for images of one's"
            " own; leave them out"
        )


def split_of(pixels: np.ndarray) -> int:
    """0, 1 or 2, an index into SPLITS, from the content alone: equal images never straddle, others
    never move an image. A grey image has to be given as one channel, or it would move when the
    first coloured one comes."""
    content = hashlib.blake2b(pixels.tobytes(), key=b"fashion-gan split", digest_size=8)
    return TENTHS[int.from_bytes(content.digest(), "big") % 10]


@dataclass
class _State:
    """How far a packing is, as `packing.json` has it."""

    channels: int
    done: int = 0  # images that were read
    bytes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FILES, 0))
    skipped: list[str] = field(default_factory=list)
    schema: int = SCHEMA


def _is_whole(folder: Path) -> bool:
    """Whether a folder holds all that its dataset.json says."""
    try:
        record = read_json(folder / RECORD)
        widths = {"images.u8": math.prod(record["shape"]), "labels.i64": 8}  # bytes an image
        for name in FILES:
            split, kind = name.split("-")
            if (folder / name).stat().st_size != record["counts"][split] * widths[kind]:
                return False
    except (FileNotFoundError, ValueError, KeyError):
        return False
    return True


def _unreadable(dataset: str, file: str, reason: str) -> UserError:
    return UserError(
        f"dataset {dataset}: {file} cannot be read ({reason}); repair or remove it, "
        "or leave such images out with skip_unreadable: true (--skip-unreadable)"
    )


def _pack(source: Source, folder: Path, log: Callable[[str], None], skip_unreadable: bool) -> None:
    staging = folder / STAGING
    staging.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
    try:
        state = _resumed(staging) or _State(source.channels)
        from_where = f", going on at {state.done:,}" if state.done else ""
        log(f"packing {len(source.labels):,} images of {source.origin} into {folder}{from_where}")
        while not _append_all(source, staging, state, log, skip_unreadable):
            if state.done:
                log(
                    f"{source.name}: coloured images after grey ones; begun again with three"
                    " channels"
                )
            state = _State(channels=3)
            # or the old mark would be believed of the new files
            write_json(staging / STATE, asdict(state))
        _finish(source, staging, folder, state)
    except UserError:
        shutil.rmtree(folder)
        raise


def _resumed(staging: Path) -> _State | None:
    """Where a killed packing stood; None where nothing of it is left that can be trusted."""
    try:
        state = _State(**read_json(staging / STATE))
        if any((staging / name).stat().st_size < size for name, size in state.bytes.items()):
            return None
    except (OSError, ValueError, TypeError):
        return None
    return state if state.schema == SCHEMA else None


def _append_all(
    source: Source, staging: Path, state: _State, log: Callable[[str], None], skip_unreadable: bool
) -> bool:
    """Append all images that are not done yet, with a mark in packing.json after each batch. False
    where a coloured image comes and the set was begun as a grey one."""
    with contextlib.ExitStack() as stack:
        files = {name: stack.enter_context((staging / name).open("ab")) for name in FILES}
        for name, file in files.items():
            file.truncate(state.bytes[name])  # what was written after the last mark
        for batch in _batches(source, state.done, log):
            images = [one if isinstance(one, str) else one_channel_if_grey(one) for one in batch]
            if any(len(one) > state.channels for one in images if not isinstance(one, str)):
                return False
            _append(images, source, state, files, skip_unreadable)
            for name, file in files.items():
                file.flush()
                os.fsync(file.fileno())
                state.bytes[name] = os.fstat(file.fileno()).st_size
            state.done += len(batch)
            write_json(staging / STATE, asdict(state))
    return True


def _append(
    images: Sequence[np.ndarray | str],
    source: Source,
    state: _State,
    files: dict[str, BinaryIO],
    skip_unreadable: bool,
) -> None:
    given = {0, 1, 2} if source.splits is None else set(source.splits.tolist())
    for i, pixels in enumerate(images, start=state.done):
        if isinstance(pixels, str):
            if not skip_unreadable:
                raise _unreadable(source.origin, source.files[i], pixels)
            state.skipped.append(source.files[i])
            continue
        by_content = split_of(pixels)
        split = by_content if source.splits is None else source.splits[i]
        # a split that is not given is a part of the first
        split = SPLITS[by_content if split == 0 and by_content not in given else split]
        channels = np.broadcast_to(pixels, (state.channels, *pixels.shape[1:]))
        files[f"{split}-images.u8"].write(channels.tobytes())
        files[f"{split}-labels.i64"].write(int(source.labels[i]).to_bytes(8, "little"))


def _batches(
    source: Source, first: int, log: Callable[[str], None]
) -> Iterator[Sequence[np.ndarray | str]]:
    """A source's batches; says how far they are, every SAY_SECONDS at most."""
    done, total = first, len(source.labels)
    start = last = clock.running()
    for batch in source.batches(first):
        yield batch
        done += len(batch)
        now = clock.running()
        if now - last >= SAY_SECONDS and done < total:
            last = now
            rate = (done - first) / (now - start)
            log(
                f"{source.name}: {done:,} of {total:,} images, {rate:,.0f} a second,"
                f" {duration((total - done) / rate)} left"
            )


def _finish(source: Source, staging: Path, folder: Path, state: _State) -> None:
    """Check what is in `staging`, move it into `folder` and describe it in dataset.json."""
    labels = {split: np.fromfile(staging / f"{split}-labels.i64", "<i8") for split in SPLITS}
    counts = {split: len(numbers) for split, numbers in labels.items()}
    if not source.is_official:
        everything = np.concatenate(list(labels.values()))
        sources.check_classes(source.classes, everything, source.origin)
    if empty := [split for split, count in counts.items() if not count]:
        raise UserError(
            f"{source.origin}: no image falls to {' and '.join(empty)}, as too few differ; allowed:"
            " some for each; add others, or give another ground to what is transparent (-p"
            " ground=white)"
        )
    shape = (state.channels, *source.size)
    if source.is_official:
        for name in FILES:
            os.replace(staging / name, folder / name)
    else:
        _shuffle(staging, folder, counts, math.prod(shape))
    content = hashlib.sha256()
    for name in FILES:
        with (folder / name).open("rb") as file:
            hashlib.file_digest(file, lambda: content)
    record = {
        "schema": SCHEMA,
        "name": source.name,
        "source": source.origin,
        "shape": shape,
        "classes": source.classes,
        "counts": counts,
        "digest": content.hexdigest()[:16],
        "skipped": state.skipped,
        "left_out": source.left_out,
        "preparation": source.preparation and asdict(source.preparation),
    }
    if not source.is_official:
        record["warnings"] = inspection.warnings_of(folder, record)
    write_json(folder / RECORD, record)
    shutil.rmtree(staging)


def _shuffle(staging: Path, folder: Path, counts: dict[str, int], size: int) -> None:
    """Write what is in `staging` into `folder`, each split in a random order, always the same:
    whoever takes the first images of a folder shall not get those of its first class."""
    for split, count in counts.items():
        order = np.random.default_rng(0).permutation(count).tolist()
        for name, width in ((f"{split}-images.u8", size), (f"{split}-labels.i64", 8)):
            # a memory map would count as memory taken
            with (staging / name).open("rb") as source, (folder / name).open("wb") as file:
                for i in order:
                    file.write(os.pread(source.fileno(), width, i * width))
                file.flush()
                os.fsync(file.fileno())
