"""What is wrong with one phone, one row or one answer stays with that one."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from phonefarm.v1 import agent_pb2, process_pb2
from phonefarm_common.wire_enums import RunOutcome
from phonefarm_controller.model.run_reports import ActionStarted, RunEnded
from support.controller import Farm, played_agent, request
from support.snapshots import snapshot
from support.world import World, world_on


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """Wire a controller's operations; one agent with one admitted phone."""
    async with world_on(database_url) as world:
        await world.furnish("north", "a")
        yield world


async def _write(world: World, sql: str) -> None:
    async with world.database.writing() as tx:
        await tx.connection.exec_driver_sql(sql)


def _for(phone: str) -> process_pb2.EnqueueRequest:
    target = process_pb2.Target(routing=process_pb2.ROUTING_DIRECT, phone_id=f"ph-{phone}")
    return request(target=target)


async def test_a_refusing_phone_is_withdrawn_and_no_other(farm: Farm) -> None:
    """The agent's other phone goes on being worked on; this one waits for a new offer."""
    async with played_agent(farm, "a", "b") as agent:
        await agent.offer()
        await farm.enqueue(_for("a"))
        (refused,) = await agent.assigned()
        await agent.offer()  # it has not noticed yet
        words = agent_pb2.RunRefused(reason="battery_low")
        await agent.report(
            agent.record(refused.run, run_refused=words),
            agent.record(refused.run, phone_released=agent_pb2.PhoneReleased(clean=True)),
        )

        await farm.enqueue(_for("b"))
        (other,) = await agent.assigned()
        await agent.offer("a")
        (again,) = await agent.assigned()

    assert other.phone_id == "ph-b"
    assert again.phone_id == "ph-a"
    assert again.run.attempt == 2


@pytest.mark.parametrize("column", ["ready_at", "deadline_at"])
async def test_an_item_that_cannot_be_moved_keeps_back_no_other(world: World, column: str) -> None:
    """A row that nobody can read, in the middle of a batch that is due."""
    ids = [await world.accept() for _ in range(3)]
    if column == "ready_at":
        await _write(world, "UPDATE queue_items SET state = 'RETRYABLE'")
    await _write(world, f"UPDATE queue_items SET {column} = 1")  # noqa: S608 - our own words
    bad = f"UPDATE queue_items SET failure = 'no json' WHERE process_id = '{ids[1]}'"  # noqa: S608
    await _write(world, bad)
    if column == "ready_at":
        await _write(world, "UPDATE capability_requests SET state = 'RETRYABLE'")
        await _write(world, "UPDATE queue_items SET executed = TRUE")

    moved = await (world.due_items.requeue() if column == "ready_at" else world.due_items.expire())
    again = await (world.due_items.requeue() if column == "ready_at" else world.due_items.expire())

    now = await snapshot(world.database)
    states = {item["process_id"]: item["state"] for item in now.items.values()}
    to = "QUEUED" if column == "ready_at" else "DEAD_LETTER"
    assert (moved, again) == (2, 0)
    assert [states[process_id] == to for process_id in ids] == [True, False, True]


async def test_a_go_that_was_lost_is_not_repeated_behind_the_deadline(world: World) -> None:
    """Nothing was done yet, and nothing is to be done any more; it ends when its agent says so."""
    process_id = await world.accept()
    (run,) = await world.claim(world.offers("north", "a"))
    first = await world.begin(run)
    await _write(world, "UPDATE queue_items SET deadline_at = 1")

    second = await world.begin(run)
    third = await world.begin(run)
    asked = await snapshot(world.database)
    stopped = RunEnded(outcome=RunOutcome.STOPPED, failure=None, exit_code=None)
    await world.tell(run, 1, stopped)

    now = await snapshot(world.database)
    assert first.stop is None
    assert (second.stop, third.stop) == ("deadline_passed", "deadline_passed")
    assert asked.processes[process_id]["state"] == "EXECUTING"
    assert now.processes[process_id]["state"] == "DEAD_LETTER"
    (item,) = now.items.values()
    assert '"class": "expired"' in item["failure"]


async def test_a_go_that_arrives_after_a_repeated_question_is_no_action_after_an_end(
    world: World,
) -> None:
    """The question is repeated while `go` is under way: what the agent says of the run counts."""
    process_id = await world.accept()
    (run,) = await world.claim(world.offers("north", "a"))
    await world.begin(run)
    await _write(world, "UPDATE queue_items SET deadline_at = 1")
    await world.begin(run)

    done = RunEnded(outcome=RunOutcome.DONE, failure=None, exit_code=0)
    await world.tell(run, 1, ActionStarted(index=0, kind="launch_app"), done)

    now = await snapshot(world.database)
    assert now.processes[process_id]["state"] == "DONE"
    assert not any(row["late"] for row in now.results.values())


async def test_a_run_that_has_begun_is_not_stopped_by_its_deadline(world: World) -> None:
    """The deadline is the latest moment for the first action, which was in time."""
    await world.accept()
    (run,) = await world.claim(world.offers("north", "a"))
    await world.begin(run)
    await world.tell(run, 1, ActionStarted(index=0, kind="launch_app"))
    await _write(world, "UPDATE queue_items SET deadline_at = 1")

    again = await world.begin(run)

    assert again.stop is None


async def test_a_run_that_has_begun_and_was_stopped_behind_its_deadline_did_something(
    world: World,
) -> None:
    """Only a run that says nothing but its end did nothing; this one ends as any that crashed."""
    await world.accept()
    (run,) = await world.claim(world.offers("north", "a"))
    await world.begin(run)
    await world.tell(run, 1, ActionStarted(index=0, kind="launch_app"))
    await _write(world, "UPDATE queue_items SET deadline_at = 1")

    await world.tell(run, 2, RunEnded(outcome=RunOutcome.STOPPED, failure=None, exit_code=3))

    (item,) = (await snapshot(world.database)).items.values()
    assert '"code": "run_crashed"' in item["failure"]
    assert item["infra_failures"] == 1


async def test_the_moment_of_the_deadline_is_too_late_for_go(tmp_path: Path) -> None:
    """To an agent, no seconds left are no limit: it would begin whenever it likes."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:  # its clock is the test's
        await world.furnish("north", "a")
        deadline = world.clock.now() + timedelta(seconds=10)
        process_id = await world.accept(deadline=deadline)
        (run,) = await world.claim(world.offers("north", "a"))
        world.clock.advance((deadline - world.clock.now()).total_seconds())

        answer = await world.begin(run)

        now = await snapshot(world.database)
        assert world.clock.now() == deadline
        assert answer.stop == "deadline_passed"
        assert now.processes[process_id]["state"] == "DEAD_LETTER"
