"""Programs as children: ready, ended, too slow, deaf to SIGTERM, left behind."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from phonefarm_cli.up import child_processes as module
from phonefarm_cli.up import orphans
from phonefarm_cli.up.child_processes import (
    ChildProcesses,
    Program,
    ProgramEndedError,
    bound_to_parent,
)
from phonefarm_cli.up.orphans import (
    ProcessIdentity,
    end_previous_programs,
    is_alive,
    save_identities,
)

READY = """
import json, os, sys, time
path = sys.argv[sys.argv.index("--ready-file") + 1]
print("hello from", os.getpid(), flush=True)
open(path + ".new", "w").write(json.dumps({"pid": os.getpid()}))
os.rename(path + ".new", path)
"""
SLEEP = "time.sleep(60)\n"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"


@pytest.fixture
async def children(tmp_path: Path) -> AsyncIterator[ChildProcesses]:
    """Yield children whose programs are stopped afterwards."""
    made = ChildProcesses(tmp_path / "data")
    yield made
    hurry = asyncio.Event()
    hurry.set()
    for name in made.pids:
        await made.stop(name, hurry)


def _program(tmp_path: Path, text: str, name: str = "thing") -> Program:
    (tmp_path / f"a_{name}.py").write_text(text)
    environment = dict(os.environ) | {"PYTHONPATH": str(tmp_path)}
    return Program(name=name, module=f"a_{name}", arguments=(), environment=environment)


async def test_a_ready_program_tells_its_facts(children: ChildProcesses, tmp_path: Path) -> None:
    """Start returns the ready-file's content, logs what is said, and keeps the process's mark."""
    facts = await children.start(_program(tmp_path, READY + SLEEP))

    assert facts == {"pid": children.pids["thing"]}
    assert f"hello from {facts['pid']}" in children.log("thing").read_text()
    told = json.loads((tmp_path / "data" / "programs.json").read_text())
    assert [mark["pid"] for mark in told["programs"]] == [facts["pid"]]
    assert await children.stop("thing", asyncio.Event())
    assert not is_alive(facts["pid"])


async def test_a_program_that_ends_at_once_is_quoted(
    children: ChildProcesses, tmp_path: Path
) -> None:
    """The error has the exit code and the last lines, not all of them."""
    text = "import sys\nfor n in range(100): print('line', n)\nsys.exit(7)"

    with pytest.raises(ProgramEndedError) as caught:
        await children.start(_program(tmp_path, text))

    assert "the thing exited with code 7" in str(caught.value)
    assert "line 99" in str(caught.value)
    assert "line 50" not in str(caught.value)


async def test_a_program_that_never_gets_ready_is_given_up(
    children: ChildProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named after the limit."""
    monkeypatch.setattr(module, "READY_SECONDS", 0.3)

    with pytest.raises(ProgramEndedError, match="the thing was not ready"):
        await children.start(_program(tmp_path, "import time\n" + SLEEP))


async def test_watch_tells_of_the_first_end(children: ChildProcesses, tmp_path: Path) -> None:
    """Also of a program that was started after the watch had begun."""
    watching = asyncio.create_task(children.watch())
    await children.start(_program(tmp_path, READY + SLEEP, "first"))
    await children.start(_program(tmp_path, READY + SLEEP, "second"))
    assert not watching.done()

    os.kill(children.pids["second"], signal.SIGKILL)

    with pytest.raises(ProgramEndedError, match="the second was killed by SIGKILL"):
        await asyncio.wait_for(watching, 180)


async def test_a_deaf_program_is_killed_when_somebody_is_in_a_hurry(
    children: ChildProcesses, tmp_path: Path
) -> None:
    """The second Ctrl-C ends the patience; stop says that it had to kill."""
    await children.start(_program(tmp_path, DEAF + READY + SLEEP))
    hurry = asyncio.Event()
    asyncio.get_running_loop().call_later(0.1, hurry.set)

    stopped = await asyncio.wait_for(children.stop("thing", hurry), 60)

    assert not stopped
    assert not is_alive(children.pids["thing"])


async def test_the_last_log_is_kept_beside_the_new(
    children: ChildProcesses, tmp_path: Path
) -> None:
    """A restart does not wipe what the start before it had said."""
    with contextlib.suppress(ProgramEndedError):
        await children.start(_program(tmp_path, "print('before')"))
    with contextlib.suppress(ProgramEndedError):
        await children.start(_program(tmp_path, "print('after')"))

    assert children.log("thing").read_text() == "after\n"
    assert children.log("thing").with_suffix(".log.1").read_text() == "before\n"


async def test_a_bound_process_dies_with_its_parent(tmp_path: Path) -> None:
    """However the parent dies: here by SIGKILL."""
    parent = (
        "import subprocess, sys, time\n"
        "from phonefarm_cli.up.child_processes import bound_to_parent\n"
        "import signal\n"
        "sleep = [sys.executable, '-c', 'import time; time.sleep(60)']\n"
        "command = bound_to_parent(sleep, signal.SIGKILL)\n"
        "print(subprocess.Popen(command).pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", parent, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    pid = int(await process.stdout.readline())
    assert is_alive(pid)

    process.kill()
    await process.communicate()

    async with asyncio.timeout(180):
        while is_alive(pid):  # noqa: ASYNC110 - it is no child of ours
            await asyncio.sleep(0.01)


def test_a_process_whose_parent_is_gone_before_it_is_bound_does_not_begin() -> None:
    """The launcher sees that its parent is another than the one that asked for it."""
    command = bound_to_parent([sys.executable, "-c", "print('began')"], signal.SIGKILL)
    command[3] = "1"

    done = subprocess.run(command, check=True, capture_output=True, timeout=180)

    assert done.stdout == b""


async def test_leftovers_of_a_killed_up_are_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen program of an earlier start is killed once the patience is over."""
    monkeypatch.setattr(orphans, "_PATIENCE_SECONDS", 0.2)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=-1)
    process.send_signal(signal.SIGSTOP)
    save_identities(tmp_path, [process.pid])

    stayed = await end_previous_programs(tmp_path)
    code = await asyncio.wait_for(process.wait(), 60)

    assert stayed == 1
    assert code == -signal.SIGKILL
    assert await end_previous_programs(tmp_path) == 0


async def test_another_process_of_the_same_number_is_left_alone(tmp_path: Path) -> None:
    """Numbers are given again: the start time tells whose it is now."""
    mark = ProcessIdentity.of(os.getpid())
    assert mark is not None
    (tmp_path / "programs.json").write_text(
        json.dumps(
            {"programs": [{"pid": mark.pid, "started": mark.started - 1, "boot": mark.boot}]}
        )
    )

    assert await end_previous_programs(tmp_path) == 0


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"programs": [{"pid": 1}]}', '{"programs": 3}']
)
async def test_a_broken_list_of_leftovers_is_passed_over(tmp_path: Path, content: str) -> None:
    """A file cut short by a crash keeps nobody from starting."""
    (tmp_path / "programs.json").write_text(content)

    assert await end_previous_programs(tmp_path) == 0
