"""A small disk of a test's own, and how it is filled."""

import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from phonefarm_common.disk_space import MIB, RequiredFree, disk_figures

RESERVE: Final = 8 * MIB
LEAST: Final = RequiredFree(share=0.05, size=24 * MIB)
"""What a program on it is told to keep free."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 96 MiB, for root alone."""
    place = tmp_path / "disk"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", "size=96m", "tmpfs", str(place)]
    mounted = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system may be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def fill(disk: Path, *, leave: int) -> None:
    """Write as many bytes as are free now, but for *leave*.

    What a program gives back meanwhile stays free, or whether it is in time would decide.
    """
    left = disk_figures(disk).free - leave
    with (disk / "ballast").open("ab", buffering=0) as ballast:
        while left > 0:
            try:
                left -= ballast.write(bytes(min(left, 64 * 1024)))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                return
