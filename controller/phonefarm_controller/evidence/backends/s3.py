"""Evidence in an S3 bucket, or in what speaks S3's protocol.

What is kept lies under PREFIX<process>/<run>/<sha256>/<name>: a key means one content, so whoever
puts it twice changes nothing, and nobody replaces what is kept. An upload is gathered in a file of
this host's own and put whole, its hash being known by then and signed, so that the store refuses
other bytes. Of a long one each SEGMENT is put under PREFIX.parts/<key>/ besides, as soon as it is
full: any controller goes on with those.

Not with S3's own multipart uploads: their parts cannot be read, so who goes on could not know the
hash of the whole before it is there under its name.
"""

import errno
import hashlib
import shlex
import tempfile
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager, suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import boto3.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from phonefarm_controller.evidence.backends.backend import (
    CHUNK_BYTES,
    MARKER,
    MOST_SECONDS,
    PARTS,
    NotKeptError,
    PartialFileGoneError,
)
from phonefarm_controller.evidence.backends.s3_address import S3Address

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

SEGMENT: Final = 4 * 1024 * 1024
"""A file up to this size is uploaded in one request; runs leave no longer ones today."""
BLOCK: Final = 1024 * 1024
"""Readers request this much at a time, so that a slow reader keeps no connection open."""
CONNECT_SECONDS: Final = 3
ANSWER_SECONDS: Final = 10
TRIES: Final = 2
CONNECTIONS: Final = 16
_FULL: Final = frozenset({"QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"})
_NO_BUCKET: Final = "NoSuchBucket"


class _Objects:
    """The objects of one bucket below a prefix, by their path there. Each call raises OSError."""

    def __init__(self, address: S3Address) -> None:
        self.address = address
        session = boto3.session.Session(
            aws_access_key_id=address.access_key,
            aws_secret_access_key=address.secret_key,
            aws_session_token=address.session_token,
            region_name=address.region,
        )
        config = Config(
            signature_version="s3v4",
            connect_timeout=CONNECT_SECONDS,
            read_timeout=ANSWER_SECONDS,
            retries={"mode": "standard", "total_max_attempts": TRIES},
            max_pool_connections=CONNECTIONS,
            # Stores of other makers do not know the newer checksums; the signed hash does it.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={
                "addressing_style": "path" if address.endpoint else "auto",
                "payload_signing_enabled": True,
            },
        )
        self._client: S3Client = session.client("s3", endpoint_url=address.endpoint, config=config)
        self._bucket = address.bucket

    def put(self, path: str, body: bytes | IO[bytes]) -> None:
        """Put an object atomically."""
        with self._answered():
            self._client.put_object(Bucket=self._bucket, Key=self._key(path), Body=body)

    def get(self, path: str) -> bytes:
        """Return an object's bytes; FileNotFoundError."""
        with self._answered():
            answer = self._client.get_object(Bucket=self._bucket, Key=self._key(path))
            with closing(answer["Body"]) as body:
                return body.read()

    def block(self, path: str, begin: int, size: int) -> bytes:
        """Return *size* of an object's bytes from *begin* on; FileNotFoundError."""
        span = f"bytes={begin}-{begin + size - 1}"
        with self._answered():
            answer = self._client.get_object(Bucket=self._bucket, Key=self._key(path), Range=span)
            with closing(answer["Body"]) as body:
                return body.read()

    def size(self, path: str) -> int:
        """Return how long an object is; FileNotFoundError."""
        with self._answered():
            answer = self._client.head_object(Bucket=self._bucket, Key=self._key(path))
        return answer["ContentLength"]

    def delete(self, path: str) -> None:
        """Delete an object that may be there."""
        with self._answered():
            self._client.delete_object(Bucket=self._bucket, Key=self._key(path))

    def below(self, folder: str) -> Iterator[tuple[str, int, float]]:
        """Yield path, size and age in seconds by the store's own clock of what is in a folder."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._key(f"{folder}/")
        )
        with self._answered():
            for page in pages:
                now = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
                for found in page.get("Contents", []):
                    path = found["Key"].removeprefix(self.address.prefix)
                    yield path, found["Size"], (now - found["LastModified"]).total_seconds()

    def _key(self, path: str) -> str:
        return self.address.prefix + path

    @contextmanager
    def _answered(self) -> Iterator[None]:
        """Turn what the library raises into OSError."""
        try:
            yield
        except ClientError as error:
            raise self._refused(error) from error
        except BotoCoreError as error:
            raise OSError(errno.EIO, str(error)) from error

    def _refused(self, error: ClientError) -> OSError:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        code = error.response["Error"].get("Code", "")
        said = f"{code}: {error.response['Error'].get('Message', '')}"
        if code == _NO_BUCKET:
            return OSError(errno.ENODEV, f"there is no bucket {self._bucket}: create it first")
        if status == 404:
            return OSError(errno.ENOENT, said)
        if code in _FULL or status == 507:
            return OSError(errno.ENOSPC, said)
        if status in {401, 403}:
            hint = (
                "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and the permissions of this key"
            )
            return OSError(errno.EACCES, f"{said}; {hint}")
        return OSError(errno.EIO, said)


class S3PartialFile:
    """One upload, gathered on this host."""

    def __init__(self, objects: _Objects, key: str, file: IO[bytes]) -> None:
        self._objects = objects
        self._folder = _parts_of(key)
        self._file = file
        self._seen = hashlib.sha256()
        self._segments = 0
        self._kept = False
        self.size = 0

    @property
    def sha256(self) -> str:
        """Return the hash of what was gathered."""
        return self._seen.hexdigest()

    def resume(self, size: int) -> None:
        """Begin with the first *size* bytes of what is there; PartGoneError."""
        while self.size < size:
            try:
                data = self._objects.get(_segment(self._folder, self._segments))
            except FileNotFoundError as error:
                raise PartialFileGoneError(f"segment {self._segments} is missing") from error
            if len(data) != SEGMENT:
                raise PartialFileGoneError(f"segment {self._segments} has {len(data)} bytes")
            self._gather(data[: size - self.size])
            self._segments += 1

    def add(self, data: bytes) -> None:
        """Gather; what is full is put where others can go on with it."""
        self._gather(data)
        while self.size > (self._segments + 1) * SEGMENT:
            self._file.seek(self._segments * SEGMENT)
            self._objects.put(_segment(self._folder, self._segments), self._file.read(SEGMENT))
            self._segments += 1
            self._file.seek(self.size)

    def settle(self, path: str) -> None:
        """Put it whole: from then on it is there under its name, and nobody knows of it yet."""
        self._file.seek(0)
        self._objects.put(path, self._file)

    def become(self, path: str) -> None:
        """Be it: nothing is left to do."""
        self._kept = True

    def leave(self) -> None:
        """Close; full segments stay until it is kept."""
        self._file.close()
        if self._kept:
            self._forget()

    def remove(self) -> None:
        """Close, and remove the segments."""
        self._file.close()
        self._forget()

    def _gather(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise OSError(
                error.errno, f"the file could not be collected on this host: {error.strerror}"
            ) from error
        self._seen.update(data)
        self.size += len(data)

    def _forget(self) -> None:
        with suppress(OSError):  # The sweep finds them.
            while self._segments:
                self._objects.delete(_segment(self._folder, self._segments - 1))
                self._segments -= 1


class S3Reading:
    """An object that is read block by block."""

    def __init__(self, objects: _Objects, path: str, size: int) -> None:
        self._objects = objects
        self._path = path
        self._size = size
        self._asked = 0
        self._block = b""

    def read(self) -> bytes:
        """Return the next bytes."""
        if not self._block and self._asked < self._size:
            wanted = min(BLOCK, self._size - self._asked)
            self._block = self._objects.block(self._path, self._asked, wanted)
            if len(self._block) != wanted:
                raise OSError(errno.EIO, f"the store sent {len(self._block)} bytes, not {wanted}")
            self._asked += wanted
        data, self._block = self._block[:CHUNK_BYTES], self._block[CHUNK_BYTES:]
        return data

    def close(self) -> None:
        """Nothing is open."""


class S3Backend:
    """Keeps PREFIX<process>/<run>/<sha256>/<name>."""

    def __init__(self, address: S3Address, *, scratch: Path) -> None:
        self._objects = _Objects(address)
        self._scratch = scratch

    def __str__(self) -> str:
        """Return its URL, without what is nobody's business."""
        return str(self._objects.address)

    def path_of(self, *, process_id: str, run_id: str, name: str, sha256: str) -> str:
        """Return a path that no other content has."""
        return f"{process_id}/{run_id}/{sha256}/{name}"

    def received(self, key: str) -> int:
        """Return the size of the full segments that follow each other from the first on."""
        folder = _parts_of(key)
        full = {path for path, size, _ in self._objects.below(folder) if size == SEGMENT}
        count = 0
        while _segment(folder, count) in full:
            count += 1
        return count * SEGMENT

    def begin(self, key: str, offset: int) -> S3PartialFile:
        """Begin a file of this host's own; it ends with this process too."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=self._scratch)  # noqa: SIM115 - the part closes it
        part = S3PartialFile(self._objects, key, file)
        try:
            part.resume(offset)
        except BaseException:
            file.close()
            raise
        return part

    def open(self, path: str, size: int) -> S3Reading:
        """Check that the object is there, with the right size."""
        try:
            found = self._objects.size(path)
        except FileNotFoundError as error:
            raise NotKeptError(f"is no longer in {self}") from error
        if found != size:
            raise NotKeptError(f"in {self} was changed after it was stored")
        return S3Reading(self._objects, path, size)

    def has(self, path: str) -> bool:
        """Tell whether there is such an object."""
        try:
            self._objects.size(path)
        except FileNotFoundError:
            return False
        return True

    def remove(self, paths: Collection[str]) -> None:
        """Delete one after the other: not every store takes many at once."""
        for path in paths:
            self._objects.delete(path)

    def clear(self, folder: str) -> None:
        """Delete what is left below a folder."""
        self.remove([path for path, _, _ in self._objects.below(folder)])

    def sweep(self) -> int:
        """Delete old segments by the store's own clock."""
        old = [path for path, _, age in self._objects.below(PARTS) if age > MOST_SECONDS]
        self.remove(old)
        return len(old)

    def marker(self) -> str | None:
        """Read the marker."""
        try:
            return self._objects.get(MARKER).decode("utf-8", "replace").strip()
        except FileNotFoundError:
            return None

    def mark(self, farm_id: str) -> None:
        """Put the marker."""
        self._objects.put(MARKER, f"{farm_id}\n".encode())

    def marking(self, farm_id: str) -> str:
        """Return a shell command for Amazon's tool, with which most stores work."""
        address = self._objects.address
        there = f" --endpoint-url {shlex.quote(address.endpoint)}" if address.endpoint else ""
        return f"echo {farm_id} | aws s3 cp - {shlex.quote(f'{address}{MARKER}')}{there}"


def _parts_of(key: str) -> str:
    return f"{PARTS}/{key}"


def _segment(folder: str, number: int) -> str:
    return f"{folder}/{number:04}"
