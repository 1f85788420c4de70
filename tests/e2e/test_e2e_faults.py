"""Programs killed and frozen in the middle of work; promises looked at where they must hold."""

import asyncio
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from gateway.support.receiver import Receiver
from phonefarm.v1 import process_pb2
from support.live_farm import Hand, eventually, executors, hand, lives
from support.programs import Programs, programs

SCALE = 0.2
LEASE_TTL_SECONDS = 90 * SCALE


async def _farm(made: Programs, agents: dict[str, list[str]], *, phones: int) -> Any:
    """Start simulator, controller, gateway and agents; return the farm of their phones."""
    await asyncio.gather(made.simulator(phones), made.controller())
    await asyncio.gather(made.gateway(), *(made.agent(n, p) for n, p in agents.items()))
    return await made.live({serialno for serialnos in agents.values() for serialno in serialnos})


async def _running(it: Hand, process_id: str) -> dict[str, Any]:
    """Return the item once its run shows a video, with the ledger's entry under `shown`."""
    record = await it.until(process_id, "executing")
    (item,) = record["partial_progress"]["items"]
    phone = next(p for p in it.farm.phones if p.phone_id == item["phone_id"])
    shown = await it.on_screen(phone.serialno)
    return dict(item) | {"shown": shown, "serialno": phone.serialno}


async def _milestones(receiver: Receiver, last: str) -> list[str]:
    """Return what was told, checked for order, once *last* was; a repeat counts once."""

    async def look() -> bool:
        return any(one.event["milestone"] == last for one in receiver.received)

    try:
        await eventually(look, what=f"the callback {last}")
    except AssertionError as error:
        seen = [one.event["milestone"] for one in receiver.received]
        raise AssertionError(f"{error}; there were {seen}") from None
    told: list[tuple[int, str]] = []
    for one in receiver.received:
        event = (one.event["sequence"], one.event["milestone"])
        if not told or event != told[-1]:
            told.append(event)
    assert [sequence for sequence, _ in told] == list(range(1, len(told) + 1))
    return [milestone for _, milestone in told]


@pytest.mark.long
async def test_a_killed_controller_loses_nothing(tmp_path: Path, receiver: Receiver) -> None:
    """Kill -9 in the middle of a run: it goes on, is reported once, and told in order."""
    async with programs(tmp_path, scale=SCALE) as made:
        farm = await _farm(made, {"agent-1": ["SIM0001"]}, phones=1)
        async with hand(farm) as it:
            await it.offered()
            keywords = ["tiny houses", "street food"]
            process_id = await it.warm_up(
                {"routing": "queue"}, url=receiver.url(), keywords=keywords, watch_seconds=2
            )
            waiting_id = await it.warm_up({"routing": "queue"}, watch_seconds=1)
            await _running(it, process_id)

            await made.kill("controller")
            status, problem = await it.call("GET", f"/processes/{process_id}")
            await made.controller()
            record = await it.until(process_id, "completed")
            later = await it.until(waiting_id, "completed")

            assert (status, problem["error"]) == (503, "controller_unavailable")
            assert record["partial_progress"]["items_completed"] == 1
            assert later["partial_progress"]["items_completed"] == 1
            ledger = await it.phones.ledger("SIM0001")
            run_ids = list(dict.fromkeys(e["run"] for e in ledger if e["kind"] == "searched"))
            first = [e for e in ledger if e["kind"] == "searched" and e["run"] == run_ids[0]]
            assert [e["detail"]["query"] for e in first] == keywords
            assert len(run_ids) == 2
            assert await _milestones(receiver, "completed") == [
                "accepted",
                "executing",
                "completed",
            ]


@pytest.mark.long
async def test_a_killed_gateway_still_tells_everything(tmp_path: Path, receiver: Receiver) -> None:
    """Kill -9 of the gateway in the middle of a run: the callbacks come after its restart."""
    async with programs(tmp_path, scale=SCALE) as made:
        farm = await _farm(made, {"agent-1": ["SIM0001"]}, phones=1)
        async with hand(farm) as it:
            await it.offered()
            process_id = await it.warm_up({"routing": "queue"}, url=receiver.url(), watch_seconds=2)
            await _running(it, process_id)
            # Killed between an attempt and its report it would hold the delivery for a minute.
            settled = partial(_settled, tmp_path / "controller" / "farm.db", 2)
            await eventually(settled, what="the report of both callbacks")

            await made.kill("gateway")
            await eventually(
                lambda: _ended(it, process_id), what="the end of the work without a gateway"
            )
            await made.gateway()

            told = await _milestones(receiver, "completed")
            assert told == ["accepted", "executing", "completed"]
            assert (await it.record(process_id))["status"] == "completed"


@pytest.mark.long
async def test_a_killed_agent_takes_its_run_back(tmp_path: Path, receiver: Receiver) -> None:
    """Kill -9 of the agent in the middle of a run, and a restart: the same run completes."""
    async with programs(tmp_path, scale=SCALE) as made:
        farm = await _farm(made, {"agent-1": ["SIM0001"]}, phones=1)
        async with hand(farm) as it:
            await it.offered()
            process_id = await it.warm_up(
                {"routing": "queue"},
                url=receiver.url(),
                keywords=["tiny houses", "street food"],
                watch_seconds=3,
            )
            run = await _running(it, process_id)

            await made.kill("agent-1")
            await made.agent("agent-1", ["SIM0001"])
            record = await it.until(process_id, "completed")

            assert record["partial_progress"]["items"][0]["queue_item_id"] == run["queue_item_id"]
            ledger = await it.phones.ledger("SIM0001")
            runs = {e["run"] for e in ledger if e["kind"] == "searched"}
            assert runs == {run["shown"]["run"]}
            assert await _milestones(receiver, "completed") == [
                "accepted",
                "executing",
                "completed",
            ]


@pytest.mark.long
async def test_an_agent_that_stays_dead_loses_its_lease(tmp_path: Path, receiver: Receiver) -> None:
    """Nobody hears of the run: the lease expires, the item is done by another agent's phone."""
    async with programs(tmp_path, scale=SCALE) as made:
        agents = {"agent-1": ["SIM0001"], "agent-2": ["SIM0002"]}
        farm = await _farm(made, agents, phones=2)
        async with hand(farm) as it:
            await it.offered()
            process_id = await it.warm_up(
                {"routing": "queue"}, url=receiver.url(), watch_seconds=60
            )
            run = await _running(it, process_id)
            doomed, other = ("1", "2") if run["serialno"] == "SIM0001" else ("2", "1")

            await made.kill(f"agent-{doomed}")
            record = await it.until(process_id, "retrying", within=2 * LEASE_TTL_SECONDS)
            again = await it.until(process_id, "executing")
            await it.cancel(process_id, strategy="soft")
            ended = await it.until(process_id, "cancelled")

            assert record["error"]["code"] == "lease_expired"
            assert record["error"]["class"] == "infra"
            assert again["partial_progress"]["items"][0]["phone_id"] == f"ph-sim000{other}"
            assert ended["partial_progress"]["items_cancelled"] == 1
            lost = await it.phone(run["phone_id"])
            assert (lost.health, lost.offered) == ("quarantined", False)
            assert "lease expired" in lost.health_reason
            assert await _milestones(receiver, "cancelled") == [
                "accepted",
                "executing",
                "retrying",
                "executing",
                "cancel_requested",
                "cancelled",
            ]


@pytest.mark.long
async def test_a_frozen_agent_passes_nothing_of_an_old_epoch(tmp_path: Path) -> None:
    """SIGSTOP beyond the TTL, another agent drives the phone, SIGCONT: the old run has no effect.

    The old run goes on meanwhile: what it sends waits in the frozen agent's proxy.
    """
    async with programs(tmp_path, scale=SCALE) as made:
        farm = await _farm(made, {"agent-1": ["SIM0001"]}, phones=1)
        async with hand(farm) as it:
            await it.offered()
            first_id = await it.warm_up(
                {"routing": "direct", "phone_id": "ph-sim0001"},
                keywords=["old one", "old two"],
                watch_seconds=3,
            )
            old = await _running(it, first_id)
            run_id, epoch = old["shown"]["run"], old["shown"]["epoch"]
            old_connection = old["shown"]["connection"]
            made.freeze("agent-1")
            (executor,) = await executors(farm, run_id)

            # The lease expires; another host has the phone now, and somebody looked at it.
            await it.until(first_id, "retrying", within=2 * LEASE_TTL_SECONDS)
            await it.cancel(first_id)
            await it.until(first_id, "cancelled")
            await made.agent("agent-2", ["SIM0001"])
            await eventually(lambda: _owned(it, "agent-2"), what="the phone at its new host")
            await it.give_back("ph-sim0001", "moved to another host")
            before = (await it.phones.ledger("SIM0001"))[-1]["sequence"]
            second_id = await it.warm_up(
                {"routing": "direct", "phone_id": "ph-sim0001"},
                keywords=["new one"],
                watch_seconds=3,
            )
            new = await it.phones.wait_for("SIM0001", "searched", since=before, timeout=180)
            assert lives(executor)
            made.thaw("agent-1")
            await eventually(lambda: _fenced(made), what="the fence of the thawed agent")
            record = await it.until(second_id, "completed")

            assert new["detail"]["query"] == "new one"
            assert new["epoch"] > epoch
            assert record["partial_progress"]["items_completed"] == 1
            ledger = await it.phones.ledger("SIM0001")
            lent = next(e for e in ledger if e["epoch"] == new["epoch"])
            after = [e for e in ledger if e["sequence"] >= lent["sequence"] and e["effect"]]
            assert after
            assert {e["connection"] for e in after} == {new["connection"]}
            assert new["connection"] != old_connection
            assert "old two" not in [e["detail"].get("query") for e in ledger]


async def _ended(it: Hand, process_id: str) -> bool:
    request = process_pb2.GetProcessRequest(process_id=process_id)
    process = await it.controller.call(it.controller.processes.GetProcess, request)
    assert process.status not in {"failed_terminal", "cancelled"}
    return process.status == "completed"


async def _settled(database: Path, count: int) -> bool:
    """Tell whether so many deliveries are delivered; nothing but the database knows."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        query = "SELECT count(*) FROM deliveries WHERE state = 'delivered'"
        (found,) = connection.execute(query).fetchone()
    return bool(found == count)


async def _owned(it: Hand, agent_id: str) -> bool:
    return (await it.phone("ph-sim0001")).agent_id == agent_id


async def _fenced(made: Programs) -> bool:
    """Tell whether the thawed agent knows that it was away too long."""
    return any(event.get("failure") == "agent_fenced" for event in made.log("agent-1"))
