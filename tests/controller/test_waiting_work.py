"""Work that waits: for its time, its turn, its phone, its account; and what ends the wait."""

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from phonefarm.v1 import agent_pb2, fleet_pb2, process_pb2
from phonefarm_common.channel import bearer
from phonefarm_common.reasons import FailureClass
from phonefarm_common.wire_enums import RunOutcome
from phonefarm_controller.app import loops
from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.requests import Routing, Target
from phonefarm_controller.model.run_reports import (
    ActionDone,
    ActionStarted,
    PhoneReleased,
    RunEnded,
)
from phonefarm_controller.model.states import Condition, ItemState
from phonefarm_controller.scheduler import dispatcher
from phonefarm_controller.scheduler.ticker import run_ticker
from phonefarm_controller.store import accounts, items
from support.controller import KEY, Farm, PlayedAgent, farm_on, played_agent, request
from support.world import POST, World, posting_allowed, world_on

HOUR = 3600.0


def direct(phone_id: str) -> process_pb2.Target:
    """Return a target of one phone."""
    return process_pb2.Target(routing=process_pb2.ROUTING_DIRECT, phone_id=phone_id)


def moment(seconds: float) -> Timestamp:
    """Return the moment that many seconds from now."""
    stamp = Timestamp()
    stamp.FromDatetime(datetime.now(UTC) + timedelta(seconds=seconds))
    return stamp


async def order_of(agent: PlayedAgent, count: int) -> list[str]:
    """Do what comes, one after the other; return the processes in that order."""
    done = []
    for _ in range(count):
        await agent.offer()
        (assignment,) = await agent.assigned()
        done.append(assignment.process_id)
        await agent.act_out(assignment)
    return done


async def test_priority_goes_first_and_age_decides_among_equals(farm: Farm) -> None:
    """9 before 0; within one, first come first served."""
    asked = [(5, "a"), (0, "b"), (9, "c"), (5, "d"), (9, "e")]
    accepted = {}
    for priority, name in asked:
        accepted[(await farm.enqueue(request(priority=priority))).process_id] = name

    async with played_agent(farm, "A1") as agent:
        done = await order_of(agent, len(asked))

    assert "".join(accepted[process_id] for process_id in done) == "ceadb"


async def test_work_for_later_starts_at_its_moment(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before, and without a poll: the next one would come in an hour."""
    monkeypatch.setattr(dispatcher, "POLL_SECONDS", HOUR)
    monkeypatch.setattr(loops, "run_ticker", _without_polls(run_ticker))
    async with farm_on(database_url, tmp_path / "data") as farm, played_agent(farm, "A1") as agent:
        await agent.offer()
        not_before = moment(0.7)
        await farm.enqueue(request(not_before=not_before))

        (assignment,) = await agent.assigned()
        assigned_at = datetime.now(UTC)
        await agent.act_out(assignment)

    assert assigned_at >= not_before.ToDatetime(UTC) - timedelta(seconds=0.01)


def _without_polls(ticker: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *given, **more: ticker(*given, **(more | {"poll_seconds": HOUR}))


async def test_a_deadline_that_passes_in_the_queue_ends_the_work(farm: Farm) -> None:
    """Nobody was there to do it: deadline_passed, told to the caller; nothing ever executed."""
    accepted = await farm.enqueue(request(deadline=moment(HOUR)))

    await farm.pass_deadline(accepted.process_id)
    record = await farm.until(accepted.process_id, "failed_terminal")

    assert (record.error.code, record.error.failure_class) == ("deadline_passed", "expired")
    assert not record.timestamps.HasField("executing_at")
    assert record.partial_progress.items_failed == 1
    assert await farm.milestones(accepted.process_id) == ["accepted", "failed_terminal"]


async def test_work_without_a_phone_holds_nobody_back(farm: Farm) -> None:
    """The first in line is bound to a phone that is away, of a group nobody is in, or stopped."""
    async with played_agent(farm, "A1", "B1") as agent:
        await farm.fleet.PutGroup(
            fleet_pb2.PutGroupRequest(
                group=fleet_pb2.Group(
                    kind=fleet_pb2.GROUP_KIND_PHONE, name="far", member_ids=["ph-b1"]
                )
            ),
            metadata=bearer(KEY),
        )
        group = process_pb2.Target(routing=process_pb2.ROUTING_QUEUE, phone_group="far")
        await farm.enqueue(request(target=direct("ph-b1"), priority=9))
        await farm.enqueue(request(target=group, priority=9))
        later = request(priority=9, not_before=moment(60))
        await farm.enqueue(later)
        able = await farm.enqueue(request(priority=0))

        await agent.offer("A1")
        (assignment,) = await agent.assigned()

    assert assignment.process_id == able.process_id


async def test_a_refusing_agent_is_not_asked_in_a_hot_loop(farm: Farm) -> None:
    """Each offer is taken at its word once: as many refusals as offers, not one more."""
    async with played_agent(farm, "A1") as agent:
        accepted = await farm.enqueue(request())
        for _ in range(3):
            await agent.offer()
            (assignment,) = await agent.assigned()
            refused = agent_pb2.RunRefused(reason="no shell answer")
            released = agent_pb2.PhoneReleased(clean=True)
            await agent.report(
                agent.record(assignment.run, run_refused=refused),
                agent.record(assignment.run, phone_released=released),
            )
        before = (await farm.get(accepted.process_id)).status

        await asyncio.sleep(0.5)  # time in which nothing may happen
        more = [kind for kind in await _heard(agent) if kind == "assignments"]
        await agent.offer()
        (assignment,) = await agent.assigned()
        await agent.act_out(assignment)
        record = await farm.until(accepted.process_id, "completed")

    assert (before, more) == ("queued", [])
    assert assignment.run.attempt == 4
    assert record.partial_progress.items_completed == 1


async def _heard(agent: PlayedAgent) -> list[str]:
    kinds = [str(message.WhichOneof("body")) for message in agent._kept]
    while not agent.heard.empty():
        kinds.append(str(agent.heard.get_nowait().WhichOneof("body")))
    return kinds


async def test_a_thousand_items_are_taken_and_cancelled_promptly(farm: Farm) -> None:
    """The largest group there is: accepted, read and cancelled in seconds of processor each."""
    serials = [f"q{number}" for number in range(1000)]
    reports = [agent_pb2.PhoneReport(serialno=serial) for serial in serials]
    async with played_agent(farm, agent_id="big") as big:
        await big.say(inventory=agent_pb2.Inventory(phones=reports))
        await big.hear("phone_names")
        async with farm.controller.database.writing() as tx:
            each = [
                accounts.Account(
                    account_id=f"acc-{serial}",
                    phone_id=f"ph-{serial}",
                    app="shortvideo",
                    active=True,
                )
                for serial in serials
            ]
            await accounts.put(tx, each)
        target = process_pb2.Target(
            routing=process_pb2.ROUTING_GROUP, phone_ids=[f"ph-{serial}" for serial in serials]
        )
        clock = [time.process_time()]  # what else the machine does costs nothing here
        accepted = await farm.enqueue(request(target=target))
        clock.append(time.process_time())
        record = await farm.get(accepted.process_id)
        clock.append(time.process_time())
        answer = await farm.cancel(accepted.process_id)
        clock.append(time.process_time())

        assert len(record.queue_item_ids) == 1000
        assert len(answer.cancelled_queue_item_ids) == 1000
        assert answer.process_status == "cancelled"
        assert max(b - a for a, b in pairwise(clock)) < 4
        told = await farm.milestones(accepted.process_id)
        assert told == ["accepted", "cancel_requested", "cancelled"]
        one_more = process_pb2.Target(
            routing=process_pb2.ROUTING_GROUP,
            phone_ids=target.phone_ids,
            account_ids=["nobody"],
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await farm.enqueue(request(target=one_more))
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def state_of(world: World, process_id: str) -> tuple[ItemState, str | None]:
    """Return the state of the process's only item, and its failure's code."""
    async with world.database.writing() as tx:
        (item,) = (await items.lock_of_processes(tx, {process_id})).values()
    return item.state, item.failure.code if item.failure else None


async def test_without_a_deadline_the_wait_ends_after_a_day(tmp_path: Path) -> None:
    """Counted from the moment it became due, not from when it was asked for."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        await world.furnish("a", "p1")
        now = world.clock.now()
        at_once = await world.accept()
        later = await world.accept(not_before=now + timedelta(hours=10))

        states = []
        for hours in (23.9, 0.2, 9.8, 0.2):
            world.clock.advance(hours * HOUR)
            await world.due_items.expire()
            states.append([(await state_of(world, p))[0] for p in (at_once, later)])

        assert states == [
            [ItemState.QUEUED, ItemState.SCHEDULED],
            [ItemState.DEAD_LETTER, ItemState.SCHEDULED],
            [ItemState.DEAD_LETTER, ItemState.SCHEDULED],
            [ItemState.DEAD_LETTER, ItemState.DEAD_LETTER],
        ]
        assert (await state_of(world, later))[1] == "phone_unavailable"


async def test_an_account_that_moved_or_is_busy_keeps_only_its_own_work(tmp_path: Path) -> None:
    """Its items wait; the next item of the same phone has its turn."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        await world.furnish("a", "p1", "p2")
        await world.put_account("second", phone_id="ph-p1")
        mine = await world.accept(target=Target(routing=Routing.DIRECT, account_id="acc-p1"))
        other = await world.accept(target=Target(routing=Routing.DIRECT, account_id="second"))

        await world.put_account("acc-p1", phone_id="ph-p2")  # bound elsewhere since
        (first,) = await world.claim(world.offers("a", "p1"))
        assert first.process_id == other
        assert await world.claim(world.offers("a", "p1", "p2")) == []

        third = await world.accept(target=Target(routing=Routing.DIRECT, account_id="acc-p2"))
        await world.put_account("second", phone_id="ph-p2")  # moved while its run goes on
        busy = await world.accept(
            target=Target(routing=Routing.DIRECT, account_id="second"), priority=9
        )
        (second,) = await world.claim(world.offers("a", "p2"))
        assert second.process_id == third
        assert (await state_of(world, busy))[0] is ItemState.QUEUED
        assert (await state_of(world, mine))[0] is ItemState.QUEUED


async def test_an_account_that_needs_attention_is_never_chosen(tmp_path: Path) -> None:
    """Neither for its own items nor for open ones, until somebody says that it is well."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        await world.furnish("a", "p1")
        bound = await world.accept(target=Target(routing=Routing.DIRECT, phone_id="ph-p1"))
        await world.accept()
        async with world.database.writing() as tx:
            await accounts.needs_attention(tx, "acc-p1", reason="account_challenged")
        world.wakeups.fleet_changed()

        assert await world.claim(world.offers("a", "p1")) == []

        await world.put_account("acc-p1", phone_id="ph-p1", condition=Condition.OK)
        (assignment,) = await world.claim(world.offers("a", "p1"))
        assert assignment.process_id == bound


async def test_an_account_made_inactive_ends_what_waits_for_it_at_once(tmp_path: Path) -> None:
    """What runs goes on; what waits for it alone ends and says why."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        await world.furnish("a", "p1")
        target = Target(routing=Routing.DIRECT, phone_id="ph-p1")
        running = await world.accept(target=target, priority=6)
        waiting = await world.accept(target=target)
        (assignment,) = await world.claim(world.offers("a", "p1"))

        await world.put_account("acc-p1", phone_id="ph-p1", active=False)

        assert assignment.process_id == running
        assert await state_of(world, running) == (ItemState.CLAIMED, None)
        assert await state_of(world, waiting) == (ItemState.DEAD_LETTER, "account_inactive")
        assert (await world.begin(assignment)).stop is None


async def test_a_once_action_that_was_done_is_skipped_by_the_next_attempt(tmp_path: Path) -> None:
    """The plan that the second agent gets names what must not be done again."""
    with posting_allowed():
        async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
            await world.furnish("a", "p1")
            await world.accept(capability=POST)
            (assignment,) = await world.claim(world.offers("a", "p1"))
            await world.begin(assignment)
            lost = Failure(code="adb_failed", message="", failure_class=FailureClass.INFRA)
            await world.tell(
                assignment,
                1,
                ActionStarted(index=1, kind="post"),
                ActionDone(index=1, kind="post", outputs="{}", seconds=1),
                RunEnded(outcome=RunOutcome.FAILED, failure=lost, exit_code=1),
                PhoneReleased(clean=True, reason="", residue=()),
            )
            world.clock.advance(700)
            await world.due_items.requeue()

            (again,) = await world.claim(world.offers("a", "p1"))

    assert json.loads(assignment.plan)["skip"] == []
    assert json.loads(again.plan)["skip"] == [1]
