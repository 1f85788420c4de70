"""Tells how full a disk is, and whether new work may begin."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger()

MIB: Final = 1024 * 1024
GIB: Final = 1024 * MIB
RESERVE_NAME: Final = "reserve"


@dataclass(frozen=True, kw_only=True)
class RequiredFree:
    """The share and the size that must be free for new work to begin."""

    share: float = 0.05
    size: int = GIB


@dataclass(frozen=True, kw_only=True)
class DiskFigures:
    """A file system, in bytes; `free` is what this process could write."""

    total: int
    free: int

    def shortage(self, required: RequiredFree) -> str:
        """Return what is missing, in words; empty when enough is free."""
        if self.free < required.size:
            return f"{self.free // MIB} MiB free, at least {required.size // MIB} MiB are needed"
        if self.free < required.share * self.total:
            percent = 100 * self.free / self.total
            return f"{percent:.1f} % free, at least {100 * required.share:g} % are needed"
        return ""


def disk_figures(path: Path) -> DiskFigures:
    """Return the figures of *path*'s file system; OSError. Blocking: a network disk may hang."""
    seen = os.statvfs(path)
    return DiskFigures(total=seen.f_blocks * seen.f_frsize, free=seen.f_bavail * seen.f_frsize)


def check_disk_space(folder: Path, required: RequiredFree, reserve: int) -> str:
    """Return what is missing on *folder*'s disk, and keep *reserve* bytes for running work.

    The file `reserve` is made while there is room, and removed when even it would not fit any more.
    Blocking; OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RESERVE_NAME
    figures = disk_figures(folder)
    shortage = figures.shortage(required)
    there = path.exists()
    if shortage and there and figures.free < reserve:
        path.unlink(missing_ok=True)  # several programs of one host may share it
        log.error("storage.reserve_released", bytes=reserve)
    elif reserve and not shortage and not there:
        _allocate(path, reserve)
    return shortage


def _allocate(path: Path, size: int) -> None:
    """Allocate *size* bytes on the disk: a sparse file would reserve nothing."""
    partial = path.with_suffix(f".part{os.getpid()}")
    try:
        with partial.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
