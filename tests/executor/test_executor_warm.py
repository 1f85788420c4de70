"""An executor that was started ahead of its run."""

import asyncio
import os
import time
from pathlib import Path

from phonefarm_executor.prewarm import GATE, wait_for_run

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
    """Who opened the gate and hung up gave no word; the next one's word counts."""
    gate = tmp_path / GATE
    os.mkfifo(gate)
    waiting = asyncio.create_task(asyncio.to_thread(wait_for_run, tmp_path, WARM))

    async with asyncio.timeout(60):
        # Opening it for writing blocks until somebody holds the other end.
        first = await asyncio.to_thread(os.open, gate, os.O_WRONLY)
        os.close(first)
        await asyncio.to_thread(say, gate)
        assert await waiting


def say(gate: Path) -> None:
    """Give the word, anew when the executor was between two looks at the gate."""
    while True:
        descriptor = os.open(gate, os.O_WRONLY)
        try:
            os.write(descriptor, b"\n")
        except BrokenPipeError:
            continue
        else:
            return
        finally:
            os.close(descriptor)
