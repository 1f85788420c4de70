"""Chooses the base of the run image: the public Python image, or Debian built here."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from phonefarm_agent.runtimes.docker_engine import Engine, NotKnownError
from phonefarm_agent.runtimes.interface import RuntimeFailedError

PUBLIC = "python:3.12-slim"
DEBIAN_SUITE = "bookworm"
MADE_HERE = f"phonefarm-base:{DEBIAN_SUITE}"

_PULL_SILENCE_SECONDS = 20
_DEBOOTSTRAP_SECONDS = 900
_LEFT_OUT = (
    "./dev/*",
    "./usr/share/doc/*",
    "./usr/share/info/*",
    "./usr/share/locale/*",
    "./usr/share/man/*",
    "./var/cache/*",
    "./var/lib/apt/lists/*",
    "./var/log/*",
)


def choose(engine: Engine, wanted: str | None, progress: Callable[[str], None]) -> str:
    """Return an image the engine has: *wanted*, else the public one, else Debian made here."""
    if wanted is not None:
        if not _local(engine, wanted):
            progress(f"pulling {wanted}")
            engine.pull(wanted, seconds=_PULL_SILENCE_SECONDS)
        return wanted
    for known in (PUBLIC, MADE_HERE):
        if _local(engine, known):
            return known
    try:
        progress(f"pulling {PUBLIC}")
        engine.pull(PUBLIC, seconds=_PULL_SILENCE_SECONDS)
    except RuntimeFailedError as error:
        progress(f"no registry answered: {error}")
        _make_debian(engine, progress)
        return MADE_HERE
    return PUBLIC


def _local(engine: Engine, image: str) -> bool:
    try:
        engine.image_labels(image)
    except NotKnownError:
        return False
    return True


def _make_debian(engine: Engine, progress: Callable[[str], None]) -> None:
    if shutil.which("debootstrap") is None:
        raise RuntimeFailedError(
            f"{PUBLIC} cannot be pulled, and debootstrap is not installed: run `apt-get "
            "install debootstrap`, or name a local Python image with --base"
        )
    if os.geteuid() != 0:
        raise RuntimeFailedError(
            f"{PUBLIC} cannot be pulled, and only root can build a Debian base image: run the "
            "command once as root, or name a local Python image with --base"
        )
    progress(f"building {MADE_HERE} with debootstrap; this happens once and takes about a minute")
    with tempfile.TemporaryDirectory(prefix="phonefarm-base-") as scratch:
        root, archive = Path(scratch, "root"), Path(scratch, "root.tar")
        include = "--include=python3,ca-certificates"
        _run(["debootstrap", "--variant=minbase", include, DEBIAN_SUITE, str(root)])
        tar = ["tar", "-C", str(root), "--sort=name", "--mtime=@0", "--numeric-owner"]
        _run([*tar, *(f"--exclude={path}" for path in _LEFT_OUT), "-cf", str(archive), "."])
        progress(f"importing {archive.stat().st_size // 1_000_000} MB as {MADE_HERE}")
        engine.import_root(archive, MADE_HERE)


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_DEBOOTSTRAP_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeFailedError(
            f"{command[0]} did not finish within {_DEBOOTSTRAP_SECONDS} s"
        ) from error
    if done.returncode != 0:
        told = "\n".join(done.stdout.strip().splitlines()[-8:])
        raise RuntimeFailedError(f"{command[0]} exited with code {done.returncode}:\n{told}")
