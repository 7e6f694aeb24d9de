"""The points of a run, a line of JSON each, in metrics.jsonl and system.jsonl. One process writes a
file, others read it meanwhile."""

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from fashion_gan.errors import warn_once

Point = dict[str, Any]  # name, step, time (seconds since 1970), value


class Line(NamedTuple):
    point: Point | None  # None: the line is damaged
    end: int  # the offset in the file behind the line, bytes


def append(path: Path, points: Iterable[Point]) -> None:
    """Write points, and flush them to disk. A torn line at the end, of a process that was killed or
    of a disk that was full, is cut off first: what comes after it would be lost with it."""
    with path.open("ab+") as stream:
        stream.seek(0, os.SEEK_END)
        size = stream.tell()
        stream.seek(max(size - 1, 0))
        if size and stream.read(1) != b"\n":
            stream.truncate(path.read_bytes().rfind(b"\n") + 1)
        stream.write("".join(json.dumps(point) + "\n" for point in points).encode())
        stream.flush()
        os.fsync(stream.fileno())


def read(path: Path, start: int = 0) -> list[Line]:
    """The whole lines from the offset `start` on; a torn one at the end may still be being written.
    A damaged one among them is named once, and has no point."""
    if not path.is_file():
        return []
    with path.open("rb") as stream:
        stream.seek(start)
        content = stream.read()
    lines, end = [], start
    for line in content[: content.rfind(b"\n") + 1].split(b"\n")[:-1]:
        end += len(line) + 1
        point = _parse(line)
        if point is None:
            shown = line[:40].decode(errors="replace")
            warn_once(f"{path}: the line before byte {end} is damaged and left out: {shown!r}")
        lines.append(Line(point, end))
    return lines


def _parse(line: bytes) -> Point | None:
    try:
        point = json.loads(line)
        name, step, value, moment = (point[key] for key in ("name", "step", "value", "time"))
        is_whole = isinstance(name, str) and isinstance(step, int) and abs(step) < 2**53
        return point if is_whole and math.isfinite(value) and math.isfinite(moment) else None
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
