"""Builds the image of run containers from what is installed here."""

import argparse
import hashlib
import importlib.metadata
import importlib.resources
import importlib.util
import io
import json
import os
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

from phonefarm_agent.runtimes import base_image, wheels
from phonefarm_agent.runtimes.docker_engine import Engine, NotKnownError
from phonefarm_agent.runtimes.interface import RuntimeFailedError

CONTENTS_LABEL = "phonefarm.contents"
BASE_LABEL = "phonefarm.base"
SOURCE_LABEL = "phonefarm.source"
"""The folder of the executor from which the image was built."""
TAG_DIGITS = 12

_EXECUTOR = "phonefarm_executor"
_NOISE = ("--->", "Removing intermediate")
_TELL_TARGET = (
    "import json, platform, sys;"
    "print(json.dumps({'python': '%d.%d' % sys.version_info[:2],"
    " 'machine': platform.machine(), 'glibc': platform.libc_ver()[1]}))"
)


def default_name() -> str:
    """Return the image name for what is installed here.

    The tag contains a digest of the contents, so two checkouts that share an engine never rebuild
    each other's image.
    """
    version = importlib.metadata.version("phonefarm")
    return f"phonefarm-executor:{version}-{_installed_digest()[:TAG_DIGITS]}"


def build(
    name: str | None = None,
    base: str | None = None,
    progress: Callable[[str], None] = print,
    *,
    rebuild: bool = False,
) -> bool:
    """Build the image; return False when the engine has it with the same contents already.

    *base* is any image with Python 3.11 or newer on glibc; without it, see `base_image`. Raises
    RuntimeFailedError with the remedy. Blocks for up to some minutes.
    """
    name = name or default_name()
    engine = Engine()
    sources = {"Dockerfile": _dockerfile(), **_executor()}
    pins = wheels.pins("adbutils")
    digest = _digest(sources, pins)
    if not rebuild and _is_current(engine, name, digest=digest, base=base):
        progress(f"{name} is up to date")
        return False
    base = base_image.choose(engine, base, progress)
    target = wheels.Target(**json.loads(engine.run_once(base, ["python3", "-c", _TELL_TARGET])))
    progress(f"building {name} from {base} (Python {target.python})")
    files = dict(sources)
    for wheel in wheels.fetch(pins, target=target, cache=_cache(), progress=progress):
        files |= {f"lib/{path}": content for path, content in wheels.contents(wheel)}
    source = str(_executor_root())
    labels = {CONTENTS_LABEL: digest, BASE_LABEL: base, SOURCE_LABEL: source}
    older = set(engine.images(f"{SOURCE_LABEL}={source}"))
    if (replaced := engine.image_id(name)) is not None:
        older.add(replaced)
    for line in engine.build(_context(files), name, arguments={"BASE": base}, labels=labels):
        if not line.startswith(_NOISE):
            progress(f"  {line}")
    for image_id in older - {engine.image_id(name)}:
        engine.drop_image(image_id)
    progress(f"built {name}")
    return True


def is_current(name: str) -> bool:
    """Tell whether the image *name* was made from what is installed here; NotKnownError."""
    return Engine().image_labels(name).get(CONTENTS_LABEL) == _installed_digest()


def add_commands(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `image build`; the chosen command is `arguments.perform(arguments)`, an exit code."""
    image = subparsers.add_parser("image", help="the image of the run containers")
    verbs = image.add_subparsers(dest="verb", required=True)
    command = verbs.add_parser(
        "build",
        help="build the image, unless it is up to date",
        description=(
            "Build the image of the run containers from the installed executor. The command "
            "needs a container engine and, to download wheels once, the network. The base image "
            f"is {base_image.PUBLIC} or, if no registry answers, a Debian system that debootstrap "
            "creates (only as root)."
        ),
    )
    command.add_argument("--name", help=f"name of the image (default: {default_name()})")
    command.add_argument("--base", help="base image with Python 3.11 or newer and glibc")
    command.add_argument(
        "--rebuild", action="store_true", help="build the image even if it is up to date"
    )
    command.set_defaults(perform=_perform_build)


def _perform_build(arguments: argparse.Namespace) -> int:
    def tell(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    try:
        build(arguments.name, arguments.base, tell, rebuild=arguments.rebuild)
    except RuntimeFailedError as error:
        sys.stderr.write(f"phonefarm-agent image build: {error}\n")
        return 1
    return 0


def _is_current(engine: Engine, name: str, *, digest: str, base: str | None) -> bool:
    try:
        labels = engine.image_labels(name)
    except NotKnownError:
        return False
    return labels.get(CONTENTS_LABEL) == digest and base in {None, labels.get(BASE_LABEL)}


def _dockerfile() -> bytes:
    return (importlib.resources.files(__package__) / "Dockerfile").read_bytes()


def _executor_root() -> Path:
    spec = importlib.util.find_spec(_EXECUTOR)
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeFailedError(f"{_EXECUTOR} is not installed: pip install 'phonefarm[agent]'")
    return Path(spec.submodule_search_locations[0])


def _installed_digest() -> str:
    return _digest({"Dockerfile": _dockerfile(), **_executor()}, wheels.pins("adbutils"))


def _executor() -> dict[str, bytes]:
    """Return the executor's files, without importing it: programs stay apart."""
    root = _executor_root()
    return {
        f"lib/{_EXECUTOR}/{path.relative_to(root)}": path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def _digest(sources: Mapping[str, bytes], pins: Mapping[str, str]) -> str:
    summary = {path: hashlib.sha256(content).hexdigest() for path, content in sources.items()}
    told = json.dumps({"sources": summary, "pins": dict(pins)}, sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def _context(files: Mapping[str, bytes]) -> io.BytesIO:
    """Return a tar of *files* that is the same bytes for the same files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in sorted(files.items()):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    buffer.seek(0)
    return buffer


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "phonefarm" / "wheels"
