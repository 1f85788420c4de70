"""Reruns: a new process from one that has ended, and never a second post that nobody asked for."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from phonefarm_common.reasons import FailureClass, FarmError
from phonefarm_common.wire_enums import RunOutcome
from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.requests import Routing, Target
from phonefarm_controller.model.run_reports import (
    ActionDone,
    ActionStarted,
    Assignment,
    Body,
    PhoneReleased,
    RunEnded,
)
from phonefarm_controller.processes.content import IngestRequest
from phonefarm_controller.processes.rerun import RerunRequest, RerunResult
from support.snapshots import snapshot
from support.world import POST, World, posting_allowed, world_on

BOTH = Target(routing=Routing.GROUP, phone_ids=("ph-p1", "ph-p2"))
CLEAN = PhoneReleased(clean=True, reason="", residue=())
DONE = RunEnded(outcome=RunOutcome.DONE, failure=None, exit_code=0)
BROKEN = Failure(code="selector_not_found", message="", failure_class=FailureClass.WORK, final=True)
FAILED = RunEnded(outcome=RunOutcome.FAILED, failure=BROKEN, exit_code=1)
POSTING = ActionStarted(index=1, kind="post")
POSTED = ActionDone(index=1, kind="post", outputs="{}", seconds=1.0)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """Open a database with one agent and two phones with their accounts; posts are known."""
    with posting_allowed():
        async with world_on(database_url) as world:
            await world.furnish("a", "p1", "p2")
            yield world


async def act(world: World, serial: str, *bodies: Body) -> Assignment:
    """Let the next work run on the phone, and tell of it."""
    (run,) = await world.claim(world.offers("a", serial))
    assert (await world.begin(run)).stop is None
    await world.tell(run, 1, *bodies, CLEAN)
    return run


async def rerun(world: World, process_id: str, **changes: Any) -> RerunResult:
    """Rerun it by ada's word."""
    values: dict[str, Any] = {"failed_only": False, "not_posted": False, "reason": "mended"}
    made: RerunResult = await world.rerun(
        RerunRequest(process_id=process_id, caller="ada", **(values | changes))
    )
    return made


async def refused(world: World, process_id: str, **changes: Any) -> str:
    """Return why it is not rerun; nothing has changed then."""
    before = await snapshot(world.database)
    with pytest.raises(FarmError) as caught:
        await rerun(world, process_id, **changes)
    assert await snapshot(world.database) == before
    return caught.value.text


async def test_a_failed_process_is_asked_for_once_more(world: World) -> None:
    """The same plan, target and callback; a request id of its own; it can be claimed at once."""
    process_id = await world.accept(request_id="r-1", target_json='{"routing": "queue"}')
    await act(world, "p1", FAILED)

    made = await rerun(world, process_id)
    again = await act(world, "p2", DONE)

    assert (made.request_id, made.items, made.already) == ("r-1~2", 1, False)
    assert again.process_id == made.process_id
    now = await snapshot(world.database)
    old, new = now.processes[process_id], now.processes[made.process_id]
    for name in ("process_type", "system", "target", "inputs", "callback_url", "digest"):
        assert new[name] == old[name]
    assert (new["state"], new["rerun_of"]) == ("DONE", process_id)
    plans = {item["process_id"]: item["plan"] for item in now.items.values()}
    assert plans[made.process_id] == plans[process_id]


async def test_each_timeline_names_the_other(world: World) -> None:
    """By the operator's name."""
    process_id = await world.accept()
    await act(world, "p1", FAILED)

    made = await rerun(world, process_id)

    rows = (await snapshot(world.database)).transitions.values()
    told = {(row["process_id"], row["actor"], row["reason"]) for row in rows}
    assert (process_id, "operator:ada", f"rerun_as:{made.process_id}") in told
    assert (made.process_id, "operator:ada", f"rerun_of:{process_id}") in told


async def test_asking_twice_makes_one_process_and_its_own_rerun_the_next(world: World) -> None:
    """Two operators at once repeat nothing twice."""
    process_id = await world.accept(request_id="r-1")
    await act(world, "p1", FAILED)

    first, second = await rerun(world, process_id), await rerun(world, process_id)
    await act(world, "p1", FAILED)
    third = await rerun(world, first.process_id)

    assert (second.process_id, second.already) == (first.process_id, True)
    assert (third.request_id, third.already) == ("r-1~3", False)


async def test_only_what_failed_of_a_group_is_repeated(world: World) -> None:
    """On the phone and for the account where it failed."""
    process_id = await world.accept(target=BOTH, capability=POST)
    await act(world, "p1", POSTING, POSTED, DONE)
    await act(world, "p2", FAILED)

    whole = await refused(world, process_id)
    made = await rerun(world, process_id, failed_only=True)

    assert whole == "state_conflict:already_posted"
    assert made.items == 1
    items = (await snapshot(world.database)).items.values()
    (item,) = [item for item in items if item["process_id"] == made.process_id]
    assert (item["want_phone_id"], item["want_account_id"]) == ("ph-p2", "acc-p2")


async def test_an_account_that_moved_is_followed(world: World) -> None:
    """Its work is bound to where it is now; one that was made inactive is refused."""
    target = Target(routing=Routing.DIRECT, account_id="acc-p1")
    process_id = await world.accept(target=target)
    await act(world, "p1", FAILED)
    await world.put_account("acc-p1", phone_id=None, active=False)
    inactive = await refused(world, process_id)
    await world.put_account("acc-p2", phone_id=None)
    await world.put_account("acc-p1", phone_id="ph-p2")

    await rerun(world, process_id)
    run = await act(world, "p2", DONE)

    assert inactive == "inactive_account:acc-p1"
    assert run.account_id == "acc-p1"


async def test_a_post_that_may_be_there_needs_somebody_who_looked(world: World) -> None:
    """Only the explicit word makes it again; it stands in the audit."""
    process_id = await world.accept(capability=POST)
    lost = Failure(code="adb_failed", message="", failure_class=FailureClass.INFRA)
    await act(world, "p1", POSTING, RunEnded(outcome=RunOutcome.FAILED, failure=lost, exit_code=1))

    told = await refused(world, process_id, failed_only=True)
    made = await rerun(world, process_id, not_posted=True)

    assert told == "state_conflict:outcome_unknown"
    assert made.items == 1
    async with world.database.reading() as tx:
        rows = await tx.connection.exec_driver_sql("SELECT verb, subject, reason FROM audit")
        audited = [tuple(row) for row in rows]
    assert ("rerun, not posted", process_id, f"as {made.process_id}: mended") in audited


async def test_what_was_posted_is_not_posted_by_any_word(world: World) -> None:
    """Also when what comes behind the post has failed."""
    process_id = await world.accept(capability=POST)
    await act(world, "p1", POSTING, POSTED, FAILED)

    told = [await refused(world, process_id, failed_only=f, not_posted=True) for f in (True, False)]

    assert told == ["state_conflict:already_posted"] * 2


async def test_a_content_becomes_its_rerun(world: World) -> None:
    """Who sends it again is answered with the process that is about it now."""
    ask = IngestRequest(
        account_id="acc-p1",
        content_id="c-1",
        inputs={"video_url": "http://media.example/1.mp4", "caption": "one"},
        callback_url=None,
        metadata="{}",
        not_before=None,
        digest="d",
        caller="crm",
    )
    first = await world.content.ingest(ask)
    await act(world, "p1", FAILED)

    made = await rerun(world, first.process_id)
    repeated = await world.content.ingest(ask)

    assert made.request_id == ""
    assert (repeated.process_id, repeated.duplicate) == (made.process_id, True)


async def test_what_cannot_be_rerun_is_said(world: World) -> None:
    """One that goes on, one without failures, one that nobody knows, a missing reason."""
    running = await world.accept()
    told = [await refused(world, running)]
    await act(world, "p1", DONE)
    told.append(await refused(world, running, failed_only=True))
    told.append(await refused(world, "11111111-1111-1111-1111-111111111111"))
    told.append(await refused(world, running, reason=" "))

    assert told == [
        "state_conflict:PLANNED",
        "state_conflict:nothing_failed",
        "unknown_process",
        "invalid_request",
    ]
