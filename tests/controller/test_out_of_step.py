"""Where what the controller holds and what agents and operators do have come apart."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from phonefarm.v1 import agent_pb2
from phonefarm_common.wire_enums import RunOutcome
from phonefarm_controller.agents.sessions import Session, Sessions, SupersededBy
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.model.errors import DatabaseBusyError
from phonefarm_controller.model.items import CancelStrategy
from phonefarm_controller.model.requests import Routing, Target
from phonefarm_controller.model.run_reports import (
    ActionDone,
    ActionStarted,
    PhoneReleased,
    RunEnded,
    RunRefused,
)
from phonefarm_controller.model.states import Condition, ItemState
from phonefarm_controller.processes.cancel import CancelRequest
from phonefarm_controller.scheduler.claim import Claim, Matches
from phonefarm_controller.store import accounts, agents, items, leases
from phonefarm_controller.store.accounts import Account
from support.controller import farm_on, played_agent
from support.snapshots import snapshot
from support.world import VirtualClock, world_on


async def test_a_run_refused_after_the_gate_is_tried_again_at_once(tmp_path: Path) -> None:
    """An agent that died between asking and writing it down lost the run: nothing waits a TTL."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        await world.furnish("a", "p1")
        await world.accept()
        (assignment,) = await world.claim(world.offers("a", "p1"))
        await world.begin(assignment)

        released = PhoneReleased(clean=True, reason="", residue=())
        await world.tell(assignment, 1, RunRefused(reason="agent_restarted"), released)
        (phone,) = await world.phone_admin.all()
        async with world.database.reading() as tx:
            item = (await items.get(tx, {assignment.run.item_id}))[assignment.run.item_id]

        assert item.state is ItemState.RETRYABLE
        assert item.infra_failures == 1
        assert phone.lease is None


async def test_a_record_behind_a_gap_is_neither_kept_nor_acknowledged(tmp_path: Path) -> None:
    """One record was lost on the way: its agent says it again, and all that came behind it."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        await world.furnish("a", "p1")
        await world.accept()
        (assignment,) = await world.claim(world.offers("a", "p1"))
        await world.begin(assignment)
        first, second, third = (
            ActionStarted(index=0, kind="launch_app"),
            ActionDone(index=0, kind="launch_app", outputs="{}", seconds=1.0),
            ActionStarted(index=1, kind="search"),
        )
        await world.tell(assignment, 1, first)

        gap = await world.tell(assignment, 3, third)
        kept = await snapshot(world.database)
        again = await world.tell(assignment, 2, second, third)
        whole = await snapshot(world.database)

        assert [ack.sequence for ack in gap] == [1]
        assert [row["sequence"] for row in kept.results.values()] == [1]
        assert [ack.sequence for ack in again] == [3, 3]
        assert sorted(row["sequence"] for row in whole.results.values()) == [1, 2, 3]


async def test_a_phone_that_moved_on_does_not_break_its_old_agents_desired_list(
    tmp_path: Path,
) -> None:
    """The claim is still the old agent's until it is taken back; its list can be made."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        await world.furnish("a", "p1")
        await world.accept()
        (assignment,) = await world.claim(world.offers("a", "p1"))
        async with world.database.writing() as tx:
            await agents.disconnect_in_term(tx, "a", world.terms["a"])

        await world.meet("b", "p1")
        desired = await world.desire("a")

        assert [claim.run for claim in desired.claimed] == [assignment.run]
        assert desired.claimed[0].serialno == "p1"


@pytest.mark.parametrize("cleaned", [False, True], ids=["runs", "is cleaned"])
async def test_a_claim_that_looked_before_another_took_the_phone_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, cleaned: bool
) -> None:
    """It asks again behind the locks: nothing is claimed, and nobody is told of trouble."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        await world.furnish("a", "p1")
        await world.accept()
        async with world.database.reading() as tx:
            seen = await world.claim.match(tx, world.offers("a", "p1"))
        await world.accept(priority=9)
        (first,) = await world.claim(world.offers("a", "p1"))
        await world.begin(first)
        if cleaned:
            over = RunEnded(outcome=RunOutcome.DONE, failure=None, exit_code=0)
            await world.tell(first, 1, over)

        async def looked(*_: object) -> Matches:
            return seen

        monkeypatch.setattr(Claim, "match", looked)
        late = await world.claim(world.offers("a", "p1"))

        assert [pair.item_id == first.run.item_id for pair in seen.pairs] == [False]
        assert late == []


@pytest.mark.parametrize(
    "changes",
    [{"condition": Condition.NEEDS_ATTENTION}, {"active": False}, {"phone_id": "ph-p2"}],
    ids=["needs attention", "inactive", "elsewhere"],
)
async def test_a_claim_that_looked_before_its_account_changed_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """What keeps the account from acting came between the look and the locks."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        await world.furnish("a", "p1", "p2")
        await world.accept(target=Target(routing=Routing.DIRECT, account_id="acc-p1"))
        async with world.database.reading() as tx:
            seen = await world.claim.match(tx, world.offers("a", "p1"))
        await world.put_account("acc-p1", **({"phone_id": "ph-p1"} | changes))

        async def looked(*_: object) -> Matches:
            return seen

        monkeypatch.setattr(Claim, "match", looked)
        late = await world.claim(world.offers("a", "p1"))

        assert len(seen.pairs) == 1
        assert late == []


def test_the_session_of_the_higher_term_stays() -> None:
    """One that got its term earlier and comes in later is the one that is told."""
    sessions = Sessions(wakeups=WakeUps(), clock=VirtualClock(), offer_lapses=1.0)
    first = Session(agent_id="a", term=1, incarnation=1)
    second = Session(agent_id="a", term=2, incarnation=1)

    sessions.enter(second)
    sessions.enter(first)

    assert sessions.of("a") is second
    assert second.outbox.empty()
    assert first.outbox.get_nowait() == SupersededBy(by_incarnation=1)


async def test_an_item_whose_account_changed_its_app_holds_nobody_back(tmp_path: Path) -> None:
    """The item behind it on the same phone is claimed."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        await world.furnish("a", "p1")
        await world.put_account("other", phone_id="ph-p1")
        target = Target(routing=Routing.DIRECT, account_id="other")
        await world.accept(target=target)
        world.clock.advance(1)
        process = await world.accept(target=replace(target, account_id="acc-p1"))
        async with world.database.writing() as tx:
            await accounts.put(
                tx, [Account(account_id="other", phone_id="ph-p1", app="another", active=True)]
            )

        claimed = await world.claim(world.offers("a", "p1"))

        assert [assignment.process_id for assignment in claimed] == [process]


async def test_a_verdict_that_was_lost_is_not_repeated_after_a_cancel(tmp_path: Path) -> None:
    """The run asks again, so it has not gone: it hears `stop`, as softly as the caller wished."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        await world.furnish("a", "p1")
        process_id = await world.accept()
        (assignment,) = await world.claim(world.offers("a", "p1"))
        first = await world.begin(assignment)

        ask = CancelRequest(
            process_id=process_id,
            reason="test",
            requested_by="test",
            strategy=CancelStrategy.SOFT,
            force_after_seconds=0.0,
        )
        await world.cancel(ask)
        again = await world.begin(assignment)

        assert first.stop is None
        assert (again.stop, again.strategy) == ("cancelled", CancelStrategy.SOFT)


async def test_trouble_inside_a_session_is_told_as_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that is away makes a session UNAVAILABLE, not INTERNAL with a trace."""

    async def away(*_: object) -> None:
        raise DatabaseBusyError("gone for a moment")

    monkeypatch.setattr(leases, "renew_if_live", away)
    async with (
        farm_on(f"sqlite:///{tmp_path / 'farm.db'}", tmp_path / "data") as farm,
        played_agent(farm, "A1") as agent,
    ):
        await agent.say(heartbeat=agent_pb2.Heartbeat(number=1))

        assert await agent.ended() is grpc.StatusCode.UNAVAILABLE
