"""Keep what a later version must work beside: a release's wheel and its protobuf descriptor set.

Writes tests/fixtures/releases/VERSION/{phonefarm-VERSION-py3-none-any.whl, phonefarm.v1.binpb}; the
version is pyproject.toml's. A kept release is never written again.
"""

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RELEASES = ROOT / "tests" / "fixtures" / "releases"


def main() -> int:
    """Build and keep; 1 when the release is kept already."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    folder = RELEASES / version
    if folder.exists():
        print(f"{folder} exists: a kept release stays as it is")
        return 1
    folder.mkdir(parents=True)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    subprocess.run([*build, str(folder), str(ROOT)], check=True)
    include = importlib.metadata.distribution("grpcio-tools").locate_file("grpc_tools/_proto")
    sources = sorted(
        str(p.relative_to(ROOT / "protos")) for p in ROOT.glob("protos/phonefarm/**/*.proto")
    )
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'protos'}", f"-I{include}"]
    wanted = [f"--descriptor_set_out={folder / 'phonefarm.v1.binpb'}", "--include_imports"]
    subprocess.run([*protoc, *wanted, *sources], check=True)
    print(f"kept {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
