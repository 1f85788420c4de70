"""The agent's cable is pulled for 30 to 120 s: fenced in time, and one driver at any moment.

The agent lives in a network namespace of its own; its phones are on sockets of the file system, as
on USB, so that they answer while the controller does not.
"""

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from phonefarm.v1 import fleet_pb2, process_pb2
from phonefarm_common.channel import bearer
from phonefarm_common.timers import Timers
from phonefarm_simulator.farm import Farm as Phones
from phonefarm_simulator.farm import simulated_phones
from phonefarm_simulator.ledger import Entry
from support.agent_processes import agent_process
from support.controller import AGENT_TOKEN, KEY, Farm, farm_on, request
from support.live_farm import eventually
from support.netns import Namespace, namespace
from support.relay import relay

pytestmark = pytest.mark.netns

SCALE = 0.2
CUT_OFF, OTHER = "SIM0001", "SIM0002"


@dataclass(kw_only=True)
class Bench:
    """A controller, two phones, and an agent for each, one of them behind a cable."""

    farm: Farm
    phones: Phones
    cable: Namespace
    folder: Path
    timers: Timers
    scale: float

    async def known(self, serialno: str) -> None:
        """Return once the controller knows the phone."""

        async def look() -> bool:
            answer = await self.farm.fleet.ListPhones(
                fleet_pb2.ListPhonesRequest(), metadata=bearer(KEY)
            )
            return any(phone.serialno == serialno for phone in answer.phones)

        await eventually(look, within=180, what=f"phone {serialno}")

    async def begin(self, *, seconds: float) -> str:
        """Have the feed watched for about so long; return the process once it goes."""
        inputs = {
            "judge_prompt": "any",
            "max_videos": min(200, max(1, round(seconds))),
            "watch_seconds": 1,
        }
        answer = await self.farm.enqueue(
            request(capability="fyp_warmup", inputs_json=json.dumps(inputs))
        )

        async def look() -> bool:
            return len(self.drove(CUT_OFF)) > 2

        await eventually(look, within=180, what="the run's first steps")
        return answer.process_id

    async def ended(self, process_id: str, *, within: float) -> process_pb2.Process:
        """Return the record once the process is terminal."""

        async def look() -> process_pb2.Process | None:
            record = await self.farm.get(process_id)
            return record if record.timestamps.HasField("finished_at") else None

        return await eventually(look, within=within, what="the end of the process")

    def drove(self, serialno: str) -> list[Entry]:
        """Return what runs did on the phone: what only a run's executor does."""
        acts = {"tapped", "swiped", "app_started", "keys_pressed"}
        return [entry for entry in self.phones[serialno].ledger() if entry.kind in acts]

    def executors(self) -> list[Path]:
        """Return the notes of the cut agent's runs that it has not removed."""
        return list(self.folder.glob("cut/state/processes/*.json"))


@asynccontextmanager
async def bench_of(folder: Path, scale: float) -> AsyncIterator[Bench]:
    """Open everything; the agent of OTHER is there, that phone not yet admitted."""
    async with AsyncExitStack() as stack:
        farm = await stack.enter_async_context(
            farm_on(f"sqlite:///{folder}/farm.db", folder / "controller", scale=scale, lapse=scale)
        )
        phones = await stack.enter_async_context(simulated_phones(2, folder / "phones"))
        cable = stack.enter_context(namespace())
        inside, outside = phones[CUT_OFF].address, f"127.0.0.1:{farm.controller.port}"
        usb = str(folder / "usb")
        uplink = await stack.enter_async_context(relay(f"{cable.here}:0", outside))
        await stack.enter_async_context(relay(usb, inside))
        await stack.enter_async_context(cable.relays(f"{inside}={usb}", f"127.0.0.1:7070={uplink}"))
        for name, address, phone, prefix in (
            ("cut", "127.0.0.1:7070", inside, cable.prefix),
            ("other", outside, phones[OTHER].address, ()),
        ):
            (folder / name).mkdir()
            options = ("--runtime", "process", "--connect", phone)
            agent = agent_process(
                address,
                AGENT_TOKEN,
                folder / name,
                *options,
                scale=scale,
                prefix=prefix,
                name=name,
            )
            await stack.enter_async_context(agent)
        bench = Bench(
            farm=farm,
            phones=phones,
            cable=cable,
            folder=folder,
            timers=farm.timers,
            scale=scale,
        )
        await bench.known(CUT_OFF)
        await bench.known(OTHER)
        await farm.admit([CUT_OFF])
        yield bench


SCALES = [SCALE, pytest.param(1.0, marks=(pytest.mark.long, pytest.mark.timeout(600)))]


@pytest.mark.long
async def test_a_short_cut_loses_nothing(tmp_path: Path) -> None:
    """44 s: the run goes on without the controller, and ends as the only attempt.

    At full length: when timers run faster, the time left to the lease is short for a busy machine.
    """
    cut = 44.0
    async with bench_of(tmp_path, 1.0) as bench:
        process_id = await bench.begin(seconds=cut + 15)
        bench.cable.pull()
        pulled = time.monotonic()
        await asyncio.sleep(cut)  # The cut is the fault, not a wait.
        bench.cable.plug()
        record = await bench.ended(process_id, within=120)

        assert record.status == "completed", record
        meanwhile = [e for e in bench.drove(CUT_OFF) if 0 < e.monotonic - pulled < cut]
        assert meanwhile
        assert {entry.epoch for entry in bench.drove(CUT_OFF)} == {1}


@pytest.mark.long
@pytest.mark.parametrize("scale", SCALES)
async def test_a_long_cut_fences_the_agent_before_another_one_drives(
    tmp_path: Path, scale: float
) -> None:
    """70 s: nothing drives the phone. 120 s: another has the work; one driver at any moment."""
    async with bench_of(tmp_path, scale) as bench:
        timers = bench.timers
        process_id = await bench.begin(seconds=140 * scale)
        bench.cable.pull()
        pulled = time.monotonic()

        async def fenced() -> bool:
            return not bench.executors()

        await eventually(fenced, within=timers.self_fence + timers.kill + 10, what="the fence")
        await bench.farm.admit([OTHER])

        async def reclaimed() -> list[Entry]:
            return bench.drove(OTHER)

        elsewhere = await eventually(reclaimed, within=120 * scale + 30, what="the other agent")
        await asyncio.sleep(max(0, pulled + 120 * scale - time.monotonic()))  # The cut's length.
        bench.cable.plug()
        await bench.farm.cancel(process_id)
        await bench.ended(process_id, within=180)

        last = bench.drove(CUT_OFF)[-1]
        # Counted from the sending of a heartbeat that was acknowledged before the cut.
        assert last.monotonic - pulled <= timers.self_fence, "it drove beyond its fence"
        assert last.monotonic - pulled > 20 * scale, "it stopped long before its fence"
        assert elsewhere[0].monotonic > last.monotonic, "two drivers for one account's work"
        assert {entry.epoch for entry in bench.drove(CUT_OFF)} == {1}


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("scale", [1.0])  # scaled, 4 s lie between fence and reclaim: a hiccup
async def test_a_cut_healed_between_fence_and_reclaim_ends_the_run_once(
    tmp_path: Path, scale: float
) -> None:
    """70 s: the agent has fenced itself, says so when it is back, and the work is done anew."""
    async with bench_of(tmp_path, scale) as bench:
        timers = bench.timers
        process_id = await bench.begin(seconds=90 * scale)
        bench.cable.pull()
        pulled = time.monotonic()

        async def fenced() -> bool:
            return not bench.executors()

        await eventually(fenced, within=timers.self_fence + timers.kill, what="the fence")
        await asyncio.sleep(max(0, pulled + 70 * scale - time.monotonic()))  # The cut's length.
        held = await bench.farm.get(process_id)
        bench.cable.plug()
        plugged = time.monotonic()
        record = await bench.ended(process_id, within=300 * scale + 60)

        drove = bench.drove(CUT_OFF)
        first = [entry for entry in drove if entry.epoch == 1]
        second = [entry for entry in drove if entry.epoch == 2]
        assert plugged - pulled < timers.lease_ttl, "it was healed too late to show anything"
        assert held.status == "executing", "the controller had given it up before"
        assert first[-1].monotonic - pulled <= timers.self_fence, "it drove beyond its fence"
        assert second[0].monotonic > plugged, "something drove the phone while it was cut off"
        assert drove == [*first, *second], "two epochs at one phone"
        assert record.status == "completed", record
        told = endings(bench.folder / "farm.db")
        assert [(ended["outcome"], ended["code"]) for ended in told] == [
            ("failed", "agent_fenced"),
            ("done", None),
        ]


def endings(database: Path) -> list[dict[str, str | None]]:
    """Return how each attempt ended, in order; one that ended twice would be there twice."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(
            "SELECT r.attempt, a.body FROM runs r JOIN action_results a USING (run_id)"
            " WHERE a.kind = 'run_ended' ORDER BY r.attempt"
        ).fetchall()
    bodies = [json.loads(body) for _, body in rows]
    return [
        {"outcome": body["outcome"], "code": (body.get("failure") or {}).get("code")}
        for body in bodies
    ]
