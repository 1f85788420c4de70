"""What `pip install 'phonefarm[agent]'` would put into a virtual environment, without a network.

The distributions are copied from the environment the tests run in, our packages from the tree.
"""

import importlib.metadata
import shutil
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent.parent
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"


def install_agent(target: Path, *, seen_as: Path) -> None:
    """Make a virtual environment at *target* which its host sees at *seen_as*.

    Its Python is the host's own /usr/bin/python3, which must be as new as the tests' is.
    """
    packages = target / "lib" / PYTHON / "site-packages"
    packages.mkdir(parents=True)
    for name in sorted(closure("phonefarm", frozenset({"agent"}))):
        _copy(importlib.metadata.distribution(name), packages)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for package in settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        source = ROOT / package
        shutil.copytree(source, packages / source.name, dirs_exist_ok=True)
    (target / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    programs = target / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to("/usr/bin/python3")
    script = programs / "phonefarm-agent"
    script.write_text(
        f"#!{seen_as}/bin/python3\n"
        "import sys\nfrom phonefarm_agent.cli import main\nsys.exit(main())\n"
    )
    script.chmod(0o755)


def closure(root: str, extras: frozenset[str]) -> set[str]:
    """Return the names of all distributions that *root* needs with *extras*, itself included."""
    found: dict[str, frozenset[str]] = {}
    waiting = [(root, extras)]
    while waiting:
        name, wanted = waiting.pop()
        if wanted <= found.get(name, frozenset()) and name in found:
            continue
        found[name] = found.get(name, frozenset()) | wanted
        for line in importlib.metadata.requires(name) or []:
            needed = Requirement(line)
            markers = [{"extra": extra} for extra in (*wanted, "")]
            if needed.marker is None or any(needed.marker.evaluate(one) for one in markers):
                waiting.append((needed.name, frozenset(needed.extras)))
    return set(found)


def _copy(distribution: importlib.metadata.Distribution, packages: Path) -> None:
    for file in distribution.files or []:
        if ".." in file.parts or file.suffix == ".pth" or not Path(str(file.locate())).exists():
            continue
        target = packages / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(str(file.locate()), target)  # with its times, so that compiled files are used
