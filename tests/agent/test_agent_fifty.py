"""Fifty phones on one agent: what it costs to keep them known and fresh while nothing runs."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from phonefarm_common.timers import Timers
from phonefarm_simulator.farm import simulated_phones
from support.agent_processes import agent_process, driving
from support.controller_script import TOKEN, ScriptedController

PHONES = 50
WINDOW_SECONDS = 60.0
MOST_SHARE = 0.25
MOST_MIB = 300.0
MIB = 1024 * 1024


@pytest.fixture
def timers() -> Timers:
    """Return the table as it is in a real farm: the load is that of real intervals."""
    return Timers()


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds of processor time so far, and memory now."""

    seconds: float
    mib: float


def cost_of(pid: int) -> Cost:
    """Return the cost of a process and of all its children, such as the adb server (proc(5))."""
    seconds, pages = 0.0, 0
    for one in family(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        pages += int(Path(f"/proc/{one}/statm").read_text().split()[1])
    return Cost(seconds=seconds, mib=pages * os.sysconf("SC_PAGE_SIZE") / MIB)


def family(pid: int) -> list[int]:
    """Return a process and all that it started."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += family(int(child))
    return found


@pytest.mark.long
@pytest.mark.fresh_start  # its memory is its own
async def test_fifty_idle_phones_cost_little(
    controller: ScriptedController, tmp_path: Path
) -> None:
    """Agent and adb server together: a quarter of a core and 300 MiB at most, all on offer."""
    heard = controller.heard
    async with simulated_phones(PHONES, tmp_path / "phones") as farm:
        options = driving(farm, "process")
        async with agent_process(
            controller.address, TOKEN, tmp_path, *options, scale=1.0
        ) as process:
            await heard.until(lambda: len(heard.offered()) == PHONES, seconds=120)
            await asyncio.sleep(10)  # what belongs to the start is over
            mark, before = len(heard.messages), cost_of(process.pid)
            await asyncio.sleep(WINDOW_SECONDS)
            after = cost_of(process.pid)
            fewest = min(
                [len(m.offer.serialnos) for m in heard.messages[mark:] if m.HasField("offer")]
            )
            inventories = sum(m.HasField("inventory") for m in heard.messages[mark:])

    share = (after.seconds - before.seconds) / WINDOW_SECONDS
    assert share <= MOST_SHARE
    assert after.mib <= MOST_MIB
    assert fewest == PHONES
    assert inventories <= 5
