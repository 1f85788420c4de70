"""The run directory (docs/seams.md), at a path short enough for sockets (107 bytes)."""

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from phonefarm_common.ids import is_uuid

SOCKET_PATH_BYTES = 107
_LONGEST_BELOW = len("/12345678-1234-1234-1234-123456789012/control.sock")


class NoRoomError(Exception):
    """No directory with a short enough path can be made; the text names the remedy."""


def make_runs_folder(state: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """Make the directory that holds the run directories, private to this user; return it.

    It is STATE/runs, or where that path is too long a directory below XDG_RUNTIME_DIR or /tmp, of
    the same name at every start. Raises NoRoomError.
    """
    wanted = state / "runs"
    if _fits(wanted):
        return _private(wanted)
    name = "pf-" + hashlib.sha256(os.fsencode(state)).hexdigest()[:12]
    for root in (environment.get("XDG_RUNTIME_DIR"), "/tmp"):  # noqa: S108 - made 0700 and checked
        if root and _fits(Path(root) / name):
            return _private(Path(root) / name)
    raise NoRoomError(f"the state directory's path is too long for sockets: {state}")


def run_ids_in(runs_folder: Path) -> frozenset[str]:
    """Return the ids of the runs that have a directory in *runs_folder*."""
    return frozenset(path.name for path in runs_folder.iterdir() if is_uuid(path.name))


def remove_runs_folder(runs_folder: Path) -> None:
    """Remove what `make_runs_folder` made, unless a run still has its directory in it."""
    with suppress(OSError):
        runs_folder.rmdir()


def _fits(directory: Path) -> bool:
    return len(os.fsencode(directory)) + _LONGEST_BELOW <= SOCKET_PATH_BYTES


def _private(directory: Path) -> Path:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = directory.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise NoRoomError(f"{directory} belongs to another user; remove it")
    directory.chmod(0o700)
    return directory


class RunDirectory:
    """One run's directory; the container sees it read-only."""

    def __init__(self, runs_folder: Path, run_id: str) -> None:
        self.path = runs_folder / run_id

    @property
    def plan(self) -> Path:
        """Return the path of plan.json."""
        return self.path / "plan.json"

    @property
    def adb_socket(self) -> Path:
        """Return the path of the proxy's socket."""
        return self.path / "adb.sock"

    @property
    def control_socket(self) -> Path:
        """Return the path of the control socket."""
        return self.path / "control.sock"

    @property
    def assets(self) -> Path:
        """Return the folder of the files the run has fetched."""
        return self.path / "assets"

    def make(self, plan: Mapping[str, object] | None = None) -> None:
        """Create the directory and write *plan*, if given; OSError."""
        self.path.mkdir(mode=0o755, exist_ok=True)
        # The container's user is another one; the directory above is closed to everybody else.
        self.path.chmod(0o755)
        if plan is not None:
            self.plan.write_text(json.dumps(plan))
            self.plan.chmod(0o644)

    def remove(self) -> None:
        """Remove the directory, if it is there."""
        shutil.rmtree(self.path, ignore_errors=True)
