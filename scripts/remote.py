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


class Bucket:
    """The objects under s3://bucket/prefix. An object is read in one request, so it comes whole
    though it is written again meanwhile."""

    def __init__(self, root: str, endpoint: str, key: str, secret: str):
        import boto3
        from botocore.config import Config

        self.bucket, _, prefix = root.partition("/")
        self.prefix = f"{prefix}/" if prefix else ""
        retries = {"total_max_attempts": 2}
        self.client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            region_name="us-east-1",
            config=Config(connect_timeout=3, read_timeout=5, retries=retries),
        )

    def is_there(self) -> bool:
        from botocore.exceptions import ClientError

        try:
            self.client.head_bucket(Bucket=self.bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
                raise
            return False
        return True

    def names(self, folder: str, recursive: bool) -> list[str]:
        base = f"{self.prefix}{folder}/" if folder else self.prefix
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=base, Delimiter="" if recursive else "/"
        )
        found: list[str] = []
        for page in pages:
            found += [each["Key"] for each in page.get("Contents", [])]
            found += [each["Prefix"].rstrip("/") for each in page.get("CommonPrefixes", [])]
        return [name.removeprefix(base) for name in found if name != base]

    def read(self, name: str) -> bytes | None:
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=self.prefix + name)
        except self.client.exceptions.NoSuchKey:
            return None
        return answer["Body"].read()

    def write(self, name: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=self.prefix + name, Body=content)

    def delete(self, name: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=self.prefix + name)


class Folder:
    """The same of a folder that machines share."""

    def __init__(self, root: str):
        self.root = Path(root)

    def is_there(self) -> bool:
        return self.root.is_dir()

    def names(self, folder: str, recursive: bool) -> list[str]:
        base = self.root / folder
        if not recursive:
            return [path.name for path in base.iterdir()] if base.is_dir() else []
        return [p.relative_to(base).as_posix() for p in base.rglob("*") if p.is_file()]

    def read(self, name: str) -> bytes | None:
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        with replacing(self.root / name) as temporary:
            temporary.write_bytes(content)

    def delete(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)


class Place:
    """Where RUNS_URI points. Every method raises UserError, OutOfReachError where a later try may
    succeed."""

    def __init__(self, uri: str):
        known = settings()
        self.uri, self.endpoint = uri, endpoint(known)
        root = uri.removeprefix("s3://").rstrip("/")
        if not re.match(r"s3://[^/]|/[^/]", uri) or root == str(project_root() / "reports"):
            raise UserError(
                f"RUNS_URI is {uri!r}; allowed: s3://bucket or s3://bucket/folder, or the absolute"
                " path of a shared folder"
            )
        if not uri.startswith("s3://"):
            self.files, self.what = Folder(root), "such folder"
            return
        if not {"S3_ACCESS_KEY", "S3_SECRET_KEY"} <= known.keys():
            raise UserError(
                f"RUNS_URI is {uri}; set S3_ACCESS_KEY and S3_SECRET_KEY too, in the environment or"
                " .env.local"
            )
        if not re.match("https?://[^/]+/?$", self.endpoint):
            raise UserError(
                f"S3_ENDPOINT_URL is {self.endpoint!r}, which is no address; say"
                " http://127.0.0.1:9000"
            )
        self.files = Bucket(root, self.endpoint, known["S3_ACCESS_KEY"], known["S3_SECRET_KEY"])
        self.what = f"bucket {self.files.bucket!r} at {self.endpoint}"

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """The words of a library, for a person."""
        from botocore import exceptions

        try:
            yield
        except exceptions.ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (401, 403):
                advice = "set S3_ACCESS_KEY and S3_SECRET_KEY, in the environment or .env.local"
                raise UserError(
                    f"the store at {self.endpoint} refuses the keys for {self.uri}; {advice}"
                ) from None
            raise OutOfReachError(f"{self.uri} cannot be used now: {first_line(error)}") from None
        except (exceptions.HTTPClientError, exceptions.EndpointConnectionError):
            advice = "start it (make server), or set S3_ENDPOINT_URL"
            raise OutOfReachError(
                f"the store at {self.endpoint} cannot be reached for {self.uri}; {advice}"
            ) from None
        except (OSError, exceptions.BotoCoreError) as error:
            raise OutOfReachError(f"{self.uri} cannot be used now: {first_line(error)}") from None

    def check(self) -> None:
        """Raises UserError where the bucket or the folder is not there, too."""
        with self._told():
            there = self.files.is_there()
        if not there:
            raise UserError(
                f"RUNS_URI is {self.uri}, and there is no {self.what}; make it, or name another"
            )

    def listed(self, folder: str = "", recursive: bool = False) -> list[str]:
        """Names in a folder there; with `recursive` all files beneath it, by their paths in it."""
        with self._told():
            return self.files.names(folder, recursive)

    def get(self, name: str) -> bytes | None:
        """A file's content, None where there is none."""
        with self._told():
            return self.files.read(name)

    def put(self, name: str, content: bytes) -> None:
        """Whole or not at all: S3 shows no object before its last byte; on a path it is written
        beside and renamed."""
        with self._told():
            self.files.write(name, content)

    def remove(self, name: str) -> None:
        with self._told():
            self.files.delete(name)

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
