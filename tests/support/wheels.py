"""Wheels for pip where no index is: of this checkout, and of what is installed beside the tests.

An installed distribution is packed again as the wheel that it came from: a wheel is the archive of
its files and of their list RECORD (PyPA's binary distribution format).
"""

import importlib.metadata
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from packaging.tags import sys_tags
from support.installed import ROOT, closure

_NOT_PACKED = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout, as `make dist` does; return its path."""
    words = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(folder)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("phonefarm-*.whl")
    return wheel


def collect_wheels(folder: Path, extras: frozenset[str], *more: str) -> None:
    """Put the wheels of everything that phonefarm needs with *extras*, and of *more*, there."""
    names = closure("phonefarm", extras)
    for name in more:
        names |= closure(name, frozenset())
    for name in names - {"phonefarm"}:
        _pack(importlib.metadata.distribution(name), folder)


def _pack(distribution: importlib.metadata.Distribution, folder: Path) -> None:
    told = distribution.read_text("WHEEL") or ""
    named = set(re.findall(r"^Tag: (\S+)$", told, re.MULTILINE))
    tag = next(str(known) for known in sys_tags() if str(known) in named)
    name = re.sub(r"[-_.]+", "_", distribution.metadata["Name"])
    files = [
        file
        for file in distribution.files or []
        if ".." not in file.parts
        and "__pycache__" not in file.parts
        and file.name not in _NOT_PACKED
    ]
    (facts,) = {file.parts[0] for file in files if file.parts[0].endswith(".dist-info")}
    with zipfile.ZipFile(folder / f"{name}-{distribution.version}-{tag}.whl", "w") as wheel:
        for file in files:
            wheel.write(str(file.locate()), str(file))
        listed = [*map(str, files), f"{facts}/RECORD"]
        wheel.writestr(f"{facts}/RECORD", "".join(f'"{path}",,\n' for path in listed))
