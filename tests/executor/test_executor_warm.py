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
