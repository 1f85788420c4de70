"""The interface of an evidence backend. Every call blocks, and may do so as long as a network.

What keeps a backend from doing it is an OSError whose `strerror` is for people: ENOSPC where it
is full, EACCES where it refuses us.
"""

from collections.abc import Collection
from typing import Protocol

MARKER = ".farm"
"""The file that names the farm to which the evidence belongs."""
PARTS = ".parts"
"""The folder of unfinished uploads."""
MOST_SECONDS = 24 * 3600.0
"""An unfinished upload is kept this long."""


class PartialFileGoneError(Exception):
    """The part does not exist (any more), or is shorter than the offset."""


class NotKeptError(Exception):
    """The file is missing or changed; the text says which."""


class PartialFile(Protocol):
    """One open upload, from `EvidenceBackend.begin`; it becomes a file or is closed."""

    @property
    def size(self) -> int:
        """Return how many bytes it has, those that an earlier upload brought among them."""
        ...

    @property
    def sha256(self) -> str:
        """Return the hash of all of them."""
        ...

    def add(self, data: bytes) -> None:
        """Append *data*; OSError."""
        ...

    def settle(self, path: str) -> None:
        """Store the upload durably as the file *path*; OSError."""
        ...

    def become(self, path: str) -> None:
        """Be the file from now on; quick once settled. PartialFileGoneError, OSError."""
        ...

    def leave(self) -> None:
        """Close; of one that became no file, what is worth it stays for the next upload."""
        ...

    def remove(self) -> None:
        """Close, and keep nothing; what cannot be removed now the sweep finds."""
        ...


class Reading(Protocol):
    """A file that is read."""

    def read(self) -> bytes:
        """Return the next bytes, at most CHUNK_BYTES, none at the end; OSError."""
        ...

    def close(self) -> None:
        """End it."""
        ...


CHUNK_BYTES = 64 * 1024


class EvidenceBackend(Protocol):
    """Stores files by path. All controllers of a farm share one backend; str() returns its name."""

    def path_of(self, *, process_id: str, run_id: str, name: str, sha256: str) -> str:
        """Return the path that a file of a run gets."""
        ...

    def received(self, key: str) -> int:
        """Return how many bytes of the beginning of the file that *key* means are here; OSError."""
        ...

    def begin(self, key: str, offset: int) -> PartialFile:
        """Open a part that has the first *offset* bytes; PartialFileGoneError, OSError."""
        ...

    def open(self, path: str, size: int) -> Reading:
        """Read a file of *size* bytes; NotKeptError, OSError."""
        ...

    def has(self, path: str) -> bool:
        """Tell whether there is such a file; OSError."""
        ...

    def remove(self, paths: Collection[str]) -> None:
        """Remove files, those that are there; OSError."""
        ...

    def clear(self, folder: str) -> None:
        """Remove everything below a folder; OSError."""
        ...

    def sweep(self) -> int:
        """Remove the parts that nobody went on with for MOST_SECONDS; return how many. OSError."""
        ...

    def marker(self) -> str | None:
        """Return the farm that the marker names, None without a marker; OSError."""
        ...

    def mark(self, farm_id: str) -> None:
        """Write the farm into the marker; OSError."""
        ...

    def marking(self, farm_id: str) -> str:
        """Return the command with which a person writes the marker."""
        ...
