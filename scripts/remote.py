"""Run folders under RUNS_URI, in an S3 bucket or on a shared path: what lies there, and how it is
fetched. mirror.py brings it there."""

import contextlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from command import guarded
from store import first_line, settings

from fashion_gan.errors import UserError, project_root
from fashion_gan.files import digest, read_json, replacing, write_json
from fashion_gan.run import NAME

# beside a run's files there: which folder they were mirrored from, and its machine's last sign of
# life
OWNER = "owner.json"
# stay here
LOCAL = (
    "mirror.json",
    "sync.log",
    "progress.json",
    "stopping",
    "checkpoints/new.pt",
    "checkpoints/rewound.pt",
)


class OutOfReachError(UserError):
    """The place does not answer now; a training goes on without it."""


def endpoint(known: dict[str, str]) -> str:
    """The S3 store's address by the settings, the team server's by default."""
    return known.get("S3_ENDPOINT_URL", f"http://{known.get('BIND', '127.0.0.1')}:9000")


class Place:
    """Where RUNS_URI points. Every method raises UserError, OutOfReachError where a later try may
    succeed."""

    def __init__(self, uri: str):
        from pyarrow import fs

        known = settings()
        self.uri, self.s3, self.endpoint = uri, uri.startswith("s3://"), endpoint(known)
        self.root = uri.removeprefix("s3://").rstrip("/")
        if not re.match(r"s3://[^/]|/[^/]", uri) or self.root == str(project_root() / "reports"):
            raise UserError(
                f"RUNS_URI is {uri!r}; allowed: s3://bucket or s3://bucket/folder, or the absolute"
                " path of a shared folder"
            )
        if self.s3 and not {"S3_ACCESS_KEY", "S3_SECRET_KEY"} <= known.keys():
            raise UserError(
                f"RUNS_URI is {uri}; set S3_ACCESS_KEY and S3_SECRET_KEY too, in the environment or"
                " .env.local"
            )
        self.files = fs.LocalFileSystem()
        if self.s3 and not re.match("https?://[^/]+/?$", self.endpoint):
            raise UserError(
                f"S3_ENDPOINT_URL is {self.endpoint!r}, which is no address; say"
                " http://127.0.0.1:9000"
            )
        if self.s3:
            self.files = fs.S3FileSystem(
                access_key=known["S3_ACCESS_KEY"],
                secret_key=known["S3_SECRET_KEY"],
                endpoint_override=self.endpoint,
                region="us-east-1",
                connect_timeout=3,
                request_timeout=5,
                retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=2),
                allow_delayed_open=True,  # a small file is one request
            )

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """The words of pyarrow, for a person."""
        try:
            yield
        except OSError as error:
            code = re.search(r"AWS Error (\w+)", str(error))
            if code and code[1] in (
                "ACCESS_DENIED",
                "INVALID_ACCESS_KEY_ID",
                "SIGNATURE_DOES_NOT_MATCH",
            ):
                advice = "set S3_ACCESS_KEY and S3_SECRET_KEY, in the environment or .env.local"
                raise UserError(
                    f"the store at {self.endpoint} refuses the keys for {self.uri}; {advice}"
                ) from None
            if code and code[1] == "NETWORK_CONNECTION":
                advice = "start it (make server), or set S3_ENDPOINT_URL"
                raise OutOfReachError(
                    f"the store at {self.endpoint} cannot be reached for {self.uri}; {advice}"
                ) from None
            raise OutOfReachError(f"{self.uri} cannot be used now: {first_line(error)}") from None

    def check(self) -> None:
        """Raises UserError where the bucket or the folder is not there, too."""
        bucket = self.root.partition("/")[0] if self.s3 else self.root
        with self._told():
            there = self.files.get_file_info(bucket).type.name == "Directory"
        if not there:
            what = f"bucket {bucket!r} at {self.endpoint}" if self.s3 else "such folder"
            raise UserError(
                f"RUNS_URI is {self.uri}, and there is no {what}; make it, or name another"
            )

    def listed(self, folder: str = "", recursive: bool = False) -> list[str]:
        """Names in a folder there; with `recursive` all files beneath it, by their paths in it."""
        from pyarrow.fs import FileSelector, FileType

        base = f"{self.root}/{folder}".rstrip("/")
        with self._told():
            found = self.files.get_file_info(
                FileSelector(base, recursive=recursive, allow_not_found=True)
            )
        return [
            f.path.removeprefix(f"{base}/")
            for f in found
            if not recursive or f.type == FileType.File
        ]

    def get(self, name: str) -> bytes | None:
        """A file's content, None where there is none."""
        with (
            self._told(),
            contextlib.suppress(FileNotFoundError),
            self.files.open_input_file(f"{self.root}/{name}") as stream,
        ):
            content = stream.read()
            if len(content) != stream.size():
                raise OSError(f"{name} came in part")
            return content

    def put(self, name: str, content: bytes) -> None:
        """Whole or not at all: S3 shows no object before its last byte; on a path it is written
        beside and renamed."""
        target = f"{self.root}/{name}"
        with self._told():
            if self.s3:
                with self.files.open_output_stream(target) as stream:
                    stream.write(content)
            else:
                with replacing(Path(target)) as temporary:
                    temporary.write_bytes(content)

    def remove(self, name: str) -> None:
        with self._told(), contextlib.suppress(FileNotFoundError):
            self.files.delete_file(f"{self.root}/{name}")

    def owner(self, run: str) -> dict[str, Any]:
        return json.loads(self.get(f"{run}/{OWNER}") or "{}")


def place() -> Place | None:
    """Where RUNS_URI of the settings points, once it was seen to be there; None where it is not
    set. Raises UserError."""
    if not (uri := settings().get("RUNS_URI", "")):
        return None
    found = Place(uri)
    found.check()
    return found


def mark_of(path: Path | int) -> str:
    """What tells a file, or an open one by its number, from a changed one."""
    found = os.stat(path)
    return f"{found.st_size}-{found.st_mtime_ns}"


def order(name: str) -> tuple:
    """By what it says of others: a last checkpoint of the best one, run.json of everything."""
    return name == "run.json", name.startswith("checkpoints/"), "/last-" in name, name


def in_order(names: list[str]) -> list[str]:
    """Those that are mirrored, in the order in which they are written."""
    hidden = [
        n
        for n in names
        if n in (*LOCAL, OWNER) or n.endswith((".lock", ".tmp")) or re.search(r"(^|/)(\.|ray-)", n)
    ]
    return sorted(set(names) - set(hidden), key=order)


def check(name: str = "") -> None:
    """Before a new run: that RUNS_URI is right, and no run of that name lies there. One out of
    reach is said, and no hindrance."""
    try:
        if (found := place()) and name and found.get(f"{name}/run.json"):
            raise UserError(
                f"run {name!r} lies in {found.uri} already; choose another --name, or go on with:"
                f" fashion-gan resume {name}"
            )
    except OutOfReachError as error:
        print(f"{error}; the run goes on without it, and catches up", flush=True)


def fetch(name: str, target: Path) -> None:
    """Bring a run to the folder `target`, whole or not at all. Raises UserError where there is
    none."""
    found = place()
    if found is None or not NAME.match(name) or not found.get(f"{name}/run.json"):
        there = (
            f", nor in {found.uri}, which holds:"
            f" {', '.join(sorted(found.listed())[-5:]) or 'none yet'}"
            if found
            else ""
        )
        raise UserError(f"no run {name!r} in reports/{there}")
    scratch = project_root() / "reports" / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    for _ in range(5):  # what is mirrored at this moment may change under our hands
        with tempfile.TemporaryDirectory(dir=scratch, prefix=f"{name}-") as temporary:
            if download(found, name, Path(temporary) / name):
                (Path(temporary) / name).rename(target)
                return
    raise OutOfReachError(
        f"run {name} in {found.uri} changes faster than it can be fetched; try again"
    )


def to_fetch(found: Place, name: str) -> Iterator[str]:
    """The files of a run. What run.json speaks of was there before it, so the rest is listed after
    it was read."""
    yield "run.json"
    yield from (
        each
        for each in reversed(in_order(found.listed(name, recursive=True)))
        if each != "run.json"
    )


def download(found: Place, name: str, folder: Path) -> bool:
    """All files of a run; False where one of them went meanwhile."""
    sent, seen = {}, found.owner(name)
    for each in to_fetch(found, name):
        content = found.get(f"{name}/{each}")
        if content is None:
            return False
        with replacing(folder / each) as temporary:
            temporary.write_bytes(content)
        sent[each] = [mark_of(folder / each), digest(content)]
    with contextlib.suppress(json.JSONDecodeError):
        read_json(folder / "run.json")
        write_json(folder / "mirror.json", {"uri": found.uri, "sent": sent, "seen": seen})
    return (folder / "mirror.json").exists()


def main() -> None:
    fetch(sys.argv[1], project_root() / "reports" / sys.argv[1])


if __name__ == "__main__":
    sys.exit(guarded(main))
