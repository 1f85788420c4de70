"""What of a file is here while it is being uploaded: never evidence, and never for long.

Each upload writes to a file of its own, which begins as a copy of what an earlier one has brought:
one that was cut and whose controller does not know it yet cannot spoil the next. Their names begin
with what the file claims to be, so every controller on the shared directory finds them.
"""

import asyncio
import hashlib
import os
from pathlib import Path
from typing import IO, Final

import structlog
from phonefarm_common.identity import new_id

from phonefarm_controller.operations.whole import whole

log = structlog.get_logger()

FOLDER: Final = ".parts"
LEAST_BYTES: Final = 64 * 1024
"""What is not worth going on with."""
COPY_BYTES: Final = 1024 * 1024
MOST_SECONDS: Final = 24 * 3600.0
"""How long a part waits for its upload to go on."""


class PartGoneError(Exception):
    """The part is not there (any more), or shorter than was asked for."""


class Part:
    """One upload's file, open; made by `Parts.begin`."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self._file = file
        self._seen = hashlib.sha256()
        self.size = 0

    # Whole, or a cancelled upload would close the file under the thread that writes it.
    @whole
    async def add(self, data: bytes) -> None:
        """Write *data* behind what is there; OSError."""
        await asyncio.to_thread(self._add, data)

    @whole
    async def synced(self) -> str:
        """Return the SHA-256 of everything once it is on the disk; OSError."""
        await asyncio.to_thread(self._sync)
        return self._seen.hexdigest()

    def become(self, target: Path) -> None:
        """Move to *target*; PartGoneError when another upload of the file took over."""
        try:
            self._path.replace(target)
        except FileNotFoundError as error:
            raise PartGoneError(str(error)) from error

    def leave(self) -> None:
        """Close; what is worth it stays for the next upload."""
        self._file.close()
        if self.size < LEAST_BYTES:
            self._path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Close, and keep nothing."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def copy(self, source: IO[bytes], size: int) -> None:
        """Begin with the first *size* bytes of *source*; PartGoneError. Blocking."""
        while self.size < size:
            data = source.read(min(COPY_BYTES, size - self.size))
            if not data:
                raise PartGoneError(f"has {self.size} bytes, not {size}")
            self._add(data)

    def _add(self, data: bytes) -> None:
        self._file.write(data)
        self._seen.update(data)
        self.size += len(data)

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())


class Parts:
    """The parts below one evidence directory, by the key of the file they are of."""

    def __init__(self, directory: Path) -> None:
        self._folder = directory / FOLDER

    async def received(self, key: str) -> int:
        """Return how many bytes of the file's beginning are here."""
        return await asyncio.to_thread(self._received, key)

    async def begin(self, key: str, offset: int) -> Part:
        """Open a new part that has the first *offset* bytes; PartGoneError, OSError.

        Every other part of the file goes: whoever still writes to one has lost its agent. A caller
        that is cancelled meanwhile leaves none open.
        """
        begun: list[Part] = []
        try:
            await self._open(key, offset, begun)
        except asyncio.CancelledError:
            for part in begun:
                part.leave()
            raise
        return begun[0]

    @whole
    async def _open(self, key: str, offset: int, begun: list[Part]) -> None:
        begun.append(await asyncio.to_thread(self._begin, key, offset))

    @whole
    async def sweep(self) -> int:
        """Remove the parts whose upload never went on; return how many. OSError."""
        return await asyncio.to_thread(self._sweep)

    def _received(self, key: str) -> int:
        return max((size for size, _ in self._of(key)), default=0)

    def _begin(self, key: str, offset: int) -> Part:
        self._folder.mkdir(parents=True, exist_ok=True)
        others = self._of(key)
        if offset and (not others or others[-1][0] < offset):
            raise PartGoneError(f"no part has {offset} bytes")
        path = self._folder / f"{key}.{new_id()}"
        part = Part(path, path.open("xb"))
        try:
            if offset:
                with others[-1][1].open("rb") as source:
                    part.copy(source, offset)
        except FileNotFoundError as error:
            part.remove()
            raise PartGoneError(str(error)) from error
        except BaseException:
            part.remove()
            raise
        for _, other in others:
            other.unlink(missing_ok=True)
        return part

    def _of(self, key: str) -> list[tuple[int, Path]]:
        """Return the file's parts with their sizes, the longest last."""
        found = []
        for path in self._folder.glob(f"{key}.*"):
            try:
                found.append((path.stat().st_size, path))
            except FileNotFoundError:
                continue  # Another upload took over just now.
        return sorted(found)

    def _sweep(self) -> int:
        if not self._folder.is_dir():
            return 0
        # The disk may be another host's: its clock, not ours, dates the parts.
        clock = self._folder / f"now.{new_id()}"
        clock.touch()
        now = clock.stat().st_mtime
        clock.unlink()
        removed = 0
        for path in self._folder.iterdir():
            try:
                if now - path.stat().st_mtime > MOST_SECONDS:
                    path.unlink()
                    removed += 1
            except FileNotFoundError:
                continue
        if removed:
            log.info("evidence.parts_swept", parts=removed)
        return removed
