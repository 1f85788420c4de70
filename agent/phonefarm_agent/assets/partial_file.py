"""Partial files: the part of a download that is on the disk, and how to resume it."""

import asyncio
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ParamSpec, Self, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def on_disk(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Return what *work* returns in a thread; cancelled, wait for it: a file has one writer."""
    working = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working])
        raise


@dataclass(frozen=True, kw_only=True)
class Validators:
    """Names one version of a resource (RFC 9110, 8.8); empty when the server sends none."""

    etag: str = ""
    last_modified: str = ""

    @property
    def range_condition(self) -> str:
        """Return the value of If-Range; empty when the file cannot be resumed safely.

        A weak ETag proves nothing for a part (RFC 9110, 13.1.5).
        """
        return self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified


class PartialFile:
    """A partial file: `<key>.part` and `<key>.part.json`. Blocking; raises OSError."""

    def __init__(self, folder: Path, key: str) -> None:
        self.path = folder / f"{key}.part"
        self._note = folder / f"{key}.part.json"

    @property
    def size(self) -> int:
        """Return how many bytes are there."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def validators(self) -> Validators:
        """Return the version that the bytes belong to; empty when it is not known."""
        try:
            fields = json.loads(self._note.read_text())
            return Validators(etag=str(fields["etag"]), last_modified=str(fields["last_modified"]))
        except (OSError, ValueError, KeyError, TypeError):
            return Validators()

    def begin(self, validators: Validators) -> None:
        """Start again with the first byte."""
        self.remove()
        self._note.write_text(json.dumps(asdict(validators)))

    def remove(self) -> None:
        """Remove both files."""
        with suppress(FileNotFoundError):
            self.path.unlink()
        with suppress(FileNotFoundError):
            self._note.unlink()

    def appending(self) -> "PartialFileWriter":
        """Open the file to append to it."""
        return PartialFileWriter(self.path)


class PartialFileWriter:
    """Appends to a partial file; `finish` returns once all is on the disk."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> None:
        """Append *data*."""
        self._file.write(data)

    def finish(self) -> None:
        """Return once all data is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
