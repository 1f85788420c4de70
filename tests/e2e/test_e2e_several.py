"""Several controllers on one PostgreSQL, as processes that are killed and frozen under their work.

Where it says so the timers are those of production: what is promised in seconds is measured.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from gateway.support.receiver import Receiver
from phonefarm_agent.rpc.connection import MOVE_SECONDS
from phonefarm_common.timers import Timers
from support.live_farm import Hand, LiveFarm, eventually, hand, lives, warmup
from support.postgres_server import postgres_server
from support.programs import Programs, programs
from support.up_process import started_up

pytestmark = [pytest.mark.postgres]

LEFT_WITHIN_SECONDS = 5.0
"""How soon an agent leaves a silent controller, by its timers."""
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
            if event["event"] == "session.opened"
        ][-1:]
        names = {address: name for name, address in self.made.controllers.items()}
        (other,) = [name for address, name in names.items() if address != target]
        return names[target], other

    async def moved(self, since: int) -> list[tuple[str, str]]:
        """Return what became of the agent's sessions behind the first *since* events.

        The last event is the opening of another session.
        """

        async def look() -> bool:
            return any(event == "session.opened" for event, _ in self.sessions()[since:])

        await eventually(look, within=180, what="a session with the other controller")
        return self.sessions()[since:]

    def sessions(self) -> list[tuple[str, str]]:
        """Return which sessions the agent has opened and lost, each with its controller."""
        names = {address: name for name, address in self.made.controllers.items()}
        return [
            (event["event"], names[event["controller"]])
            for event in self.made.log("agent-1")
            if event["event"] in {"session.opened", "session.lost", "session.refused"}
        ]

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


async def _went_on(it: Pair, process_id: str, receiver: Receiver, *, more: bool = False) -> None:
    """Assert that the work was done by its first run, once, and told; *more*: beside other work."""
    await it.it.until(process_id, "completed", within=180)
    searched = await it.searches()
    if more:
        searched = [(run, query) for run, query in searched if run == searched[0][0]]
    assert [query for _, query in searched] == KEYWORDS
    assert len({run for run, _ in searched}) == 1
    assert await _told_in_order(receiver) == ["accepted", "executing", "completed"]


@pytest.mark.long
@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_an_agent_leaves_its_controller_within_five_seconds(
    tmp_path: Path, postgres_url: str, receiver: Receiver, how: str
) -> None:
    """Killed or frozen: the agent goes on with the other one, its run with it, callers too.

    The seconds are those of the timers, and nothing but them passes: the agent loses one session
    and opens the next one at its first try.
    """
    timers = Timers()
    silence = timers.keepalive_agent + timers.keepalive_agent_timeout
    async with pair(tmp_path, postgres_url) as it:
        process_id = await it.run_under_way(receiver)
        doomed, other = it.with_agent()
        before = len(it.sessions())

        if how == "killed":
            await it.made.kill(doomed)
        else:
            it.made.freeze(doomed)
        moved = await it.moved(before)
        status, _ = await it.it.call("GET", f"/processes/{process_id}")

        assert silence + MOVE_SECONDS < LEFT_WITHIN_SECONDS
        assert moved == [("session.lost", doomed), ("session.opened", other)]
        assert status == 200
        await _went_on(it, process_id, receiver)
        if how == "frozen":
            it.made.thaw(doomed)
            later = await it.it.warm_up({"routing": "queue"}, watch_seconds=1)
            await it.it.until(later, "completed", within=180)


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
            await it.until(first, "completed", within=180)

            os.kill(pids["controller"], signal.SIGKILL)
            second = await it.warm_up({"routing": "queue"}, watch_seconds=1)
            await it.until(second, "completed", within=180)
        code = up.stop()

    assert code == 0, up.said
    assert {"controller", "controller-2"} <= set(pids)
    assert "the farm continues with the other controllers" in up.said
    assert not [pid for pid in pids.values() if lives(pid)]


def test_up_refuses_several_controllers_on_sqlite(tmp_path: Path) -> None:
    """The reason is said before anything is started."""
    with started_up(tmp_path / "farm", "--controllers", "2", simulate=1) as up:
        code = up.process.wait(30)

    assert code == 2
    assert "--controllers 2 requires --database postgresql://" in up.said


@pytest.mark.long
async def test_a_restart_of_the_database_under_load_is_survived_by_everybody(
    tmp_path: Path, receiver: Receiver
) -> None:
    """Callers see nothing but 503 with Retry-After; no program ends; all is done, once."""
    with postgres_server() as server, server.database("farm") as url:
        plain = url.replace("+asyncpg", "")
        async with pair(tmp_path, plain, scale=0.2) as it:
            process_id = await it.run_under_way(receiver)
            answers: list[tuple[int, bool]] = []
            accepted: list[str] = []
            over = asyncio.Event()

            async def ask() -> None:
                while not over.is_set():
                    body = warmup({"routing": "queue"})
                    status, retry_after, answer = await _enqueue(it.farm, body)
                    while status == 503:  # a caller repeats the same request
                        answers.append((status, retry_after))
                        await asyncio.sleep(0.1)
                        status, retry_after, answer = await _enqueue(it.farm, body)
                    answers.append((status, retry_after))
                    if status in {200, 202}:
                        accepted.append(answer["process_id"])
                    await asyncio.sleep(0.3)

            asking = asyncio.create_task(ask())
            await eventually(partial(_some, accepted, 2), what="accepted work")
            await asyncio.to_thread(server.restart)
            before = len(accepted)
            await eventually(partial(_some, accepted, before + 2), what="work accepted again")
            over.set()
            await asking
            await _went_on(it, process_id, receiver, more=True)
            for each in accepted:
                await it.it.until(each, "completed", within=180)

            assert {status for status, _ in answers} <= {200, 202, 503}
            assert all(retry_after for status, retry_after in answers if status == 503)
            assert len(set(accepted)) == len(accepted)
            assert it.made.ended() == []


@pytest.mark.long
@pytest.mark.parametrize("reaper_too", [False, True])
async def test_the_work_of_an_agent_killed_for_good_is_done_elsewhere(
    tmp_path: Path, postgres_url: str, reaper_too: bool
) -> None:
    """The lease ends within its time and ten seconds; when its reaper died too, one time more."""
    scale = 0.2
    promised = Timers().lease_ttl * scale * (2 if reaper_too else 1) + 10
    async with programs(tmp_path, scale=scale, controllers=2, database=postgres_url) as made:
        await asyncio.gather(made.simulator(2), *(made.controller(n) for n in made.controllers))
        await asyncio.gather(
            made.gateway(), made.agent("agent-1", ["SIM0001"]), made.agent("agent-2", ["SIM0002"])
        )
        farm = await made.live(["SIM0001", "SIM0002"])
        async with hand(farm) as it:
            await it.offered()
            process_id = await it.warm_up({"routing": "queue"}, watch_seconds=60)
            record = await it.until(process_id, "executing")
            (item,) = record["partial_progress"]["items"]
            doomed = "agent-1" if item["phone_id"] == "ph-sim0001" else "agent-2"
            other = "SIM0002" if doomed == "agent-1" else "SIM0001"

            killed_at = datetime.now(UTC)
            await made.kill(doomed)
            if reaper_too:
                await made.kill("controller")
            await it.phones.wait_for(other, "video_shown", since=0, timeout=promised + 120)
            (ended_at,) = (
                datetime.fromisoformat(event["timestamp"])
                for name in made.controllers
                for event in made.log(name)
                if event["event"] == "lease.expired"
            )

            assert (ended_at - killed_at).total_seconds() < promised
            await it.cancel(process_id, strategy="hard")
            await it.until(process_id, "cancelled")


async def _enqueue(farm: LiveFarm, body: Any) -> tuple[int, bool, dict[str, Any]]:
    """Return status, whether Retry-After was told, and the answer."""
    headers = {"Authorization": f"Bearer {farm.api_key}"}
    url = f"http://{farm.rest}/capability-requests/enqueue"
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(url, json=body) as response,
    ):
        told = int(response.headers.get("Retry-After", "0")) > 0
        return response.status, told, await response.json(content_type=None)


async def _some(found: list[str], count: int) -> bool:
    return len(found) >= count
