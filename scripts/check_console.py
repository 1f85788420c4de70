"""Checks the console's scripts: their types, and that the vendored file is what npm makes.

Both need Node; where it is missing, or npm cannot be reached, this says what it did not check.
Everything else about the console is tested without Node (tests/console).
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / "scripts" / "console"
PLACE = Path(sys.prefix) / "console"
"""Where npm installs, outside of the sources."""
MODULES = PLACE / "node_modules"
INSTALLED = MODULES / ".installed"
"""The digest of what was installed."""
VENDOR = ROOT / "gateway" / "phonefarm_gateway" / "console" / "static" / "vendor"
INSTALL_SECONDS = 300
BUNDLE = ("--bundle", "--format=esm", "--minify", "--legal-comments=none", "--target=es2022")


def main() -> int:
    """Check what can be checked; return 1 when something is wrong. `--write` makes the file."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return _skipped("no node and npm found")
    if why := _install():
        return _skipped(f"npm cannot install {TOOLS.relative_to(ROOT)}/package.json: {why}")
    lit = _run(["esbuild", "lit.entry.js", *BUNDLE], at=PLACE)
    if lit.returncode != 0:
        print(lit.stderr)
        return 1
    licence = (MODULES / "lit" / "LICENSE").read_text()
    made = {"lit.js": lit.stdout, "lit.LICENSE": licence}
    if "--write" in sys.argv[1:]:
        for name, text in made.items():
            (VENDOR / name).write_text(text)
    differing = [name for name, text in made.items() if (VENDOR / name).read_text() != text]
    for name in differing:
        print(f"{name} is not what package.json makes: run scripts/check_console.py --write")
    types = _run(["tsc", "--project", "tsconfig.json", "--pretty", "false"], at=TOOLS)
    print(types.stdout, end="")
    return 1 if differing or types.returncode != 0 else 0


def _skipped(why: str) -> int:
    print(f"skipped: {why}; the console's types and its vendored file are not checked")
    return 0


def _install() -> str:
    """Install what the lock file names, once; return why that failed, or ''."""
    named = (TOOLS / "package-lock.json").read_bytes() + (TOOLS / "lit.entry.js").read_bytes()
    wanted = hashlib.sha256(named).hexdigest()
    if INSTALLED.exists() and INSTALLED.read_text() == wanted:
        return ""
    PLACE.mkdir(exist_ok=True)
    for name in ("package.json", "package-lock.json", ".npmrc", "lit.entry.js"):
        shutil.copy(TOOLS / name, PLACE / name)
    try:
        done = subprocess.run(
            ["npm", "ci"],
            cwd=PLACE,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode != 0:
        return (done.stderr.strip().splitlines() or ["no reason given"])[0]
    INSTALLED.write_text(wanted)
    return ""


def _run(command: list[str], *, at: Path) -> "subprocess.CompletedProcess[str]":
    program = MODULES / ".bin" / command[0]
    return subprocess.run(
        [str(program), *command[1:]], cwd=at, capture_output=True, text=True, check=False
    )


if __name__ == "__main__":
    sys.exit(main())
