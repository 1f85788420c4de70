"""Generate protos/gen from protos/phonefarm; --check compares instead and fails on drift."""

import argparse
import filecmp
import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "protos"
GENERATED = SOURCES / "gen" / "phonefarm"


def generate(into: Path) -> None:
    """Write the package `phonefarm` under *into*; files without services get no grpc module."""
    sources = sorted((SOURCES / "phonefarm").rglob("*.proto"))
    names = [str(source.relative_to(SOURCES)) for source in sources]
    include = importlib.metadata.distribution("grpcio-tools").locate_file("grpc_tools/_proto")
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    outputs = ["python", "grpc_python", "mypy", "mypy_grpc"]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{SOURCES}", f"-I{include}"]
    command += [f"--{output}_out={into}" for output in outputs]
    subprocess.run([*command, *names], check=True, env=environment)
    for source in sources:
        if "\nservice " not in source.read_text():
            stem = into / source.relative_to(SOURCES).with_suffix("")
            for leftover in (f"{stem}_pb2_grpc.py", f"{stem}_pb2_grpc.pyi"):
                Path(leftover).unlink(missing_ok=True)
    for folder in {into / source.relative_to(SOURCES).parent for source in sources}:
        (folder / "__init__.py").write_text('"""Generated from protos/phonefarm; do not edit."""\n')
    # `phonefarm` itself is a namespace: client/phonefarm has its other packages.
    (into / "phonefarm" / "v1" / "py.typed").touch()


def differences(left: Path, right: Path) -> list[str]:
    """Name the files that are not the same bytes on both sides."""

    def files(root: Path) -> dict[str, Path]:
        return {
            str(path.relative_to(root)): path
            for path in root.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }

    ours, theirs = files(left), files(right)
    same = [name for name in ours if name in theirs]
    changed = [n for n in same if not filecmp.cmp(ours[n], theirs[n], shallow=False)]
    return sorted(changed + list(ours.keys() ^ theirs.keys()))


def main() -> int:
    """Generate, or with --check tell whether the committed code is what the sources make."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 on drift")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch)
        generate(made)
        if not check:
            shutil.rmtree(GENERATED, ignore_errors=True)
            shutil.copytree(made / "phonefarm", GENERATED)
            return 0
        drift = differences(GENERATED, made / "phonefarm") if GENERATED.exists() else ["everything"]
    for name in drift:
        print(f"protos/gen/phonefarm/{name} is not what the sources make: run `make protos`")
    return 1 if drift else 0


if __name__ == "__main__":
    sys.exit(main())
