"""Programs that tests have forked instead of starting them afresh (support/preloaded.py)."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import preloaded

pytestmark = pytest.mark.skipif(not preloaded.POSSIBLE, reason="needs Linux on x86-64")

TESTS = Path(__file__).resolve().parents[1]
OF_THE_RUN = {k: v for k, v in os.environ.items() if k.startswith("PYTHON")}
"""The PYTHON variables that this test run sets for all its processes."""


@pytest.fixture(autouse=True)
def _ready() -> None:
    """Have the process that is forked."""
    preloaded.is_ready(wait=True)


@pytest.fixture
def descriptor() -> Iterator[int]:
    """Yield an open descriptor that is no standard stream."""
    number = os.open(os.devnull, os.O_RDONLY)
    yield number
    os.close(number)


def _shown(folder: Path, descriptor: int, *, afresh: bool, session: bool) -> dict[str, Any]:
    """Return how a program says that it was started, after looking at how it ended."""
    preloaded.allow(not afresh)
    done = subprocess.run(
        [sys.executable, "-m", "support.shown_start", "--word", "two words", "ä"],
        cwd=folder,
        env=OF_THE_RUN
        | {"LANG": "C.UTF-8", "PYTHONPATH": str(TESTS), "EMPTY": "", "LINES": "1\n2"},
        input="what comes in",
        capture_output=True,
        text=True,
        start_new_session=session,
        pass_fds=[descriptor],
        check=False,
    )
    assert (done.returncode, done.stderr) == (3, "")
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


@pytest.mark.parametrize("session", [False, True])
def test_a_forked_program_sees_what_a_fresh_one_sees(
    tmp_path: Path, descriptor: int, session: bool
) -> None:
    """Arguments, environment, directory, descriptors, session, parent, also in /proc; its end."""
    afresh = _shown(tmp_path, descriptor, afresh=True, session=session)
    forked = _shown(tmp_path, descriptor, afresh=False, session=session)

    assert forked == afresh
    assert forked["parent"] == os.getpid()
    assert forked["leads a session"] is session


def _program(**changes: Any) -> "subprocess.Popen[bytes]":
    """Start a program that reads its input until it is killed."""
    environment = {"PYTHONPATH": str(TESTS)} | changes
    command = [sys.executable, "-m", "support.shown_start"]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE)


def _is_forked(process: "subprocess.Popen[bytes]") -> bool:
    """Tell whether it is a copy; kill it, and look whether its end is told as a kill."""
    program = Path(f"/proc/{process.pid}/maps").read_text()
    with process:
        process.kill()
    assert process.returncode == -signal.SIGKILL
    return "cygrpc" in program  # which this program does not import


def test_another_environment_of_python_has_a_fresh_start(tmp_path: Path) -> None:
    """Other packages, and options of the interpreter and the linker, take effect as ever."""
    preloaded.allow(True)

    assert _is_forked(_program())
    assert not _is_forked(_program(PYTHONPATH=f"{TESTS}:{tmp_path}"))
    assert not _is_forked(_program(PYTHONASYNCIODEBUG="1"))
    assert not _is_forked(_program(LD_BIND_NOW="1"))
