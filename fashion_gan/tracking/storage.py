"""The storage under RUNS_URI that run folders are mirrored to: an S3 bucket, or a shared folder."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from fashion_gan.config.settings import project_root, read_settings
from fashion_gan.config.stores import s3_endpoint
from fashion_gan.errors import UserError
from fashion_gan.files import replacing, short_reason
from fashion_gan.runs.record import Text
from fashion_gan.tracking.client import short_message

# beside a run's files there
OWNER = "owner.json"
LONGEST_NAME = 255  # bytes that a disk takes


class Owner(BaseModel):
    """Which folder a run's files were mirrored from, and its machine's last sign of life."""

    uuid: Text
    attempt: Annotated[int, Field(ge=0, lt=2**31)]
    host: Text
    id: Text
    time: Annotated[float, Field(ge=0)]  # of that machine, 0 once the run has ended


class OutOfReachError(UserError):
    """The storage does not answer now; a training goes on without it."""


def s3_client(endpoint: str, key: str, secret: str) -> Any:
    """A client of an S3 store that gives up within seconds."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        region_name="us-east-1",
        config=Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2}),
    )


class Bucket:
    """The objects under s3://bucket/prefix. An object is read in one request, so it comes whole
    though it is written again meanwhile."""

    def __init__(self, root: str, endpoint: str, key: str, secret: str):
        self.bucket, _, prefix = root.partition("/")
        self.prefix = f"{prefix}/" if prefix else ""
        self.client = s3_client(endpoint, key, secret)

    def exists(self) -> bool:
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
        names: list[str] = []
        for page in pages:
            names += [entry["Key"] for entry in page.get("Contents", [])]
            names += [entry["Prefix"].rstrip("/") for entry in page.get("CommonPrefixes", [])]
        # a page of the store's marks folders by empty objects
        return [name.removeprefix(base) for name in names if not name.endswith("/")]

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

    def exists(self) -> bool:
        return self.root.is_dir()

    def path(self, name: str) -> Path:
        """Raises UserError where a link leads out of the folder."""
        path = self.root / name
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise UserError(f"{path} is a link out of {self.root}; remove it")
        return path

    def names(self, folder: str, recursive: bool) -> list[str]:
        base = self.root / folder
        if not recursive:
            return [path.name for path in base.iterdir()] if base.is_dir() else []
        return [p.relative_to(base).as_posix() for p in base.rglob("*") if p.is_file()]

    def read(self, name: str) -> bytes | None:
        try:
            return self.path(name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        with replacing(self.path(name)) as temporary:
            temporary.write_bytes(content)

    def delete(self, name: str) -> None:
        self.path(name).unlink(missing_ok=True)


class RunStorage:
    """Where RUNS_URI points. Every method raises UserError, OutOfReachError where a later try may
    succeed."""

    def __init__(self, uri: str):
        settings = read_settings()
        self.uri, self.endpoint = uri, s3_endpoint(settings)
        root = uri.removeprefix("s3://").rstrip("/")
        if not re.match(r"s3://[^/]|/[^/]", uri) or root == str(project_root() / "reports"):
            raise UserError(
                f"RUNS_URI is {uri!r}; allowed: s3://bucket or s3://bucket/folder, or the absolute"
                " path of a shared folder"
            )
        if not uri.startswith("s3://"):
            self.files, self.what = Folder(root), "such folder"
            return
        if not {"S3_ACCESS_KEY", "S3_SECRET_KEY"} <= settings.keys():
            raise UserError(
                f"RUNS_URI is {uri}; set S3_ACCESS_KEY and S3_SECRET_KEY too, in the environment or"
                " .env.local"
            )
        if not re.match("https?://[^/]+/?$", self.endpoint):
            raise UserError(
                f"S3_ENDPOINT_URL is {self.endpoint!r}, which is no address; say"
                " http://127.0.0.1:9000"
            )
        keys = settings["S3_ACCESS_KEY"], settings["S3_SECRET_KEY"]
        self.files = Bucket(root, self.endpoint, *keys)
        self.what = f"bucket {self.files.bucket!r} at {self.endpoint}"

    @contextlib.contextmanager
    def _plain_errors(self) -> Iterator[None]:
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
            raise OutOfReachError(
                f"{self.uri} cannot be used now: {short_message(error)}"
            ) from None
        except (exceptions.HTTPClientError, exceptions.EndpointConnectionError):
            advice = "start it (make server), or set S3_ENDPOINT_URL"
            raise OutOfReachError(
                f"the store at {self.endpoint} cannot be reached for {self.uri}; {advice}"
            ) from None
        except (OSError, exceptions.BotoCoreError) as error:
            raise OutOfReachError(
                f"{self.uri} cannot be used now: {short_message(error)}"
            ) from None

    def check(self) -> None:
        """Raises UserError where the bucket or the folder is not there, too."""
        with self._plain_errors():
            exists = self.files.exists()
        if not exists:
            raise UserError(
                f"RUNS_URI is {self.uri}, and there is no {self.what}; make it, or name another"
            )

    def names(self, folder: str = "", recursive: bool = False) -> list[str]:
        """Names in a folder there; with `recursive` all files beneath it, by their paths in it.
        Raises UserError where one leads out of it, or is too long for a disk."""
        with self._plain_errors():
            names = self.files.names(folder, recursive)
        for name in names if recursive else ():
            parts = name.split("/")
            climbs = not {"", ".", ".."}.isdisjoint(parts) or "\0" in name
            if climbs or max(len(os.fsencode(part)) for part in parts) > LONGEST_NAME:
                raise UserError(
                    f"{self.uri}/{folder} holds {name[:100]!r}, which is no name of a"
                    " run's file; remove it there"
                )
        return names

    def get(self, name: str) -> bytes | None:
        """A file's content, None where there is none."""
        with self._plain_errors():
            return self.files.read(name)

    def put(self, name: str, content: bytes) -> None:
        """Whole or not at all: S3 shows no object before its last byte; on a path it is written
        beside and renamed."""
        with self._plain_errors():
            self.files.write(name, content)

    def remove(self, name: str) -> None:
        with self._plain_errors():
            self.files.delete(name)

    def owner(self, run: str) -> dict[str, Any]:
        """The fields of Owner, none where there is none. Raises UserError for damaged ones."""
        content = self.get(f"{run}/{OWNER}")
        try:
            return Owner.model_validate_json(content).model_dump() if content is not None else {}
        except ValidationError as error:
            raise UserError(
                f"{self.uri}/{run}/{OWNER} is damaged ({short_reason(error)}); remove it there,"
                " unless a machine is at that run now"
            ) from None


def open_storage() -> RunStorage | None:
    """Where RUNS_URI of the settings points, once it was seen to be there; None where it is not
    set. Raises UserError."""
    if not (uri := read_settings().get("RUNS_URI", "")):
        return None
    storage = RunStorage(uri)
    storage.check()
    return storage
