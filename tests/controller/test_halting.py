"""A pause that stops: what runs ends, and waits again as if it had not begun."""

from collections.abc import AsyncIterator

import pytest
from phonefarm_common.reasons import FailureClass
from phonefarm_common.wire_enums import RunOutcome
from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.items import CancelStrategy, Item
from phonefarm_controller.model.pauses import PauseScope
from phonefarm_controller.model.run_reports import (
    ActionDone,
    ActionStarted,
    Assignment,
    PhoneReleased,
    RunEnded,
)
from phonefarm_controller.processes.cancel import CancelRequest
from phonefarm_controller.store import items
from sqlalchemy import text
from support.world import POST, World, posting_allowed, world_on

SCOPES = (
    (PauseScope.ALL, ""),
    (PauseScope.CAPABILITY, POST),
    (PauseScope.APP, "shortvideo"),
    (PauseScope.ACCOUNT, "acc-p1"),
)
POSTING = ActionStarted(index=1, kind="post")
POSTED = ActionDone(index=1, kind="post", outputs="{}", seconds=1.0)
STOPPED = RunEnded(outcome=RunOutcome.STOPPED, failure=None, exit_code=3)
FINISHED = RunEnded(outcome=RunOutcome.DONE, failure=None, exit_code=0)
CLEAN = PhoneReleased(clean=True, reason="", residue=())
BROKEN = Failure(code="selector_not_found", message="", failure_class=FailureClass.WORK, final=True)
LOST = Failure(code="adb_failed", message="", failure_class=FailureClass.INFRA)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """Open a database with one agent and two phones with their accounts; posts are known."""
    with posting_allowed():
        async with world_on(database_url) as world:
            await world.furnish("a", "p1", "p2")
            yield world


async def claimed(world: World, capability: str = POST, serial: str = "p1") -> Assignment:
    """Return a run that is claimed."""
    await world.accept(capability=capability)
    (assignment,) = await world.claim(world.offers("a", serial))
    return assignment


async def going(world: World, capability: str = POST, serial: str = "p1") -> Assignment:
    """Return a run that has passed the start gate."""
    assignment = await claimed(world, capability, serial)
    assert (await world.begin(assignment)).stop is None
    return assignment


async def halt(world: World, scope: PauseScope = PauseScope.ALL, name: str = "") -> int:
    """Pause the scope and stop what runs in it."""
    await world.pauses.pause(scope, name, actor="ada", reason="looks wrong")
    told: int = await world.pauses.stop_running(scope, name, actor="ada", reason="looks wrong")
    return told


async def item_of(world: World, run: Assignment) -> Item:
    """Return the run's item as it is."""
    async with world.database.reading() as tx:
        return (await items.get(tx, [run.run.item_id]))[run.run.item_id]


@pytest.mark.parametrize("scope", SCOPES, ids=lambda scope: str(scope[0]))
async def test_what_runs_is_told_to_end_and_waits_again_uncharged(
    world: World, scope: tuple[PauseScope, str]
) -> None:
    """Gently first, then by force; once it is resumed it is claimed again, as before."""
    run = await going(world)
    other = await going(world, "keyword_warmup", "p2")

    told = await halt(world, *scope)
    stops = [stop for stop in (await world.desire("a")).stops if stop.run == run.run]
    repeated = await world.pauses.stop_running(*scope, actor="ada", reason="again")
    await world.tell(run, 1, STOPPED, CLEAN)
    stopped = await item_of(world, run)
    await world.due_items.requeue()
    held = await world.claim(world.offers("a", "p1"))
    await world.pauses.resume(*scope, actor="ada")
    (again,) = await world.claim(world.offers("a", "p1"))

    everything = scope[0] in {PauseScope.ALL, PauseScope.APP}
    assert (told, repeated) == (2 if everything else 1, 0)
    (stop,) = stops
    assert (stop.strategy, stop.force_after_seconds) == ("soft_then_force", 30.0)
    assert stop.reason == "paused: by ada: looks wrong"
    assert (stopped.state, stopped.work_failures, stopped.infra_failures) == ("RETRYABLE", 0, 0)
    assert (stopped.failure, stopped.cancel) == (None, None)
    assert held == []
    assert (again.run.item_id, again.run.attempt) == (run.run.item_id, 2)
    assert ((await item_of(world, other)).cancel is not None) == everything
    async with world.database.reading() as tx:
        query = text("SELECT actor, subject, reason FROM audit WHERE verb = 'stop'")
        rows = {tuple(row) for row in await tx.connection.execute(query)}
    assert ("ada", " ".join(scope).strip(), f"{told} runs: looks wrong") in rows


async def test_a_post_that_had_begun_is_not_repeated(world: World) -> None:
    """Stopped in the midst of it, nobody knows: the item ends and says so."""
    run = await going(world)
    await world.tell(run, 1, POSTING)
    await halt(world)

    await world.tell(run, 2, STOPPED, CLEAN)

    item = await item_of(world, run)
    assert item.state == "DEAD_LETTER"
    assert item.failure is not None
    assert item.failure.code == "outcome_unknown:post"


async def test_a_post_that_was_made_is_left_out_next_time(world: World) -> None:
    """The item waits for what comes behind the post."""
    run = await going(world)
    await world.tell(run, 1, POSTING, POSTED)
    await halt(world)

    await world.tell(run, 3, STOPPED, CLEAN)

    item = await item_of(world, run)
    assert (item.state, item.once_done) == ("RETRYABLE", (1,))


@pytest.mark.parametrize(
    ("ending", "state", "charged"),
    [
        (FINISHED, "DONE", (0, 0)),
        (RunEnded(outcome=RunOutcome.FAILED, failure=BROKEN, exit_code=1), "DEAD_LETTER", (1, 0)),
        (RunEnded(outcome=RunOutcome.FAILED, failure=LOST, exit_code=1), "RETRYABLE", (0, 1)),
    ],
    ids=["done", "failed", "lost"],
)
async def test_a_run_that_ends_by_itself_meanwhile_ends_as_it_says(
    world: World, ending: RunEnded, state: str, charged: tuple[int, int]
) -> None:
    """The pause takes back what it stopped, not what the work came to."""
    run = await going(world)
    await halt(world)

    await world.tell(run, 1, ending, CLEAN)

    item = await item_of(world, run)
    assert (item.state, (item.work_failures, item.infra_failures)) == (state, charged)


async def test_a_callers_cancel_counts_more_than_a_pause(world: World) -> None:
    """Whichever came first: a cancelled process ends cancelled."""
    first, second = await going(world), await going(world, serial="p2")
    ask = {"reason": "no more", "requested_by": "me", "force_after_seconds": 1.0}
    cancels = [
        CancelRequest(process_id=run.process_id, strategy=CancelStrategy.SOFT, **ask)  # type: ignore[arg-type]
        for run in (first, second)
    ]

    await world.cancel(cancels[0])
    told = await halt(world)
    await world.cancel(cancels[1])
    for run in (first, second):
        await world.tell(run, 1, STOPPED, CLEAN)

    assert told == 1
    assert [str((await item_of(world, run)).state) for run in (first, second)] == ["CANCELLED"] * 2


async def test_a_run_that_is_prepared_is_taken_back_also_when_it_was_resumed(world: World) -> None:
    """Its agent may have been told to stop; at the gate it hears the same."""
    run = await claimed(world)
    await halt(world)
    await world.pauses.resume(PauseScope.ALL, "", actor="ada")

    answer = await world.begin(run)

    item = await item_of(world, run)
    assert answer.stop == "paused"
    assert (item.state, item.cancel, item.work_failures) == ("QUEUED", None, 0)


async def test_a_run_whose_go_was_lost_is_not_started_after_all(world: World) -> None:
    """It asks again, and hears stop as gently as it was meant."""
    run = await going(world)
    await halt(world)

    answer = await world.begin(run)

    assert (answer.stop, answer.strategy) == ("paused", CancelStrategy.SOFT_THEN_FORCE)
