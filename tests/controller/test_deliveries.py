"""Callbacks to send: in order, again after a loss, with patience that ends."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from phonefarm.v1 import callback_pb2
from phonefarm_common.timers import Timers
from phonefarm_common.tracing import Tracer
from phonefarm_common.wire_enums import DeliveryOutcome, RunOutcome
from phonefarm_controller.callbacks.delivery import (
    GIVE_UP_SECONDS,
    CallbackDelivery,
    DeliveryReport,
)
from phonefarm_controller.callbacks.gateway_calls import GatewayCalls
from phonefarm_controller.model.items import CancelStrategy
from phonefarm_controller.model.records import line_of, record_of
from phonefarm_controller.model.run_reports import PhoneReleased, RunEnded
from phonefarm_controller.model.states import ItemState
from phonefarm_controller.processes.cancel import CancelRequest
from phonefarm_controller.rpc.callback_service import POLL_SECONDS, CallbackService
from phonefarm_controller.rpc.errors import Context
from phonefarm_controller.store import deliveries
from phonefarm_controller.store.deliveries import Delivery
from support.histories import new_item, new_process
from support.world import World, world_on

DELIVERED, FAILED, GONE = (
    DeliveryOutcome.DELIVERED,
    DeliveryOutcome.FAILED,
    DeliveryOutcome.GONE,
)
HOUR = 3600.0
LEASE_SECONDS = Timers().callback_lease


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Open a farm of one phone, in virtual time."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        await world.furnish("a", "p1")
        yield world


def told(
    lent: Delivery, outcome: DeliveryOutcome, *, retry_after: float = 0, token: str | None = None
) -> DeliveryReport:
    """Return a gateway's word on the attempt."""
    return DeliveryReport(
        delivery_id=lent.delivery_id,
        lease_token=token or lent.lease_token or "",
        outcome=outcome,
        http_status=0,
        error="connection refused",
        retry_after_seconds=retry_after,
    )


async def cancel(world: World, process_id: str) -> None:
    """Ask to cancel, which is told at once."""
    await world.cancel(
        CancelRequest(
            process_id=process_id,
            reason="test",
            requested_by="tester",
            strategy=CancelStrategy.SOFT,
            force_after_seconds=1,
        )
    )


async def log_of(world: World, process_id: str) -> list[tuple[int, str, str]]:
    """Return (sequence, milestone, state) of everything the process has to tell."""
    async with world.database.reading() as tx:
        kept = await deliveries.of_process(tx, process_id)
    return [(delivery.sequence, delivery.milestone, delivery.state) for delivery in kept]


async def test_a_process_is_told_in_order_and_others_are_not_held_up(world: World) -> None:
    """One at a time per process, many processes at a time."""
    first, second = await world.accept(), await world.accept()
    await cancel(world, first)

    wave = await world.deliver.lease(limit=10)
    none = await world.deliver.lease(limit=10)
    await world.deliver.settle([told(lent, DELIVERED) for lent in wave])
    rest = []
    while lent := await world.deliver.lease(limit=10):
        rest += [(d.process_id, d.sequence, d.milestone) for d in lent]
        await world.deliver.settle([told(delivery, DELIVERED) for delivery in lent])

    assert {(d.process_id, d.milestone) for d in wave} == {
        (first, "accepted"),
        (second, "accepted"),
    }
    assert none == []
    assert rest == [(first, 2, "cancel_requested"), (first, 3, "cancelled")]


async def test_a_lost_lease_is_a_repeat_and_not_the_next_one(world: World) -> None:
    """A gateway that vanished costs its lease; its late word changes nothing."""
    process_id = await world.accept()
    await cancel(world, process_id)
    (vanished,) = await world.deliver.lease(limit=10)

    world.clock.advance(LEASE_SECONDS - 1)
    early = await world.deliver.lease(limit=10)
    world.clock.advance(2)
    (again,) = await world.deliver.lease(limit=10)
    late = await world.deliver.settle([told(vanished, GONE)])
    strange = await world.deliver.settle([told(again, DELIVERED, token="guessed")])
    good = await world.deliver.settle([told(again, DELIVERED), told(again, DELIVERED)])

    assert early == []
    assert (again.delivery_id, again.sequence, again.attempts) == (vanished.delivery_id, 1, 2)
    assert again.lease_token != vanished.lease_token
    assert (late, strange, good) == ([], [], [again.delivery_id])
    assert (await world.deliver.lease(limit=10))[0].sequence == 2


async def test_a_failed_attempt_is_tried_again_later_and_later(world: World) -> None:
    """5 s, 15 s, 45 s ... at most an hour; nothing later of the process goes first."""
    process_id = await world.accept()
    await cancel(world, process_id)
    waits = []
    for _ in range(9):
        (lent,) = await world.deliver.lease(limit=10)
        assert lent.sequence == 1
        await world.deliver.settle([told(lent, FAILED)])
        wait = await world.deliver.seconds_until_due()
        assert wait is not None
        waits.append(wait)
        world.clock.advance(wait - 0.001)
        assert await world.deliver.lease(limit=10) == []
        world.clock.advance(0.002)

    assert [round(wait) for wait in waits] == [5, 15, 45, 135, 405, 1215, 3600, 3600, 3600]


@pytest.mark.parametrize(
    ("asked", "kept"),
    [(0.0, 5.0), (2.0, 5.0), (120.0, 120.0), (10 * HOUR, HOUR), (float("inf"), HOUR)],
)
async def test_a_receiver_that_names_a_time_is_left_alone_until_then(
    world: World, asked: float, kept: float
) -> None:
    """Retry-After is honoured up to an hour, and never makes us sooner."""
    await world.accept()
    (lent,) = await world.deliver.lease(limit=10)

    await world.deliver.settle([told(lent, FAILED, retry_after=asked)])

    assert await world.deliver.seconds_until_due() == pytest.approx(kept, abs=0.01)


async def test_after_a_day_it_is_dead_and_the_next_one_has_its_turn(world: World) -> None:
    """The day is counted from its own first attempt, however long it waited before."""
    process_id = await world.accept()
    await cancel(world, process_id)
    world.clock.advance(30 * HOUR)  # no gateway for longer than a day
    began = world.clock.monotonic()

    while True:
        (lent,) = await world.deliver.lease(limit=10)
        await world.deliver.settle([told(lent, FAILED)])
        if (await log_of(world, process_id))[0][2] == "dead":
            break
        world.clock.advance(await world.deliver.seconds_until_due() or 0)
    passed = world.clock.monotonic() - began
    (next_one,) = await world.deliver.lease(limit=10)

    assert GIVE_UP_SECONDS - HOUR < passed <= GIVE_UP_SECONDS
    assert next_one.sequence == 2
    assert next_one.attempts == 1


async def test_a_receiver_that_is_gone_hears_nothing_more(world: World) -> None:
    """410 ends what waits, and also what is still to come of that process; it stays on record."""
    gone = await world.accept(priority=6)
    other = await world.accept()
    (assignment,) = await world.claim(world.offers("a", "p1"))
    lent = await world.deliver.lease(limit=10)
    mine = next(delivery for delivery in lent if delivery.process_id == gone)

    await world.deliver.settle([told(mine, GONE)])
    await world.begin(assignment)
    done = RunEnded(outcome=RunOutcome.DONE, failure=None, exit_code=0)
    await world.tell(assignment, 1, done, PhoneReleased(clean=True, reason="", residue=()))
    await cancel(world, other)

    assert assignment.process_id == gone
    assert await log_of(world, gone) == [
        (1, "accepted", "stopped"),
        (2, "executing", "stopped"),
        (3, "completed", "stopped"),
    ]
    world.clock.advance(LEASE_SECONDS + 1)
    assert {d.process_id for d in await world.deliver.lease(limit=10)} == {other}


async def test_large_records_are_handed_out_a_few_at_a_time(world: World) -> None:
    """A group's record may have a thousand items; an answer must fit in a message."""
    metadata = json.dumps({"padding": "x" * 250_000})
    for _ in range(40):
        await world.accept(callback_metadata=metadata)

    rounds = []
    while lent := await world.deliver.lease(limit=100):
        rounds.append(len(lent))
        await world.deliver.settle([told(delivery, DELIVERED) for delivery in lent])

    assert sum(rounds) == 40
    assert 1 < max(rounds) <= 12
    await world.accept(callback_metadata=json.dumps({"padding": "x" * 4_000_000}))
    assert len(await world.deliver.lease(limit=100)) == 1


async def test_a_delivery_made_while_a_gateway_looks_is_handed_out_at_once(world: World) -> None:
    """Between the look that found nothing and the wait for news nothing is missed."""

    class Looking(CallbackDelivery):
        async def seconds_until_due(self) -> float | None:
            await world.accept()
            return None

    deliver = Looking(
        database=world.database, wakeups=world.wakeups, time_scale=1.0, lease_seconds=60
    )
    edge = CallbackService(
        deliver=deliver, wakeups=world.wakeups, gateway_calls=GatewayCalls(), tracer=Tracer()
    )
    # Who may call is decided before; the service only asks who it is.
    told = SimpleNamespace(auth_context=dict, peer=lambda: "ipv4:127.0.0.1:1")
    context = cast("Context", told)

    async with asyncio.timeout(POLL_SECONDS / 2):
        answer = await edge.LeaseDeliveries(
            callback_pb2.LeaseDeliveriesRequest(gateway_id="gw", limit=1, wait_seconds=20), context
        )

    assert [delivery.milestone for delivery in answer.deliveries] == ["accepted"]


def test_outputs_too_large_for_a_message_are_named_instead() -> None:
    """A record always fits: what is left out of its result is said."""
    items = [
        new_item(n, state=ItemState.DONE, outputs=json.dumps({"titles": "x" * 900_000}))
        for n in range(5)
    ]

    record = record_of(new_process(), [line_of(item) for item in items])
    result = json.loads(record["result_json"])

    assert list(result["items"]) == ["i0", "i1"]
    assert result["omitted_queue_item_ids"] == ["i2", "i3", "i4"]
    assert len(json.dumps(record)) < 3_000_000
