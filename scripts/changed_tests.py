"""Run the tests that a change can have broken: those that import or start a changed module.

    scripts/changed_tests.py [--since COMMIT] [--list] [PYTEST ARGUMENT ...]

A change is what differs from COMMIT (default: main's last commit, so what is not committed yet) and
what git does not track yet. A test depends on what it imports, through any number of modules, and
on every module of a program whose name it mentions, because it may start that program.
"""

import argparse
import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
TESTS: Final = ROOT / "tests"
SOURCES: Final = (
    "agent",
    "cli",
    "client",
    "common",
    "controller",
    "gateway",
    "protos/gen",
    "simulator",
)
PROGRAM: Final = re.compile(r"phonefarm_[a-z]+")
EVERYTHING: Final = ("pyproject.toml", "Makefile", "tests/conftest.py", "scripts/provision.sh")


def main() -> int:
    """Choose the test files and run pytest on them; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--since", default="HEAD", metavar="COMMIT", help="default: %(default)s")
    parser.add_argument("--list", action="store_true", help="print the test files, run nothing")
    arguments, rest = parser.parse_known_args()
    changed = changed_files(arguments.since)
    chosen = depending_on(changed)
    print(f"{len(changed)} files changed; {len(chosen)} test files depend on them", flush=True)
    if arguments.list or not chosen:
        print(*chosen, sep="\n")
        return 0
    pytest = [sys.executable, "-m", "pytest", "-m", "not long", *rest, *chosen]
    return subprocess.run(pytest, cwd=ROOT, check=False).returncode


def changed_files(since: str) -> list[str]:
    """Return the paths that differ from the commit, and those git does not know."""
    found = [
        *_git("diff", "--name-only", since),
        *_git("ls-files", "--others", "--exclude-standard"),
    ]
    return sorted(set(found))


def depending_on(changed: list[str]) -> list[str]:
    """Return the test files, as paths, that depend on one of the changed files."""
    files, users = _import_graph()
    tests = [path for path in files if path.name.startswith("test_") and TESTS in path.parents]
    if any(path in EVERYTHING for path in changed):
        return sorted(str(path.relative_to(ROOT)) for path in tests)
    names = {files[ROOT / path] for path in changed if ROOT / path in files}
    # What is no module (a proto, a table of a program) belongs to who names its file, and a page
    # also to who reads all of them.
    others = [Path(path) for path in changed if ROOT / path not in files]
    marks = {other.name for other in others} | {"*.md" for other in others if other.suffix == ".md"}
    reached, waiting = set(names), list(names)
    while waiting:
        for user in users.get(waiting.pop(), set()) - reached:
            reached.add(user)
            waiting.append(user)
    return sorted(
        str(path.relative_to(ROOT))
        for path in tests
        if files[path] in reached or any(mark in path.read_text() for mark in marks)
    )


@functools.cache
def _import_graph() -> tuple[Mapping[Path, str], Mapping[str, set[str]]]:
    """Return the module of each file, and who uses each module; reading them all takes seconds."""
    files = dict(_modules())
    known = set(files.values())
    users: dict[str, set[str]] = {}
    for path, name in files.items():
        for used in _uses(path, name, known):
            users.setdefault(used, set()).add(name)
    return files, users


def _modules() -> Iterator[tuple[Path, str]]:
    for folder in (*(ROOT / source for source in SOURCES), TESTS):
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            yield path, ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _uses(path: Path, name: str, known: set[str]) -> Iterator[str]:
    """Yield the modules a module imports, its packages, and the programs that it names."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    if package in known:
        yield package
    if TESTS in path.parents:
        for conftest in (parent for parent in path.parents if TESTS in parent.parents):
            if (conftest / "conftest.py").exists():
                yield ".".join((*conftest.relative_to(TESTS).parts, "conftest"))
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield module
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.Constant(value=str(text)) if PROGRAM.fullmatch(text):
                yield from (one for one in known if one.startswith(f"{text}."))
            case ast.Constant(value=str(text)) if text in known:  # a plugin of pytest's
                yield text


def _git(*words: str) -> list[str]:
    return subprocess.run(
        ["git", *words], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()


if __name__ == "__main__":
    sys.exit(main())
