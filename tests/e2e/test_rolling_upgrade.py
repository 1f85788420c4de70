"""A farm of release 0.1.0 becomes one of today, program by program, while its callers go on."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import pytest
from faults import on_callers, on_phones, on_work
from faults.gathering import journal_of, ledgers_of, rows_of
from faults.history import Arrival, History
from faults.load import ROUTES, Load
from faults.receiving import Receiver
from support.live_farm import TERMINAL, eventually
from support.postgres_server import postgres_server
from support.programs import Programs, programs

OLD = "0.1.0"
AGENTS = {f"agent-{n}": [f"SIM{2 * n - 1:04d}", f"SIM{2 * n:04d}"] for n in (1, 2, 3)}
AT_ONCE = 8
"""So many processes are under way; with six phones, some always wait."""
BETWEEN = 4
"""So many processes are completed from one program's turn to the next one's."""
OF_THE_TIME = {route: often for route, often in ROUTES.items() if route[0] != "post_video"}
"""What 0.1.0 can do."""
PROMISES = (
    on_callers.answered,
    on_callers.kept,
    on_callers.repeated,
    on_callers.told,
    on_work.retried,
    on_work.reported_once,
    on_phones.one_driver,
    on_phones.fenced,
)
"""What can be told of what 0.1.0 wrote: it kept no timeline, and its agent does not note that it
has answered a stop for a run it had forgotten. That no word waits in a journal is seen besides."""


@contextmanager
def _database(engine: str) -> Iterator[str | None]:
    if engine == "sqlite":
        yield None
        return
    with postgres_server() as server, server.database("farm") as url:
        yield url


async def _begin(made: Programs) -> None:
    """Start all as it was: everybody has the one controller that 0.1.0 can be told of."""
    # Release 0.1.0 reads only screens that rest and knows no keyguard.
    await made.simulator(sum(map(len, AGENTS.values())), "--personality", "ideal")
    ways = list(made.controllers.values())
    for turn, name in enumerate((*made.gateways, *AGENTS)):
        made.ways[name] = ways[turn % len(ways)]
    made.releases |= dict.fromkeys((*made.controllers, *made.gateways, *AGENTS), OLD)
    for name in (*made.controllers, *made.gateways, *AGENTS):
        await _start(made, name)


async def _start(made: Programs, name: str) -> None:
    if name in AGENTS:
        await made.agent(name, AGENTS[name])
    elif name in made.gateways:
        await made.gateway(name)
    else:
        await made.controller(name)


async def _completed(arrivals: list[Arrival], count: int) -> None:
    """Return once so many more processes are completed."""
    before = len(_ended(arrivals, "completed"))

    async def look() -> bool:
        return len(_ended(arrivals, "completed")) >= before + count

    await eventually(look, within=180, what=f"the end of {count} processes")


def _ended(arrivals: list[Arrival], *milestones: str) -> set[str]:
    return {arrival.process_id for arrival in arrivals if arrival.milestone in milestones}


async def _rested(folder: Path, load: Load, arrivals: list[Arrival]) -> bool:
    """Tell whether the end of all that was accepted has come, and no agent holds a run."""
    accepted = {ask.answer["process_id"] for ask in load.asks if ask.accepted}
    held = [run for agent in AGENTS for run in journal_of(folder, agent)]
    return accepted <= _ended(arrivals, *TERMINAL) and all(
        run.phase == "forgotten" and not run.unacknowledged for run in held
    )


@pytest.mark.long
@pytest.mark.timeout(420)
@pytest.mark.parametrize("engine", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def test_no_process_fails_and_no_callback_is_lost(tmp_path: Path, engine: str) -> None:
    """Controllers first, the first of them brings the schema; then gateways, then agents."""
    arrivals: list[Arrival] = []
    loads: list[Load] = []

    def heard(arrival: Arrival) -> None:
        arrivals.append(arrival)
        for load in loads:
            load.hear(arrival)

    async with AsyncExitStack() as stack:
        url = stack.enter_context(_database(engine))
        made = await stack.enter_async_context(
            programs(tmp_path, controllers=1 if url is None else 2, gateways=2, database=url)
        )
        await _begin(made)
        farm = await made.live({serial for phones in AGENTS.values() for serial in phones})
        receiver = await stack.enter_async_context(Receiver.serving(farm.webhook_secret, heard))
        load = Load(
            farm=farm,
            gateways=tuple(made.gateways.values()),
            seed=1,
            callbacks=(receiver.url,),
            routes_drawn=OF_THE_TIME,
            deadlines=False,
            at_once=AT_ONCE,
        )
        loads.append(load)
        over = asyncio.Event()
        asking = asyncio.create_task(load.run(over))
        for name in (*made.controllers, *made.gateways, *AGENTS):
            await _completed(arrivals, BETWEEN)
            await made.end(name)
            made.releases.pop(name)
            made.ways.pop(name, None)  # those of today take every controller
            await _start(made, name)
        await _completed(arrivals, BETWEEN)
        over.set()
        await asking
        await eventually(lambda: _rested(tmp_path, load, arrivals), within=120, what="rest")
        ended = made.ended()
        await made.stop()
        history = History(
            asks=tuple(load.asks),
            rows=await rows_of(url or f"sqlite:///{tmp_path / 'controller' / 'farm.db'}"),
            ledgers=ledgers_of(tmp_path),
            arrivals=tuple(arrivals),
            journal=tuple(run for agent in AGENTS for run in journal_of(tmp_path, agent)),
        )

    states = {row["state"] for row in history.rows.processes.values()}
    assert ended == []
    assert states <= {"DONE", "CANCELLED"}
    assert [found for promise in PROMISES for found in promise(history)] == []
    assert {one.answered for one in arrivals} == {204}
