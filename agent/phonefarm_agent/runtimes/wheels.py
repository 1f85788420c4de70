"""Collects the wheels that the executor needs, for the image's Python."""

import importlib.metadata
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from phonefarm_agent.runtimes.interface import RuntimeFailedError

_DOWNLOAD_SECONDS = 300
_OLDEST_GLIBC_MINOR = 5
_LEGACY_TAGS = ("manylinux2014", "manylinux2010", "manylinux1")
_LEFT_OUT = re.compile(r"adbutils/binaries/adb|[^/]+\.data/|[^/]+\.dist-info/(RECORD|licenses/)")


@dataclass(frozen=True, kw_only=True)
class Target:
    """The Python inside an image."""

    python: str  # e.g. 3.12
    machine: str  # e.g. x86_64
    glibc: str  # e.g. 2.36

    @property
    def platforms(self) -> list[str]:
        """Return the platform tags whose wheels run there, newest first (PEP 600)."""
        newest = int(self.glibc.partition(".")[2])
        minors = range(newest, _OLDEST_GLIBC_MINOR - 1, -1)
        tags = [f"manylinux_2_{minor}_{self.machine}" for minor in minors]
        tags += [f"{legacy}_{self.machine}" for legacy in _LEGACY_TAGS]
        # adbutils' wheels are pure Python beside the adb they ship, which is left out here.
        return [*tags, "manylinux1_x86_64"]


def pins(root: str) -> dict[str, str]:
    """Return the installed versions of distribution *root* and all its dependencies."""
    found: dict[str, str] = {}
    waiting = [root]
    while waiting:
        name = _canonical(waiting.pop())
        if name in found:
            continue
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError as error:
            if name == _canonical(root):
                raise RuntimeFailedError(
                    f"{name} is not installed: pip install 'phonefarm[agent]'"
                ) from error
            continue  # needed on other platforms only
        found[name] = distribution.version
        waiting += [
            match[0]
            for requirement in distribution.requires or []
            if "extra ==" not in requirement
            and (match := re.match(r"[A-Za-z0-9._-]+", requirement))
        ]
    return dict(sorted(found.items()))


def fetch(
    wanted: Mapping[str, str], *, target: Target, cache: Path, progress: Callable[[str], None]
) -> list[Path]:
    """Return one wheel per pin, from *cache* when it has them all, else by pip."""
    folder = cache / f"cp{target.python.replace('.', '')}-{target.machine}-glibc{target.glibc}"
    folder.mkdir(parents=True, exist_ok=True)
    found = _cached(wanted, folder)
    if found is not None:
        progress(f"{len(found)} wheels from {folder}")
        return found
    progress(f"downloading {len(wanted)} wheels for Python {target.python} on {target.machine}")
    _download(wanted, target=target, folder=folder)
    found = _cached(wanted, folder)
    if found is None:
        raise RuntimeFailedError(f"pip succeeded, but wheels are missing from {folder}")
    return found


def contents(wheel: Path) -> Iterator[tuple[str, bytes]]:
    """Yield path and bytes of the files in *wheel* for the image: no adb, no scripts."""
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            if not entry.is_dir() and not _LEFT_OUT.match(entry.filename):
                yield entry.filename, archive.read(entry)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _cached(wanted: Mapping[str, str], folder: Path) -> list[Path] | None:
    there = {}
    for path in sorted(folder.glob("*.whl")):
        name, version, *_ = path.name.split("-")
        there[_canonical(name), version] = path
    if any(pin not in there for pin in wanted.items()):
        return None
    return [there[pin] for pin in wanted.items()]


def _download(wanted: Mapping[str, str], *, target: Target, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", f"--dest={folder}"]
    command += ["--implementation=cp", f"--python-version={target.python}"]
    command += [f"--platform={tag}" for tag in target.platforms]
    command += [f"{name}=={version}" for name, version in wanted.items()]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_DOWNLOAD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeFailedError(
            f"pip did not finish downloading the wheels within {_DOWNLOAD_SECONDS} s"
        ) from error
    if done.returncode != 0:
        told = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise RuntimeFailedError(
            "pip could not download the executor's wheels. Run this command once on a host with "
            f"network access; {folder} keeps the wheels. If pip is missing, run `{sys.executable} "
            f"-m ensurepip`:\n{told}"
        )
