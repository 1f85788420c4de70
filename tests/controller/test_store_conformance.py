"""What the store promises, on each engine."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from phonefarm_controller.model.leases import Lease, ended, revoked, stopped
from phonefarm_controller.model.run_reports import ActionStarted, Assignment
from phonefarm_controller.model.states import DeliveryState, ItemState, LeaseState, ProcessState
from phonefarm_controller.store import deliveries, delivery_leases, items, leases, processes, runs
from phonefarm_controller.store.bulk_writes import LostRowError
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.deliveries import Delivery
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from support.histories import new_process
from support.world import World, world_on

MINUTE = timedelta(minutes=1)
DETAILS = {"mode": "manual", "digest": "d", "target": "{}", "inputs": "{}", "verification": False}
FORBIDDEN = (
    "UPDATE capability_requests SET state = 'LOST'",
    "UPDATE capability_requests SET state = 'DONE'",
    "UPDATE capability_requests SET finished_at = 1",
    "UPDATE queue_items SET state = 'LOST'",
    "UPDATE queue_items SET state = 'DONE'",
    "UPDATE queue_items SET finished_at = 1",
    "UPDATE queue_items SET lease_id = NULL",
    "UPDATE queue_items SET phone_id = NULL",
    "UPDATE queue_items SET process_id = 'nobody'",
    "UPDATE queue_items SET profile_version = 'nobody'",
    "UPDATE runs SET state = 'LOST'",
    "UPDATE runs SET item_id = 'nobody'",
    "UPDATE leases SET state = 'LOST'",
    "UPDATE leases SET state = 'ended'",
    "UPDATE leases SET phone_held = FALSE",
    "UPDATE leases SET run_id = 'nobody'",
    "UPDATE phones SET health = 'LOST'",
    "UPDATE phones SET intent = 'LOST'",
    "UPDATE phones SET transport = 'LOST'",
    "UPDATE phones SET readiness = 'LOST'",
    "UPDATE phones SET serialno = 'same'",
    "UPDATE accounts SET condition = 'LOST'",
    "UPDATE deliveries SET state = 'LOST'",
    "UPDATE action_results SET late = NULL",
)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """Open a database with one agent, two phones and their accounts."""
    async with world_on(database_url) as world:
        await world.furnish("a", "p1", "p2")
        yield world


async def claimed(world: World) -> Assignment:
    """Enqueue and claim one item."""
    await world.accept()
    (assignment,) = await world.claim(world.offers("a", "p1"))
    return assignment


async def lease_of(tx: Transaction, assignment: Assignment) -> Lease:
    """Return the assignment's lease."""
    return (await leases.get(tx, [assignment.run.lease_id]))[assignment.run.lease_id]


def fresh_process(number: int, *, request_id: str = "same", **changes: Any) -> Any:
    """Return a process that is not in the database."""
    return replace(new_process(), process_id=f"00-{number}", request_id=request_id, **changes)


async def test_a_key_is_taken_once(world: World) -> None:
    """The second insert of a key says so, within a transaction and across two."""
    details = {f"00-{n}": DETAILS for n in range(4)}
    twins = [fresh_process(0), fresh_process(1)]
    async with world.database.writing() as tx:
        first = await processes.insert_if_new(tx, twins, details)
    async with world.database.writing() as tx:
        other_request = fresh_process(3, request_id="other")
        second = await processes.insert_if_new(tx, [fresh_process(2), other_request], details)
        found = await processes.originals_of(tx, [_key(twins[0])])

    assert first == {"00-0"}
    assert second == {"00-3"}
    assert found[_key(twins[0])].process.process_id == "00-0"


def _key(process: Any) -> tuple[str, str, str]:
    return (process.process_type, process.system, process.request_id)


async def test_a_row_that_moved_meanwhile_is_not_overwritten(world: World) -> None:
    """A save whose condition no longer holds raises, and nothing of its transaction stays."""
    assignment = await claimed(world)
    item_id, run_id = assignment.run.item_id, assignment.run.run_id
    async with world.database.reading() as tx:
        item = (await items.get(tx, [item_id]))[item_id]
        process = await processes.get(tx, assignment.process_id)
        run = (await runs.get(tx, [run_id]))[run_id]
        lease = await lease_of(tx, assignment)
    assert process is not None
    wrong_item = replace(item, state=ItemState.QUEUED)
    wrong_process = replace(process, state=ProcessState.DONE)
    wrong_run = replace(run, last_sequence=7)
    wrong_lease = replace(lease, state=LeaseState.DIRTY)

    for save, before, after in (
        (items.save, {item_id: wrong_item}, item),
        (processes.save, {process.process_id: wrong_process}, process),
        (runs.save, {run_id: wrong_run}, run),
        (leases.save, {lease.lease_id: wrong_lease}, lease),
    ):
        with pytest.raises(LostRowError):
            await _saved(world, save, before, after)
    async with world.database.reading() as tx:
        assert (await tx.connection.execute(text("SELECT count(*) FROM groups"))).scalar() == 0


async def _saved(world: World, save: Any, before: Any, after: Any) -> None:
    async with world.database.writing() as tx:
        await tx.connection.execute(text("INSERT INTO groups VALUES ('phone', 'g', 'm')"))
        await save(tx, before, [after])


async def test_a_phone_and_an_account_have_one_lease_that_holds_them(world: World) -> None:
    """The database refuses the second, whoever asks; an ended one holds nothing."""
    assignment = await claimed(world)
    async with world.database.reading() as tx:
        lease = await lease_of(tx, assignment)
    second = replace(lease, lease_id="second")

    for too_much in (replace(second, phone_id="ph-p2"), replace(second, account_id="acc-p2")):
        with pytest.raises(IntegrityError):
            await _granted(world, too_much)

    async with world.database.writing() as tx:
        over = ended(lease, now=tx.now, reason="test")
        await leases.save(tx, {lease.lease_id: lease}, [over])
    await _granted(world, second)


async def _granted(world: World, lease: Lease) -> None:
    async with world.database.writing() as tx:
        await leases.grant(tx, [lease])


async def test_only_a_live_lease_is_renewed(world: World) -> None:
    """Another agent or epoch, and what was taken from its run, is lost; a clean-up is not."""
    assignment = await claimed(world)
    lease_id, epoch = assignment.run.lease_id, assignment.run.epoch

    async def renewed(agent_id: str = "a", epoch: int = epoch) -> tuple[bool, int]:
        async with world.database.writing() as tx:
            kept = await leases.renew_if_live(tx, agent_id, {lease_id: epoch})
            return lease_id in kept, (await lease_of(tx, assignment)).renewals

    assert await renewed() == (True, 1)
    assert await renewed(agent_id="b") == (False, 1)
    assert await renewed(epoch=epoch + 1) == (False, 1)
    async with world.database.writing() as tx:
        lease = await lease_of(tx, assignment)
        await leases.save(tx, {lease_id: lease}, [revoked(lease, reason="taken")])
    assert await renewed() == (False, 1)
    async with world.database.writing() as tx:
        lease = await lease_of(tx, assignment)
        await leases.save(tx, {lease_id: lease}, [stopped(lease)])
    assert await renewed() == (True, 1)


async def test_a_lease_is_unrenewed_only_at_the_counter_that_was_seen(world: World) -> None:
    """Compare and set: a renewal between the look and the deed saves the lease."""
    assignment = await claimed(world)
    async with world.database.writing() as tx:
        assert await leases.unrenewed(tx, assignment.run.lease_id, renewals=0)
        assert not await leases.unrenewed(tx, assignment.run.lease_id, renewals=1)
        assert not await leases.unrenewed(tx, "nobody", renewals=0)


async def test_only_the_oldest_unsettled_delivery_of_a_process_is_due(world: World) -> None:
    """A later one waits for the earlier, whether that is pending, leased or not yet due."""
    first, second = await world.accept(), await world.accept(callback_url=None)
    async with world.database.writing() as tx:
        (oldest,) = await deliveries.of_process(tx, first)
        later = [replace(oldest, delivery_id=f"d{n}", sequence=n) for n in (2, 3)]
        await deliveries.insert(tx, later)

    assert await due(world) == [oldest.delivery_id]
    await moved(world, oldest.delivery_id, due_at=oldest.due_at + MINUTE)
    assert await due(world) == []
    await moved(world, oldest.delivery_id, state=DeliveryState.LEASED)
    assert await due(world) == []
    await moved(world, oldest.delivery_id, due_at=oldest.due_at)
    assert await due(world) == [oldest.delivery_id]  # a lease that has lapsed
    for settled in (DeliveryState.DELIVERED, DeliveryState.DEAD):
        await moved(world, oldest.delivery_id, state=settled)
        assert await due(world) == ["d2"]
    async with world.database.writing() as tx:
        assert await deliveries.of_process(tx, second) == []
        await deliveries.stop_remaining(tx, [first])
    assert await due(world) == []


async def due(world: World) -> list[str]:
    """Return the ids that can be leased now."""
    async with world.database.writing() as tx:
        return [
            delivery.delivery_id
            for delivery in await delivery_leases.lock_due(tx, limit=10, per_receiver=8)
        ]


async def moved(world: World, delivery_id: str, **changes: Any) -> None:
    """Change the delivery, whatever it was."""
    async with world.database.writing() as tx:
        rows = await tx.connection.execute(text("SELECT process_id FROM deliveries"))
        known: dict[str, Delivery] = {}
        for process_id in set(rows.scalars()):
            known |= {d.delivery_id: d for d in await deliveries.of_process(tx, process_id)}
        await deliveries.save(tx, known, [replace(known[delivery_id], **changes)])


async def test_the_database_refuses_what_no_table_of_moves_allows(world: World) -> None:
    """The rules stand in the schema as well, for hands other than ours."""
    assignment = await claimed(world)
    await world.begin(assignment)
    await world.tell(assignment, 1, ActionStarted(index=0, kind="launch_app"))

    for statement in FORBIDDEN:
        with pytest.raises(IntegrityError):
            await _performed(world, statement)


async def _performed(world: World, statement: str) -> None:
    async with world.database.writing() as tx:
        result = await tx.connection.execute(text(statement))
        pytest.fail(f"allowed for {result.rowcount} rows: {statement}")


async def test_every_moment_and_word_comes_back_as_it_went_in(world: World) -> None:
    """Microseconds, every plane of Unicode, and NUL as the one thing that does not."""
    words = "\u0130 \U0001f4f1 \u202e \t\n ' \" \\ %s :name {} \ud7ff"
    process_id = await world.accept(user=words, requested_by_metadata='{"a": "\\u00e4"}')
    odd = await world.accept(user="a\0b")
    async with world.database.reading() as tx:
        kept, replaced = await processes.get(tx, process_id), await processes.get(tx, odd)
    assert kept is not None
    assert replaced is not None
    far = kept.created_at.replace(year=2200, microsecond=999_999)
    async with world.database.writing() as tx:
        await processes.save(tx, {process_id: kept}, [replace(kept, executing_at=far)])
        again = await processes.get(tx, process_id)

    assert (kept.user, replaced.user) == (words, "a\ufffdb")
    assert again == replace(kept, executing_at=far)
