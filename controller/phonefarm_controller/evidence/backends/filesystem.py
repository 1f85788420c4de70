"""Evidence on a file system: a directory that all controllers share.

Each upload writes to a file of its own, which begins as a copy of what an earlier one has brought:
one that was cut and whose controller does not know it yet cannot spoil the next. Their names begin
with the key of what they are of, so every controller on the directory finds them.
"""

import errno
import hashlib
import os
import shlex
import shutil
import stat
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from phonefarm_common.ids import new_id

from phonefarm_controller.evidence.backends.backend import (
    CHUNK_BYTES,
    MARKER,
    MOST_SECONDS,
    PARTS,
    NotKeptError,
    PartialFileGoneError,
)

LEAST_BYTES: Final = 64 * 1024
"""A part that is shorter than this is not resumed."""
COPY_BYTES: Final = 1024 * 1024
_NOT_KEPT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO})
"""The errors of opening a file that does not exist, or is not a regular file."""


class FilesystemPartialFile:
    """One upload's file."""

    def __init__(self, directory: Path, path: Path) -> None:
        self._directory = directory
        self._path = path
        self._file = path.open("xb")
        self._seen = hashlib.sha256()
        self._torn = False
        self.size = 0

    @property
    def sha256(self) -> str:
        """Return the hash of what was written."""
        return self._seen.hexdigest()

    def add(self, data: bytes) -> None:
        """Append the data."""
        self._torn = True
        self._file.write(data)
        self._torn = False
        self._seen.update(data)
        self.size += len(data)

    def copy(self, source: IO[bytes], size: int) -> None:
        """Begin with the first *size* bytes of *source*; PartGoneError."""
        while self.size < size:
            data = source.read(min(COPY_BYTES, size - self.size))
            if not data:
                raise PartialFileGoneError(f"has {self.size} bytes, not {size}")
            self.add(data)

    def settle(self, path: str) -> None:
        """Write to the disk, and make the folder."""
        self._torn = True
        self._file.flush()
        os.fsync(self._file.fileno())
        (self._directory / path).parent.mkdir(parents=True, exist_ok=True)
        self._torn = False

    def become(self, path: str) -> None:
        """Move the part to its final path; PartGoneError when another upload took over."""
        try:
            self._path.replace(self._directory / path)
        except FileNotFoundError as error:
            raise PartialFileGoneError(str(error)) from error

    def leave(self) -> None:
        """Close; of one that the disk refused to write nothing stays."""
        if self._torn or self.size < LEAST_BYTES:
            self.remove()
        else:
            self._close()

    def remove(self) -> None:
        """Close the part and remove its file."""
        self._close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        # What was not written yet goes with it: the file is torn then, or not looked at again.
        with suppress(OSError):
            self._file.close()


class FilesystemReading:
    """An open file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self) -> bytes:
        """Return the next bytes."""
        return os.read(self._descriptor, CHUNK_BYTES)

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)


class FilesystemBackend:
    """Keeps DIRECTORY/<process>/<run>/<name>."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._parts = directory / PARTS

    def __str__(self) -> str:
        """Return its path."""
        return str(self._directory)

    def path_of(self, *, process_id: str, run_id: str, name: str, sha256: str) -> str:
        """Return the path of the file, which people can read."""
        return f"{process_id}/{run_id}/{name}"

    def received(self, key: str) -> int:
        """Return the size of the longest part."""
        return max((size for size, _ in self._of(key)), default=0)

    def begin(self, key: str, offset: int) -> FilesystemPartialFile:
        """Begin a new part as a copy of the longest.

        Every other part of the file goes: whoever still writes to one has lost its agent.
        """
        self._parts.mkdir(parents=True, exist_ok=True)
        others = self._of(key)
        if offset and (not others or others[-1][0] < offset):
            raise PartialFileGoneError(f"there is no part with {offset} bytes")
        part = FilesystemPartialFile(self._directory, self._parts / f"{key}.{new_id()}")
        try:
            if offset:
                with others[-1][1].open("rb") as source:
                    part.copy(source, offset)
        except FileNotFoundError as error:
            part.remove()
            raise PartialFileGoneError(str(error)) from error
        except BaseException:
            part.remove()
            raise
        for _, other in others:
            other.unlink(missing_ok=True)
        return part

    def open(self, path: str, size: int) -> FilesystemReading:
        """Open a file below the directory, not through a link, of the right size."""
        root = self._directory.resolve()
        place = root / path
        if place.resolve() != place or not place.is_relative_to(root):
            raise NotKeptError("is outside the evidence directory")
        try:
            # Never waits for the other end of what is no file.
            descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            if error.errno not in _NOT_KEPT:
                raise
            raise NotKeptError(f"is no longer in {self} ({error.strerror})") from error
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode) or about.st_size != size:
            os.close(descriptor)
            raise NotKeptError(f"in {self} was changed after it was stored")
        return FilesystemReading(descriptor)

    def has(self, path: str) -> bool:
        """Tell whether it is a file."""
        return (self._directory / path).is_file()

    def remove(self, paths: Collection[str]) -> None:
        """Remove files, and the folders that they leave empty."""
        for path in paths:
            (self._directory / path).unlink(missing_ok=True)
        for folder in {(self._directory / path).parent for path in paths}:
            for empty in (folder, *folder.parents):
                if empty == self._directory:
                    break
                try:
                    empty.rmdir()
                except OSError:
                    break  # Something is in it still, or it has gone already.

    def clear(self, folder: str) -> None:
        """Remove the folder."""
        shutil.rmtree(self._directory / folder, ignore_errors=True)

    def sweep(self) -> int:
        """Remove old parts by the clock of the disk, which may be another host's."""
        if not self._parts.is_dir():
            return 0
        clock = self._parts / f"now.{new_id()}"
        clock.touch()
        now = clock.stat().st_mtime
        clock.unlink()
        removed = 0
        for path in self._parts.iterdir():
            try:
                if now - path.stat().st_mtime > MOST_SECONDS:
                    path.unlink()
                    removed += 1
            except FileNotFoundError:
                continue
        return removed

    def marker(self) -> str | None:
        """Read the marker."""
        try:
            return (self._directory / MARKER).read_text("utf-8", "replace").strip()
        except FileNotFoundError:
            return None

    def mark(self, farm_id: str) -> None:
        """Write the marker atomically."""
        self._directory.mkdir(parents=True, exist_ok=True)
        scratch = self._directory / f"{MARKER}.{new_id()}"
        scratch.write_text(f"{farm_id}\n")
        scratch.replace(self._directory / MARKER)

    def marking(self, farm_id: str) -> str:
        """Return a line of shell."""
        place, marker = (shlex.quote(str(p)) for p in (self._directory, self._directory / MARKER))
        return f"mkdir -p {place} && echo {farm_id} > {marker}"

    def _of(self, key: str) -> list[tuple[int, Path]]:
        """Return the file's parts with their sizes, the longest last."""
        found = []
        for path in self._parts.glob(f"{key}.*"):
            try:
                found.append((path.stat().st_size, path))
            except FileNotFoundError:
                continue  # Another upload took over just now.
        return sorted(found)
