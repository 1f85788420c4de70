"""A phone that is not known clean stays away from work until its agent or an operator says so."""

from pathlib import Path

from phonefarm_common.wire_enums import RunOutcome
from phonefarm_controller.model.run_reports import Assignment, PhoneReleased, RunEnded
from phonefarm_controller.model.states import Health, LeaseState
from support.world import World, world_on

ENDED = RunEnded(outcome=RunOutcome.DONE, failure=None, exit_code=0)
CLEAN = PhoneReleased(clean=True, reason="", residue=())
UNCLEAN = PhoneReleased(clean=False, reason="clean_up_failed: no answer", residue=())


async def going(world: World) -> Assignment:
    """Return a run that has passed the start gate on the only phone."""
    await world.furnish("a", "p1")
    await world.accept()
    (assignment,) = await world.claim(world.offers("a", "p1"))
    await world.begin(assignment)
    return assignment


async def test_an_agent_that_could_not_clean_its_phone_is_not_asked_again(tmp_path: Path) -> None:
    """Its word stands; from then on the phone is the operator's, who gives it back."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        assignment = await going(world)
        await world.tell(assignment, 1, ENDED)
        before = await world.desire("a")

        await world.tell(assignment, 2, UNCLEAN)
        after = await world.desire("a")
        (phone,) = await world.phone_admin.all()
        returned = await world.phone_admin.give_back("ph-p1", actor="test", reason="looked at it")

        assert [stop.run for stop in before.stops] == [assignment.run]
        assert after.stops == ()
        assert phone.lease is not None
        assert phone.lease.state is LeaseState.DIRTY
        assert phone.phone.health is Health.QUARANTINED
        assert returned.lease is None


async def test_a_silent_agent_is_asked_until_it_says_what_became_of_its_phone(
    tmp_path: Path,
) -> None:
    """After its lease expired the agent hears `stop` until it says clean, or that it cannot."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        assignment = await going(world)
        await world.lease_expiry.expire(assignment.run.lease_id, renewals=0)
        before = await world.desire("a")

        await world.tell(assignment, 1, ENDED, UNCLEAN)
        after = await world.desire("a")
        (phone,) = await world.phone_admin.all()

        assert [stop.run for stop in before.stops] == [assignment.run]
        assert after.stops == ()
        assert phone.phone.health_reason == "dirty: clean_up_failed: no answer"


async def test_a_phone_is_freed_although_earlier_words_of_its_run_are_lost(tmp_path: Path) -> None:
    """A restored database lacks what was acknowledged since; only the end is said anew."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        assignment = await going(world)
        behind = await world.tell(assignment, 3, ENDED, CLEAN)
        await world.lease_expiry.forget(
            [assignment.run.lease_id], agent_id="a", term=world.terms["a"]
        )

        acks = await world.tell(assignment, 3, ENDED, CLEAN)
        (phone,) = await world.phone_admin.all()

        assert [ack.sequence for ack in behind] == [0, 0]
        assert [ack.sequence for ack in acks] == [4, 4]
        assert phone.lease is None
