"""Steps of `install` and `uninstall`, and the commands and files they use."""

import grp
import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

COMMAND_SECONDS = 150.0
"""The limit of a command; it is longer than the unit's own time to stop."""


class StepFailedError(Exception):
    """A step failed; the text names the command or file and the error."""


@dataclass(frozen=True, kw_only=True)
class InstallStep:
    """One step; `needed` decides, when its turn comes, whether it is done."""

    text: str
    needed: Callable[[], bool]
    do: Callable[[], None]


def perform(steps: Sequence[InstallStep], *, dry_run: bool, tell: Callable[[str], None]) -> int:
    """Do the steps that are needed, in order, and return their number; StepFailedError."""
    done = 0
    for step in steps:
        if not step.needed():
            continue
        done += 1
        tell(f"{'would ' if dry_run else ''}{step.text}")
        if not dry_run:
            try:
                step.do()
            except OSError as error:
                raise StepFailedError(f"{step.text}: {error}") from error
    return done


def command(*words: str) -> str:
    """Run a command to its end; return what it printed. StepFailedError unless it exits with 0."""
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StepFailedError(f"{' '.join(words)}: {error}") from error
    if done.returncode != 0:
        told = (done.stderr or done.stdout).strip()[-500:]
        raise StepFailedError(f"{' '.join(words)} exited with code {done.returncode}: {told}")
    return done.stdout


def systemctl(*words: str) -> None:
    """Run systemctl to its end; StepFailedError."""
    command("systemctl", *words)


def answers_yes(*words: str) -> bool:
    """Tell whether a command exits with 0."""
    try:
        command(*words)
    except StepFailedError:
        return False
    return True


def user_exists(name: str) -> bool:
    """Tell whether there is a user *name*."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def group_exists(name: str) -> bool:
    """Tell whether there is a group *name*."""
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def differs(path: Path, text: str, mode: int) -> bool:
    """Tell whether *path* has another content or mode."""
    try:
        return path.read_text() != text or path.stat().st_mode & 0o7777 != mode
    except FileNotFoundError:
        return True


def write(path: Path, text: str, mode: int) -> None:
    """Put *text* at *path*, whole or not at all; folders above are made."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        scratch.unlink()
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        os.fchmod(file.fileno(), mode)
    scratch.replace(path)


def remove(path: Path) -> None:
    """Remove a file or a whole folder; one that is gone is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
