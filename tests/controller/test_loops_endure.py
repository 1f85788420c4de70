"""One row that cannot be handled costs itself only: no loop dies of it, and no controller."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from phonefarm_controller.agents.offers import OfferedPhone
from phonefarm_controller.alarms import Liveness
from phonefarm_controller.runs.lease_reaper import LeaseReaper, held_leases
from phonefarm_controller.scheduler.claim import Claim
from phonefarm_controller.scheduler.ticker import run_ticker
from support.controller import farm_on, played_agent, request
from support.world import VirtualClock, seen_phone, world_on


async def test_a_phone_that_cannot_be_claimed_for_spoils_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others of its batch get their work, and the controller lives."""
    match = Claim.match

    async def break_at_bad(self: Claim, tx: Any, offers: list[OfferedPhone]) -> Any:
        if any(offer.phone_id == "ph-bad" for offer in offers):
            raise OverflowError("a row nobody thought of")
        return await match(self, tx, offers)

    monkeypatch.setattr(Claim, "match", break_at_bad)
    async with (
        farm_on(f"sqlite:///{tmp_path / 'farm.db'}", tmp_path / "data") as farm,
        played_agent(farm, "BAD", "GOOD") as agent,
    ):
        accepted = await farm.enqueue(request())
        await agent.offer()
        (assignment,) = await agent.assigned()
        await agent.act_out(assignment)
        await farm.until(accepted.process_id, "completed")

        assert assignment.phone_id == "ph-good"


async def test_a_lease_that_cannot_be_ended_does_not_keep_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reaper ends what it can and comes back to the rest."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        await world.furnish("a", "p1", "p2")
        await world.accept()
        await world.accept()
        claimed = await world.claim(world.offers("a", "p1", "p2"))
        watched = await held_leases(world.database)
        bad = watched[0].lease.lease_id
        void = world.lease_expiry.void
        voided: list[str] = []

        async def break_at_bad(lease_id: str) -> bool:
            if lease_id == bad:
                raise OverflowError("a row nobody thought of")
            voided.append(lease_id)
            return await void(lease_id)

        monkeypatch.setattr(world.lease_expiry, "void", break_at_bad)
        clock = VirtualClock()
        reaper = LeaseReaper(
            database=world.database,
            expiry=world.lease_expiry,
            timers=world.timers,
            clock=clock,
        )
        await reaper.check()
        clock.advance(world.timers.start + 1)
        await reaper.check()

        assert voided == [a.run.lease_id for a in claimed if a.run.lease_id != bad]


async def test_the_ticker_goes_on_after_a_fault(tmp_path: Path) -> None:
    """A round that fails is told, and the next one comes."""

    class DueItems:
        """Fails where it can."""

        rounds = 0

        async def requeue(self, *, tenure: object) -> int:
            """Fail, and stop the test at the third time."""
            self.rounds += 1
            if self.rounds > 2:
                raise asyncio.CancelledError
            raise OverflowError("a row nobody thought of")

        async def expire(self, *, tenure: object) -> int:
            """Fail."""
            raise OverflowError("a row nobody thought of")

        async def next_due(self) -> float | None:
            """Wait for nothing."""
            return None

    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        due_items: Any = DueItems()
        with pytest.raises(asyncio.CancelledError):
            await run_ticker(
                Liveness(1),
                None,
                due_items=due_items,
                health_expiry=world.health_expiry,
                golden_jobs=world.golden_jobs,
                wakeups=world.wakeups,
                poll_seconds=0.001,
            )

        assert due_items.rounds == 3


async def test_a_phone_with_an_impossible_epoch_is_refused_by_name(tmp_path: Path) -> None:
    """No epoch could be above it, so it could never be driven safely again."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        await world.meet("a", "p1")
        reports = [seen_phone("p1", epoch=2**63 - 1), seen_phone("p2")]

        names = await world.inventory("a", world.terms["a"], reports)

        assert names is not None
        assert "epoch" in names[0].refused
        assert names[1].refused == ""
