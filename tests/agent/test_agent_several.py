"""An agent with two controllers: whichever fails is left for the other, and nothing is lost."""

from collections.abc import AsyncIterator
from functools import partial

import pytest
from phonefarm.v1 import agent_pb2 as pb
from phonefarm_common.config import ConfigError
from phonefarm_common.endpoints import EndpointSelector, parse_controllers
from phonefarm_common.timers import Timers
from support.agents import AgentMaker, assignment
from support.controller_script import ScriptedController, scripted_controller

TWO_PHONES = ["DUMMY0001", "DUMMY0002"]
WHOLE_STORY = ["action_started", "action_done"] * 2 + ["run_ended", "phone_released"]


class _Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
async def other(timers: Timers) -> AsyncIterator[ScriptedController]:
    """Serve as a second controller of the same farm."""
    async with scripted_controller(timers) as scripted:
        yield scripted


async def test_a_run_goes_on_when_its_controller_dies(
    controller: ScriptedController, other: ScriptedController, agent: AgentMaker
) -> None:
    """The other one hears of the run as held, gets every record once, and ends it."""
    async with agent(controllers=(controller.address, other.address)):
        first, second = await _met(controller, other)
        work = assignment(seconds=1.0)
        await first.assign(work)
        await first.heard.until(lambda: "action_started" in first.heard.story(work.run.run_id))

        await first.stop_serving()
        ended = await second.heard.until(lambda: second.heard.ended(work.run.run_id))

        assert ended.outcome == pb.RUN_OUTCOME_DONE
        assert [held.run for held in second.heard.hellos[0].held_runs] == [work.run]
        before, after = (each.heard.records[work.run.run_id] for each in (first, second))
        whole = {**before, **after}
        assert [whole[n].WhichOneof("body") for n in sorted(whole)] == WHOLE_STORY
        assert all(before[number] == after[number] for number in before.keys() & after.keys())


async def test_a_controller_that_refuses_is_left_for_the_other(
    controller: ScriptedController, other: ScriptedController, agent: AgentMaker
) -> None:
    """One that takes no agents now does not keep its agents from working."""
    controller.manners.refuse = "database_away"

    async with agent(controllers=(controller.address, other.address)):
        await other.heard.until(lambda: other.heard.offered() == TWO_PHONES)

    assert other.heard.hellos


async def test_an_agent_stays_with_whom_it_has_while_that_one_answers(
    controller: ScriptedController, other: ScriptedController, agent: AgentMaker
) -> None:
    """A controller that comes back takes nobody away from where they are."""
    async with agent(controllers=(controller.address, other.address)):
        first, second = await _met(controller, other)
        await first.stop_serving()
        await second.heard.until(lambda: second.heard.offered() == TWO_PHONES)

        await first.start()
        work = assignment()
        await second.assign(work)
        await second.heard.until(lambda: second.heard.ended(work.run.run_id))

        assert len(first.heard.hellos) == 1
        assert len(second.heard.hellos) == 1


async def _met(
    one: ScriptedController, two: ScriptedController
) -> tuple[ScriptedController, ScriptedController]:
    """Return the controller that the agent chose, and the other."""
    while not one.heard.hellos and not two.heard.hellos:
        await _any_hello(one, two)
    first, second = (one, two) if one.heard.hellos else (two, one)
    await first.heard.until(lambda: first.heard.offered() == TWO_PHONES)
    return first, second


async def _any_hello(one: ScriptedController, two: ScriptedController) -> None:
    """Return once either has heard something, or a moment has passed."""
    for each in (one, two):
        try:
            await each.heard.until(partial(_hellos, each), seconds=0.05)
        except TimeoutError:
            continue
        return


def _hellos(controller: ScriptedController) -> list[pb.Hello]:
    return controller.heard.hellos


def test_many_agents_spread_over_the_list() -> None:
    """Chance decides where each begins."""
    targets = ("a:1", "b:1", "c:1", "d:1")

    begun = [
        EndpointSelector(targets, monotonic=_Clock(), chance=iter([number / 8]).__next__).current
        for number in range(8)
    ]

    assert begun == [target for target in targets for _ in range(2)]


def test_who_failed_rests_longer_each_time_and_is_not_forgotten() -> None:
    """The next one is called; when all have failed, whoever rested longest."""
    clock = _Clock()
    choice = EndpointSelector(("a:1", "b:1"), monotonic=clock, chance=lambda: 0.5)
    choice.answered("a:1")

    choice.failed("a:1")
    choice.failed("a:1")  # a call that was under way together with the first
    turned = choice.current
    clock.seconds = 0.5
    choice.failed("b:1")
    both_failed = choice.current
    clock.seconds = 2.5
    choice.failed("a:1")
    clock.seconds = 4.0
    still_resting = choice.current

    assert turned == "b:1"
    assert both_failed == "a:1"
    assert still_resting == "b:1"


def test_the_one_that_answers_stays_chosen() -> None:
    """An address that comes back is a place to go, not a reason to leave."""
    clock = _Clock()
    choice = EndpointSelector(("a:1", "b:1"), monotonic=clock, chance=lambda: 0.0)
    choice.failed("a:1")
    choice.answered("b:1")

    clock.seconds = 1000.0

    assert choice.current == "b:1"


def test_addresses_are_read_with_commas_and_again() -> None:
    """Each once, in their order; what is none is named."""
    read = parse_controllers(["a:1, b:2", "a:1", "[::1]:3"], name="--controller")

    with pytest.raises(ConfigError, match="--controller must be HOST:PORT"):
        parse_controllers([""], name="--controller")
    with pytest.raises(ConfigError, match="--controller must be HOST:PORT, not 'b'"):
        parse_controllers(["a:1,b"], name="--controller")
    assert read == ("a:1", "b:2", "[::1]:3")
