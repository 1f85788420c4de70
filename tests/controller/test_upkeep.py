"""What operators do to phones and accounts, and what becomes of the work."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from phonefarm_common.reasons import FailureClass, FarmError
from phonefarm_common.wire_enums import RunOutcome
from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.requests import Routing, Target
from phonefarm_controller.model.run_reports import PhoneReleased, RunEnded
from phonefarm_controller.model.states import Condition, Health, Intent
from phonefarm_controller.store import items, phones
from phonefarm_controller.store.phones import Phone
from support.world import World, world_on

ON_P1 = Target(routing=Routing.DIRECT, phone_id="ph-p1")
ANYWHERE = Target(routing=Routing.QUEUE)
LOGGED_OUT = Failure(
    code="account_logged_out", message="it asks to log in", failure_class=FailureClass.ACCOUNT
)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """Open a database with one agent and two phones with their accounts."""
    async with world_on(database_url) as world:
        await world.furnish("a", "p1", "p2")
        yield world


async def phone(world: World, phone_id: str = "ph-p1") -> Phone:
    """Return the phone as it is."""
    async with world.database.reading() as tx:
        return (await phones.get(tx, [phone_id]))[phone_id]


async def ending(world: World, process_id: str) -> tuple[str, str]:
    """Return the state of the process's one item, and the code of its failure."""
    async with world.database.reading() as tx:
        (line,) = (await items.lines(tx, {process_id}))[process_id]
    return str(line.state), "" if line.failure is None else line.failure.code


async def test_a_phone_in_maintenance_gets_no_work_until_it_is_admitted(world: World) -> None:
    """What waits for it goes on waiting."""
    process_id = await world.accept(target=ON_P1)
    view = await world.phone_admin.maintain("ph-p1", actor="ada", reason="a new battery")

    kept = await world.claim(world.offers("a", "p1"))
    await world.phone_admin.admit("ph-p1", actor="ada")
    claimed = await world.claim(world.offers("a", "p1"))

    assert view.phone.intent is Intent.MAINTENANCE
    assert kept == []
    assert [one.process_id for one in claimed] == [process_id]


async def test_retiring_a_phone_ends_what_waits_for_it_alone(world: World) -> None:
    """Its own work ends at once, with the reason; work for any phone goes to another."""
    own = await world.accept(target=ON_P1)
    anybodys = await world.accept(target=ANYWHERE)

    view = await world.phone_admin.retire("ph-p1", actor="ada", reason="its screen is broken")
    claimed = await world.claim(world.offers("a", "p1", "p2"))

    assert view.phone.health is Health.RETIRED
    assert await ending(world, own) == ("DEAD_LETTER", "phone_unavailable")
    assert [(one.process_id, one.phone_id) for one in claimed] == [(anybodys, "ph-p2")]
    with pytest.raises(FarmError, match="ph-p1"):
        await world.accept(target=ON_P1)


async def test_what_runs_on_a_retired_phone_ends_by_itself(world: World) -> None:
    """And however its phone was left, it stays retired, until somebody returns it."""
    process_id = await world.accept(target=ON_P1)
    (assignment,) = await world.claim(world.offers("a", "p1"))
    await world.begin(assignment)
    await world.phone_admin.retire("ph-p1", actor="ada", reason="its screen is broken")

    await world.tell(
        assignment,
        1,
        RunEnded(outcome=RunOutcome.DONE, failure=None, exit_code=0),
        PhoneReleased(clean=False, reason="its screen is broken", residue=()),
    )
    retired = await phone(world)
    await world.phone_admin.give_back("ph-p1", actor="ada", reason="repaired after all")

    assert (await ending(world, process_id))[0] == "DONE"
    assert retired.health is Health.RETIRED
    assert (await phone(world)).health is Health.GOOD


async def test_an_account_that_is_well_again_works(world: World) -> None:
    """Its work waited meanwhile."""
    first = await world.accept(target=ON_P1)
    (assignment,) = await world.claim(world.offers("a", "p1"))
    await world.begin(assignment)
    await world.tell(
        assignment,
        1,
        RunEnded(outcome=RunOutcome.FAILED, failure=LOGGED_OUT, exit_code=1),
        PhoneReleased(clean=True, reason="", residue=()),
    )
    second = await world.accept(target=ON_P1)
    held = await world.claim(world.offers("a", "p1"))

    account = await world.account_admin.clear("acc-p1", actor="ada", reason="logged in again")
    claimed = await world.claim(world.offers("a", "p1"))

    assert (await ending(world, first))[1] == "account_logged_out"
    assert held == []
    assert account.condition is Condition.OK
    assert [one.process_id for one in claimed] == [second]


VERBS: dict[str, Callable[[World, str, str], Awaitable[object]]] = {
    "maintain": lambda world, subject, why: world.phone_admin.maintain(
        subject, actor="ada", reason=why
    ),
    "retire": lambda world, subject, why: world.phone_admin.retire(
        subject, actor="ada", reason=why
    ),
    "clear": lambda world, subject, why: world.account_admin.clear(
        subject, actor="ada", reason=why
    ),
}


@pytest.mark.parametrize("verb", VERBS)
async def test_a_subject_nobody_knows_and_a_missing_reason_are_refused(
    world: World, verb: str
) -> None:
    """And nothing has changed."""
    before = await phone(world)

    with pytest.raises(FarmError, match="nobody"):
        await VERBS[verb](world, "nobody", "for a test")
    with pytest.raises(FarmError) as refused:
        await VERBS[verb](world, "ph-p1", "  ")

    assert [problem.field for problem in refused.value.problems] == ["reason"]
    assert await phone(world) == before
