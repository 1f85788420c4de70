"""Who moved what and why: the rows that each operation leaves in the timeline."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from phonefarm_common.reasons import FailureClass
from phonefarm_common.wire_enums import RunOutcome
from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.items import CancelStrategy
from phonefarm_controller.model.requests import Routing, Target
from phonefarm_controller.model.run_reports import Assignment, PhoneReleased, RunEnded, RunRefused
from phonefarm_controller.processes.cancel import CancelRequest
from support.snapshots import snapshot
from support.world import World, submission, world_on

CLEAN = PhoneReleased(clean=True, reason="", residue=())
DONE = RunEnded(outcome=RunOutcome.DONE, failure=None, exit_code=0)
TIRED = Failure(code="app_crashed", message="it crashed", failure_class=FailureClass.WORK)
FAILED = RunEnded(outcome=RunOutcome.FAILED, failure=TIRED, exit_code=1)

Step = tuple[str, str, str, str]  # who (i: item, p: process), to, actor, reason


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """Wire a controller's operations; one agent with one admitted phone."""
    async with world_on(database_url) as world:
        await world.furnish("north", "a")
        yield world


async def _steps(world: World, process_id: str, *, behind: int = 2) -> list[Step]:
    """Return the process's timeline behind its first rows, its making."""
    rows = await _rows(world, process_id)
    return [
        ("i" if row["item_id"] else "p", row["to_state"], row["actor"], row["reason"])
        for row in rows[behind:]
    ]


async def _rows(world: World, process_id: str) -> list[Any]:
    now = await snapshot(world.database)
    ordered = [now.transitions[number] for number in sorted(now.transitions)]
    return [row for row in ordered if row["process_id"] == process_id]


async def _overdue(world: World, column: str) -> None:
    """Let the moment have come, also where the clock is the database's own."""
    async with world.database.writing() as tx:
        statement = f"UPDATE queue_items SET {column} = 1"  # noqa: S608 - our own words
        await tx.connection.exec_driver_sql(statement)


async def _claimed(world: World) -> Assignment:
    (assignment,) = await world.claim(world.offers("north", "a"))
    return assignment


async def _begun(world: World) -> Assignment:
    assignment = await _claimed(world)
    assert (await world.begin(assignment)).stop is None
    return assignment


def _wish(process_id: str, strategy: CancelStrategy = CancelStrategy.SOFT) -> CancelRequest:
    return CancelRequest(
        process_id=process_id,
        reason="changed my mind",
        requested_by="me",
        strategy=strategy,
        force_after_seconds=0,
        caller="shop",
    )


async def test_a_run_that_goes_well_is_told_from_the_making_to_the_end(world: World) -> None:
    """Each step names who made it, the attempt, the phone and the account."""
    process_id = await world.accept(caller="shop")

    run = await _begun(world)
    await world.tell(run, 1, DONE, CLEAN)

    rows = await _rows(world, process_id)
    assert await _steps(world, process_id, behind=0) == [
        ("p", "PLANNED", "caller:shop", "accepted"),
        ("i", "QUEUED", "caller:shop", "accepted"),
        ("i", "CLAIMED", "controller", "claimed"),
        ("p", "CLAIMED", "controller", "claimed"),
        ("i", "EXECUTING", "agent:north", "started"),
        ("p", "EXECUTING", "agent:north", "started"),
        ("i", "DONE", "agent:north", "done"),
        ("p", "DONE", "agent:north", "done"),
    ]
    told = [(r["attempt"], r["phone_id"], r["account_id"]) for r in rows if r["item_id"]]
    assert told == [(0, None, None), *[(1, "ph-a", "acc-a")] * 3]


async def test_callers_of_one_batch_are_told_apart(world: World) -> None:
    """A batch is one transaction and may come from many."""
    batch = [submission(caller=name, request_id=name) for name in ("shop", "lab")]

    answers = await world.enqueue(batch)

    for name, answer in zip(("shop", "lab"), answers, strict=True):
        assert not isinstance(answer, Exception)
        made = [row["actor"] for row in await _rows(world, answer.process_id)]
        assert made == [f"caller:{name}"] * 2


async def test_agents_of_one_batch_are_told_apart(world: World) -> None:
    """So are those whose records are taken together, and their gates."""
    await world.furnish("south", "b")
    ids = [await world.accept() for _ in range(2)]
    offers = [*world.offers("north", "a"), *world.offers("south", "b")]
    runs = await world.claim(offers)
    for run in runs:
        assert (await world.begin(run)).stop is None

    for run in runs:
        await world.tell(run, 1, DONE)

    actors = {row["actor"] for p in ids for row in await _rows(world, p) if row["attempt"]}
    assert actors == {"controller", "agent:north", "agent:south"}


async def test_a_failed_attempt_and_the_end_of_its_back_off_are_told(world: World) -> None:
    """The failure's code is the reason, of the item's move and of the process's."""
    process_id = await world.accept()
    run = await _begun(world)

    await world.tell(run, 1, FAILED, CLEAN)
    await _overdue(world, "ready_at")
    await world.due_items.requeue()

    assert (await _steps(world, process_id, behind=6)) == [
        ("i", "RETRYABLE", "agent:north", "app_crashed"),
        ("p", "RETRYABLE", "agent:north", "app_crashed"),
        ("i", "QUEUED", "controller", "backoff_over"),
    ]


async def test_a_refusal_is_told_with_the_agents_words(world: World) -> None:
    """Also what no database holds, cut to what is kept."""
    process_id = await world.accept()
    run = await _claimed(world)

    await world.tell(run, 1, RunRefused(reason="battery\0" + "x" * 1000))

    item, process = await _steps(world, process_id, behind=4)
    assert item[:3] == ("i", "QUEUED", "agent:north")
    assert item[3].startswith("refused:battery\ufffdxxx")
    assert len(item[3]) == 500
    assert process == ("p", "PLANNED", "agent:north", item[3])


async def test_a_claim_that_did_not_start_in_time_is_told(world: World) -> None:
    """The reaper acts for the controller."""
    process_id = await world.accept()
    run = await _claimed(world)

    await world.lease_expiry.void(run.run.lease_id)

    steps = await _steps(world, process_id, behind=4)
    assert steps[0] == ("i", "QUEUED", "controller", "not_started_in_time")


async def test_a_lease_that_expired_is_told(world: World) -> None:
    """The item waits for another attempt because of it."""
    process_id = await world.accept()
    run = await _begun(world)

    await world.lease_expiry.expire(run.run.lease_id, renewals=0)

    steps = await _steps(world, process_id, behind=6)
    assert steps[0] == ("i", "RETRYABLE", "controller", "lease_expired")


async def test_a_cancel_of_what_waits_is_told_with_the_callers_reason(world: World) -> None:
    """Item and process end by the caller's hand."""
    process_id = await world.accept()

    await world.cancel(_wish(process_id))

    assert await _steps(world, process_id) == [
        ("i", "CANCELLED", "caller:shop", "changed my mind"),
        ("p", "CANCELLED", "caller:shop", "changed my mind"),
    ]


async def test_a_wish_that_moves_nothing_yet_is_told_once(world: World) -> None:
    """The agent ends it later; a second, stronger wish is no second row."""
    process_id = await world.accept()
    run = await _begun(world)

    await world.cancel(_wish(process_id))
    await world.cancel(_wish(process_id, CancelStrategy.HARD))
    await world.tell(run, 1, RunEnded(outcome=RunOutcome.STOPPED, failure=None, exit_code=3))

    assert await _steps(world, process_id, behind=6) == [
        ("p", "EXECUTING", "caller:shop", "cancel_requested"),
        ("i", "CANCELLED", "agent:north", "changed my mind"),
        ("p", "CANCELLED", "agent:north", "changed my mind"),
    ]


async def test_a_passed_deadline_is_told(world: World) -> None:
    """Time is the controller's."""
    process_id = await world.accept()
    await _overdue(world, "deadline_at")

    await world.due_items.expire()

    steps = await _steps(world, process_id)
    assert [step[2:] for step in steps] == [("controller", "phone_unavailable")] * 2


async def test_an_account_made_inactive_is_told_as_the_operators_act(world: World) -> None:
    """Its waiting items end by the operator's hand."""
    target = Target(routing=Routing.DIRECT, phone_id="ph-a")
    process_id = await world.accept(target=target)

    await world.put_account("acc-a", phone_id="ph-a", active=False)

    steps = await _steps(world, process_id)
    assert [step[2:] for step in steps] == [("operator:test", "account_inactive")] * 2


async def test_a_transaction_that_fails_tells_nothing(world: World) -> None:
    """What is noted goes with what it tells of."""
    before: Sequence[Any] = list((await snapshot(world.database)).transitions)
    bad = Target(routing=Routing.DIRECT, phone_id="ph-nobody")

    (answer,) = await world.enqueue([submission(target=bad)])

    assert isinstance(answer, Exception)
    assert list((await snapshot(world.database)).transitions) == before
