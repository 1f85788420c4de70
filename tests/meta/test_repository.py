"""Rules of the repository that no other tool keeps."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from phonefarm.v1 import agent_pb2_grpc

ROOT = Path(__file__).resolve().parent.parent.parent
SKIPS = {"skip", "skipif", "xfail"}
PACKAGES = ("agent", "cli", "client", "common", "controller", "gateway", "simulator")


def sources(folder: str) -> list[Path]:
    """Return the Python files below *folder*."""
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Return the top-level names of what a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                found |= {alias.name.partition(".")[0] for alias in names}
            case ast.ImportFrom(module=str(module), level=0):
                found.add(module.partition(".")[0])
            case _:
                pass
    return found


def importers(package: str, folders: tuple[str, ...]) -> list[str]:
    """Return the files below *folders* that import *package*."""
    files = [path for folder in folders for path in sources(folder)]
    return [str(path.relative_to(ROOT)) for path in files if package in imported(path)]


def test_the_engine_is_known_to_one_file() -> None:
    """Only `engine.py` imports the docker SDK; everybody else talks to it."""
    assert importers("docker", PACKAGES) == ["agent/phonefarm_agent/runtimes/docker_engine.py"]


def test_buckets_are_known_to_one_file() -> None:
    """Only `bucket.py` speaks S3, and only who names a bucket needs its library."""
    one = ["controller/phonefarm_controller/evidence/backends/s3.py"]
    assert importers("boto3", PACKAGES) == importers("botocore", PACKAGES) == one


@pytest.mark.parametrize("folder", ["agent/phonefarm_agent", "agent/phonefarm_executor"])
def test_adbutils_is_known_to_one_file_of_each_package(folder: str) -> None:
    """The agent's and the executor's use of adb each have one door."""
    assert len(importers("adbutils", (folder,))) <= 1


def test_adbutils_is_known_to_agent_and_executor_only() -> None:
    """The simulator speaks the device's protocol by itself; nobody else talks to phones."""
    assert importers("adbutils", ("cli", "common", "controller", "gateway", "simulator")) == []


def test_generated_code_is_what_the_protos_say() -> None:
    """`make protos` would change nothing."""
    done = subprocess.run(
        [sys.executable, "scripts/gen_protos.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_grpc_is_at_least_as_new_as_the_code_generated_for_it() -> None:
    """The floor of every grpcio package is the generator's version, and the stubs agree."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    generator = next(
        pin.partition("==")[2]
        for pin in project["dependency-groups"]["protos"]
        if pin.startswith("grpcio-tools==")
    )
    wanted = [*project["project"]["dependencies"]]
    for extra in project["project"]["optional-dependencies"].values():
        wanted += extra

    floors = {pin for pin in wanted if pin.startswith("grpcio")}

    assert floors == {
        f"{name}>={generator}" for name in ("grpcio", "grpcio-health-checking", "grpcio-reflection")
    }
    assert generator == agent_pb2_grpc.GRPC_GENERATED_VERSION


def unexplained(path: Path) -> Iterator[str]:
    """Yield every skip or expected failure of a file that gives no reason, as line and name."""
    tree = ast.parse(path.read_text())
    explained = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            named = any(keyword.arg == "reason" for keyword in node.keywords)
            if named or (node.args and node.func.attr in {"skip", "xfail"}):
                explained.add(node.func)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in SKIPS and node not in explained:
            yield f"{node.lineno}: {node.attr}"


def test_nothing_is_skipped_without_a_reason() -> None:
    """Whoever reads a skipped test reads why; a bare mark does not say."""
    silent = [
        f"{path.relative_to(ROOT)}:{found}"
        for path in sources("tests")
        for found in unexplained(path)
    ]

    assert silent == []


def test_a_bare_skip_would_be_found(tmp_path: Path) -> None:
    """The search above sees marks and calls without a reason, and accepts those with one."""
    path = tmp_path / "sample.py"
    path.write_text(
        "@pytest.mark.skip\n"
        "@pytest.mark.xfail(strict=True)\n"
        "@pytest.mark.skipif(True, reason='known')\n"
        "def test_it():\n"
        "    pytest.skip()\n"
        "    pytest.skip('known')\n"
    )

    assert list(unexplained(path)) == ["1: skip", "2: xfail", "5: skip"]


def test_the_changelog_has_room_for_the_next_release() -> None:
    """Operators find what changed; the first heading is `Unreleased`."""
    headings = re.findall(r"^## +(.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert headings
    assert "Unreleased" in headings[0]


def test_test_files_have_unique_names() -> None:
    """`--import-mode=importlib` keeps no packages: two of a name would be confused in reports."""
    names = [path.name for path in sources("tests") if path.name.startswith("test_")]

    assert sorted(names) == sorted(set(names))
