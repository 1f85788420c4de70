"""Several controllers on one PostgreSQL, as processes that are killed and frozen under their work.

Where it says so the timers are those of production: what is promised in seconds is measured.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from gateway.support.receiver import Receiver
from support.live_farm import Hand, LiveFarm, eventually, hand, lives
from support.programs import Programs, programs
from support.up_process import started_up

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(240)]

LEFT_WITHIN_SECONDS = 5.0
"""How soon an agent has a session elsewhere, by its own word."""
KEYWORDS = ["tiny houses", "street food", "night trains"]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A farm with two controllers and one agent."""

    made: Programs
    farm: LiveFarm
    it: Hand

    def with_agent(self) -> tuple[str, str]:
        """Return the name of the controller that has the agent, and the other's."""
        (target,) = [
            event["controller"]
            for event in self.made.log("agent-1")
            if event["event"] == "session.held"
        ][-1:]
        names = {address: name for name, address in self.made.controllers.items()}
        (other,) = [name for address, name in names.items() if address != target]
        return names[target], other

    async def moved(self, since: int) -> float:
        """Return the clock when the agent has opened another session than its first *since*."""

        async def look() -> bool:
            return self.sessions() > since

        await eventually(look, within=30, what="a session with the other controller")
        return time.monotonic()

    def sessions(self) -> int:
        """Return how many sessions the agent has opened."""
        return sum(event["event"] == "session.held" for event in self.made.log("agent-1"))

    async def run_under_way(self, receiver: Receiver) -> str:
        """Return a process whose run shows its first video."""
        process_id = await self.it.warm_up(
            {"routing": "queue"}, url=receiver.url(), keywords=KEYWORDS, watch_seconds=2
        )
        await self.it.on_screen("SIM0001")
        return process_id

    async def searches(self) -> list[tuple[str, str]]:
        """Return what was searched on the phone, with the run that did it."""
        ledger = await self.it.phones.ledger("SIM0001")
        return [(e["run"], e["detail"]["query"]) for e in ledger if e["kind"] == "searched"]


@asynccontextmanager
async def pair(tmp_path: Path, database: str, *, scale: float = 1.0) -> AsyncIterator[Pair]:
    """Run two controllers, a gateway, an agent and one phone."""
    async with programs(tmp_path, scale=scale, controllers=2, database=database) as made:
        await asyncio.gather(
            made.simulator(1), made.controller("controller"), made.controller("controller-2")
        )
        await asyncio.gather(made.gateway(), made.agent("agent-1", ["SIM0001"]))
        farm = await made.live(["SIM0001"])
        async with hand(farm) as it:
            yield Pair(made=made, farm=farm, it=it)


async def _told_in_order(receiver: Receiver) -> list[str]:
    """Return what the caller was told, each once, once the end was told."""

    async def look() -> bool:
        return any(one.event["milestone"] == "completed" for one in receiver.received)

    await eventually(look, what="the callback of the end")
    told = {one.event["sequence"]: one.event["milestone"] for one in receiver.received}
    return [told[sequence] for sequence in sorted(told)]


async def _went_on(it: Pair, process_id: str, receiver: Receiver) -> None:
    """Assert that the work was done by its first run, once, and told."""
    await it.it.until(process_id, "completed", within=60)
    searched = await it.searches()
    assert [query for _, query in searched] == KEYWORDS
    assert len({run for run, _ in searched}) == 1
    assert await _told_in_order(receiver) == ["accepted", "executing", "completed"]


@pytest.mark.long
@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_an_agent_leaves_its_controller_within_five_seconds(
    tmp_path: Path, postgres_url: str, receiver: Receiver, how: str
) -> None:
    """Killed or frozen: the agent goes on with the other one, its run with it, callers too."""
    async with pair(tmp_path, postgres_url) as it:
        process_id = await it.run_under_way(receiver)
        doomed, _ = it.with_agent()
        before = it.sessions()

        begun = time.monotonic()
        if how == "killed":
            await it.made.kill(doomed)
        else:
            it.made.freeze(doomed)
        took = await it.moved(before) - begun
        asked = time.monotonic()
        status, _ = await it.it.call("GET", f"/processes/{process_id}")
        answered = time.monotonic() - asked

        assert took < LEFT_WITHIN_SECONDS
        assert status == 200
        assert answered < LEFT_WITHIN_SECONDS
        await _went_on(it, process_id, receiver)
        if how == "frozen":
            it.made.thaw(doomed)
            later = await it.it.warm_up({"routing": "queue"}, watch_seconds=1)
            await it.it.until(later, "completed", within=60)


@pytest.mark.long
async def test_up_runs_several_and_goes_on_without_one(tmp_path: Path, postgres_url: str) -> None:
    """`up --controllers 2`: work is done, also after one is killed; everything ends in order."""
    database = postgres_url.replace("+asyncpg", "")
    more = ("--controllers", "2", "--database", database)
    with started_up(tmp_path / "farm", *more, simulate=1) as up:
        farm = up.ready()
        pids = up.pids
        async with hand(farm) as it:
            first = await it.warm_up({"routing": "queue"}, watch_seconds=1)
            await it.until(first, "completed", within=60)

            os.kill(pids["controller"], signal.SIGKILL)
            second = await it.warm_up({"routing": "queue"}, watch_seconds=1)
            await it.until(second, "completed", within=60)
        code = up.stop()

    assert code == 0, up.said
    assert {"controller", "controller-2"} <= set(pids)
    assert "the farm goes on with the others" in up.said
    assert not [pid for pid in pids.values() if lives(pid)]


def test_up_refuses_several_controllers_on_sqlite(tmp_path: Path) -> None:
    """The reason is said before anything is started."""
    with started_up(tmp_path / "farm", "--controllers", "2", simulate=1) as up:
        code = up.process.wait(30)

    assert code == 2
    assert "--controllers 2 needs --database postgresql://" in up.said
