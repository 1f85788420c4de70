"""Locks the state directory for one agent and counts its starts."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class StateBusyError(Exception):
    """Another agent works with this state directory."""


class StateBrokenError(Exception):
    """The state directory is damaged; the text names the remedy."""


@contextmanager
def only_agent(state: Path) -> Iterator[None]:
    """Create the directory, private to this user, and hold its lock; StateBusyError."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StateBusyError(
                f"another agent uses {state}: stop that agent, or choose another directory with "
                "--state"
            ) from error
        yield
    finally:
        os.close(descriptor)


def is_used(state: Path) -> bool:
    """Tell whether an agent holds the lock of the directory; False if this user cannot look."""
    try:
        with (state / "lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def raise_incarnation(state: Path) -> int:
    """Return a number above every earlier start's; it is on the disk before this returns."""
    path = state / "incarnation"
    try:
        last = int(path.read_text())
    except FileNotFoundError:
        last = 0
    except ValueError as error:
        raise StateBrokenError(
            f"{path} does not contain a number: write a number into it that is greater than every "
            "earlier incarnation of this agent"
        ) from error
    scratch = state / ".incarnation.new"
    with scratch.open("w") as file:
        file.write(str(last + 1))
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    descriptor = os.open(state, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return last + 1
