"""Replay: what was settled is sent again, in order, under its old number, by somebody's order."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from controller.test_delivery_leases import DELIVERED, FAILED, GONE, cancel, told
from phonefarm.v1 import callback_pb2, inspect_pb2, inspect_pb2_grpc, process_pb2
from phonefarm_common.channel import bearer
from phonefarm_common.reasons import FarmError, Reason
from phonefarm_common.wire_enums import DeliveryOutcome
from phonefarm_controller.callbacks.delivery import GIVE_UP_SECONDS
from phonefarm_controller.store.deliveries import Delivery
from phonefarm_controller.store.schema.cluster import audit
from sqlalchemy import select
from support.controller import KEY, Farm, request
from support.world import World, submission, world_on

HOUR = 3600.0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Open a farm of one phone, in virtual time."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        await world.furnish("a", "p1")
        yield world


async def states(world: World, process_id: str) -> list[str]:
    """Return the states of the process's deliveries, in order."""
    return [str(one.delivery.state) for one in await world.replay.log(process_id)]


async def send(world: World, *outcomes: DeliveryOutcome) -> list[int]:
    """Let a gateway send what is due, with these outcomes; return the sequences."""
    sent = []
    for outcome in outcomes:
        (lent,) = await world.deliver.lease(limit=10)
        sent.append(lent.sequence)
        await world.deliver.settle(told([lent], outcome))
    return sent


async def rest(world: World) -> list[Delivery]:
    """Deliver all that is due; return it as it was lent."""
    found: list[Delivery] = []
    while lent := await world.deliver.lease(limit=10):
        found += lent
        await world.deliver.settle(told(lent, DELIVERED))
    return found


async def give_up(world: World) -> None:
    """Let what is unsettled fail until it is dead."""
    while True:
        lent = await world.deliver.lease(limit=10)
        await world.deliver.settle(told(lent, FAILED))
        wait = await world.deliver.seconds_until_due()
        if not lent and wait is None:
            return
        world.clock.advance(0.001 if wait is None else wait + 0.001)


async def test_all_that_was_not_delivered_is_sent_again_in_order(world: World) -> None:
    """The ids and numbers are the old ones; what was delivered is left alone."""
    process_id = await world.accept()
    await cancel(world, process_id)
    await send(world, DELIVERED)
    await give_up(world)
    before = {d.delivery.delivery_id for d in await world.replay.log(process_id)}
    assert await states(world, process_id) == ["delivered", "dead", "dead"]

    replayed = await world.replay(process_id, [], actor="olga")
    again = await rest(world)

    assert replayed == [2, 3]
    assert [d.sequence for d in again] == [2, 3]
    assert {d.delivery_id for d in again} < before
    assert await states(world, process_id) == ["delivered"] * 3
    async with world.database.reading() as tx:
        notes = (await tx.connection.execute(select(audit))).mappings().all()
    (noted,) = [row for row in notes if row["verb"] == "replay deliveries"]
    assert (noted["actor"], noted["subject"], noted["reason"]) == ("olga", process_id, "2 3")


async def test_a_delivered_one_is_sent_again_when_it_is_named(world: World) -> None:
    """A receiver that lost its data asks for it."""
    process_id = await world.accept()
    await cancel(world, process_id)
    await rest(world)

    replayed = await world.replay(process_id, [3, 1, 3], actor="test")
    again = await rest(world)

    assert replayed == [1, 3]
    assert [d.sequence for d in again] == [1, 3]


async def test_a_replay_has_a_day_of_its_own_and_begins_with_short_waits(world: World) -> None:
    """The day is counted from its first new attempt, the back-off begins anew."""
    process_id = await world.accept()
    await give_up(world)
    old = (await world.replay.log(process_id))[0].delivery
    world.clock.advance(100 * HOUR)

    await world.replay(process_id, [], actor="test")
    world.clock.advance(30 * HOUR)  # no gateway for longer than a day
    began = world.clock.monotonic()
    await send(world, FAILED)
    first_wait = await world.deliver.seconds_until_due()
    await give_up(world)
    new = (await world.replay.log(process_id))[0].delivery

    assert first_wait == pytest.approx(5, abs=0.01)
    assert new.state == "dead"
    assert GIVE_UP_SECONDS - HOUR <= world.clock.monotonic() - began <= GIVE_UP_SECONDS
    assert new.attempts > old.attempts > 20


@pytest.mark.parametrize("leased", [False, True])
async def test_what_is_still_to_be_sent_cannot_be_replayed(world: World, *, leased: bool) -> None:
    """It would be told twice, and is told anyhow."""
    process_id = await world.accept()
    await cancel(world, process_id)
    await send(world, DELIVERED)
    if leased:
        await world.deliver.lease(limit=1)

    with pytest.raises(FarmError, match="so the farm will still send it") as caught:
        await world.replay(process_id, [1, 2], actor="test")

    assert caught.value.text == "state_conflict:2"
    assert (await states(world, process_id))[0] == "delivered"


async def test_nothing_to_replay_is_a_conflict(world: World) -> None:
    """Also for a process that has nobody to call back."""
    told_all = await world.accept()
    await rest(world)
    silent = await world.accept(callback_url=None)

    for process_id in (told_all, silent):
        with pytest.raises(FarmError) as caught:
            await world.replay(process_id, [], actor="test")
        assert caught.value.text == "state_conflict:nothing_to_replay"


async def test_a_number_that_is_none_is_named(world: World) -> None:
    """Nothing is replayed then, not even what could be."""
    process_id = await world.accept()
    await rest(world)

    for wrong in ([1, 2], [0], [-1]):
        with pytest.raises(FarmError, match="not the number of a delivery") as caught:
            await world.replay(process_id, wrong, actor="test")
        assert caught.value.reason is Reason.INVALID_REQUEST
    assert await states(world, process_id) == ["delivered"]


async def test_after_410_a_replay_opens_the_process_again(world: World) -> None:
    """Until somebody asks nothing is sent; then also what is still to come."""
    process_id = await world.accept()
    (assignment,) = await world.claim(world.offers("a", "p1"))
    await send(world, GONE)
    await world.begin(assignment)
    assert await states(world, process_id) == ["stopped", "stopped"]

    assert await world.replay(process_id, [], actor="test") == [1, 2]
    await cancel(world, process_id)
    again = await rest(world)

    assert [d.sequence for d in again] == [1, 2, 3]
    assert await states(world, process_id) == ["delivered"] * 3


async def test_an_old_one_sent_again_after_410_opens_nothing_else(world: World) -> None:
    """Only who asks for the newest asks for what comes after it."""
    process_id = await world.accept()
    (assignment,) = await world.claim(world.offers("a", "p1"))
    await send(world, GONE)
    await world.begin(assignment)

    await world.replay(process_id, [1], actor="test")
    await cancel(world, process_id)
    await rest(world)

    assert await states(world, process_id) == ["delivered", "stopped", "stopped"]


async def test_410_to_a_replay_closes_the_process_again(world: World) -> None:
    """The receiver's word counts as it did the first time."""
    process_id = await world.accept()
    await cancel(world, process_id)
    await send(world, GONE)

    await world.replay(process_id, [], actor="test")
    sent = await send(world, GONE)

    assert sent == [1]
    assert await states(world, process_id) == ["stopped"] * 3
    assert await world.deliver.lease(limit=10) == []


async def test_a_replay_goes_before_what_comes_later(world: World) -> None:
    """Order per process holds for second chances too."""
    process_id = await world.accept()
    (assignment,) = await world.claim(world.offers("a", "p1"))
    await rest(world)
    await world.begin(assignment)

    await world.replay(process_id, [1], actor="test")
    first = await send(world, FAILED)
    blocked = await world.deliver.lease(limit=10)
    world.clock.advance(5.001)

    assert first == [1]
    assert blocked == []
    assert [d.sequence for d in await rest(world)] == [1, 2]


async def test_the_log_and_the_replay_over_the_wire(farm: Farm) -> None:
    """What an operator reads and asks for, with the codes the proto names."""
    stub: Any = inspect_pb2_grpc.InspectServiceStub(farm.channel)
    process_id = (await farm.enqueue(request())).process_id

    async def listed() -> Sequence[inspect_pb2.DeliveryLine]:
        asked = inspect_pb2.ListDeliveriesRequest(process_id=process_id)
        return list((await stub.ListDeliveries(asked, metadata=bearer(KEY))).deliveries)

    async def replay(of: str, *sequences: int) -> list[int]:
        wish = inspect_pb2.ReplayDeliveriesRequest(process_id=of, sequences=sequences)
        return list((await stub.ReplayDeliveries(wish, metadata=bearer(KEY))).sequences)

    (pending,) = await listed()
    lent = await farm.lease_deliveries()
    with pytest.raises(grpc.aio.AioRpcError, match="so the farm will still send it") as busy:
        await replay(process_id, 1)
    await farm.settle(lent, callback_pb2.DELIVERY_OUTCOME_GONE)
    (stopped,) = await listed()
    replayed = await replay(process_id)
    milestones = await farm.milestones(process_id)
    (delivered,) = await listed()
    with pytest.raises(grpc.aio.AioRpcError) as nothing:
        await replay(process_id)
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await replay("11111111-1111-1111-1111-111111111111")
    with pytest.raises(grpc.aio.AioRpcError) as nonsense:
        await replay("nonsense")

    assert (pending.status, pending.attempts, pending.HasField("due_at")) == ("pending", 0, True)
    assert pending.url == "http://127.0.0.1:9/cb"
    assert stopped.status == "stopped"
    assert not stopped.HasField("due_at")
    assert stopped.HasField("settled_at")
    assert [(a.attempt, a.outcome, a.gateway_id) for a in stopped.log] == [(1, "gone", "gw")]
    assert (replayed, milestones) == ([1], ["accepted"])
    assert delivered.delivery_id == pending.delivery_id
    assert [a.outcome for a in delivered.log] == ["gone", "delivered"]
    assert busy.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert nothing.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
    assert nonsense.value.code() is grpc.StatusCode.NOT_FOUND


async def test_the_password_in_a_callbacks_url_is_for_its_receiver_alone(farm: Farm) -> None:
    """A gateway gets it to send; the record and the log of deliveries show that there is one."""
    stub: Any = inspect_pb2_grpc.InspectServiceStub(farm.channel)
    given = "https://user:p%2Fss@hook.example/a@b?c=d@e"
    callback = process_pb2.Callback(url=given, metadata_json="{}")
    process_id = (await farm.enqueue(request(callback=callback))).process_id

    record = await farm.get(process_id)
    asked = inspect_pb2.ListDeliveriesRequest(process_id=process_id)
    (line,) = (await stub.ListDeliveries(asked, metadata=bearer(KEY))).deliveries
    (lent,) = await farm.lease_deliveries()

    assert lent.url == given
    shown = {record.callback.url, line.url, lent.process.callback.url}
    assert shown == {"https://***@hook.example/a@b?c=d@e"}


def test_submission_is_as_these_tests_think() -> None:
    """They count on one callback per process."""
    assert submission().callback_url == "http://127.0.0.1:9/cb"


async def test_a_receiver_that_takes_nothing_is_named(world: World) -> None:
    """With what waits for it and why; it goes from the list when it takes its callbacks."""
    process_id = await world.accept()
    before = await world.replay.failing_receivers()
    await send(world, FAILED)

    (failing,) = await world.replay.failing_receivers()
    world.clock.advance(HOUR)
    await rest(world)

    assert before == []
    assert (failing.process_id, failing.count) == (process_id, 1)
    assert failing.error
    assert await world.replay.failing_receivers() == []
