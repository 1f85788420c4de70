"""Installs public programs from their registries, once for each checkout, for tests."""

import fcntl
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

INSTALL_SECONDS = 270


def installed(config: pytest.Config, name: str, steps: Sequence[Sequence[str]]) -> Path:
    """Return a folder in pytest's cache in which the steps have been run once; else skip."""
    assert config.cache is not None
    folder = config.cache.mkdir(name)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another worker may install the same
        if not (folder / ".done").exists():
            for step in steps:
                install(step, folder)
            (folder / ".done").touch()
    return folder


def install(step: Sequence[str], folder: Path) -> None:
    """Run one step; skip the test when it fails."""
    try:
        ran = subprocess.run(
            step, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{' '.join(step)} took more than {INSTALL_SECONDS} s")
    if ran.returncode:
        lines = (ran.stderr + ran.stdout).splitlines()
        said = next((line for line in lines if "error" in line.lower()), "it gave no reason")
        pytest.skip(f"{' '.join(step)} failed: {said}")
