"""An executor that was started ahead of its run."""

import asyncio
import os
import time
from pathlib import Path

import pytest
from phonefarm_executor import prewarm
from phonefarm_executor.prewarm import GATE, open_gate, wait_for_run

WARM = {"PHONEFARM_WARM_SECONDS": "10"}


def test_an_executor_that_was_started_for_its_run_does_not_wait(tmp_path: Path) -> None:
    """Without the setting there need not even be a gate."""
    assert wait_for_run(tmp_path, {})


def test_an_executor_nobody_has_a_run_for_ends(tmp_path: Path) -> None:
    """Its time passes, and it says so."""
    os.mkfifo(tmp_path / GATE)
    began = time.monotonic()

    assert not wait_for_run(tmp_path, {"PHONEFARM_WARM_SECONDS": "0.2"})

    assert time.monotonic() - began >= 0.2


async def test_an_executor_waits_on_when_the_agent_dies(tmp_path: Path) -> None:
    """Who opened the gate and hung up gave no word; the next finds it waiting, however soon."""
    gate = tmp_path / GATE
    os.mkfifo(gate)
    waiting = asyncio.create_task(asyncio.to_thread(wait_for_run, tmp_path, WARM))

    async with asyncio.timeout(180):
        # Opening it for writing blocks until somebody holds the other end.
        os.close(await asyncio.to_thread(os.open, gate, os.O_WRONLY))
        for _ in range(5_000):
            os.close(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))  # ENXIO when nobody reads
        last = os.open(gate, os.O_WRONLY | os.O_NONBLOCK)
        os.write(last, b"\n")
        os.close(last)
        assert await waiting


def test_a_run_that_begins_as_the_agent_dies_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next agent may have given the run, and removed the FIFO, before it is opened again."""
    gate = tmp_path / GATE
    os.mkfifo(gate)
    given: list[int] = []

    def opened(directory: Path) -> int:
        if not given:
            given.append(open_gate(directory))
            os.close(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))  # the agent that dies
        else:
            gate.unlink()
        return given[0] if gate.exists() else open_gate(directory)

    monkeypatch.setattr(prewarm, "open_gate", opened)

    assert wait_for_run(tmp_path, WARM)
