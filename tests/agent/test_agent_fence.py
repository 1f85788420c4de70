"""When the controller is silent, gone, or has somebody else: the agent fences itself."""

import asyncio
from pathlib import Path

import pytest
from phonefarm.v1 import agent_pb2 as pb
from phonefarm_agent.app.agent import run_agent
from phonefarm_agent.app.lifecycle import ExitCode
from phonefarm_agent.app.settings import Settings
from phonefarm_agent.app.state_dir import StateBusyError, raise_incarnation
from phonefarm_common.clock import SystemClock
from phonefarm_common.timers import Timers
from support.agents import AgentMaker, assignment
from support.controller_script import Heard, ScriptedController


async def test_without_acknowledged_heartbeats_a_run_is_ended_in_time(
    controller: ScriptedController, agent: AgentMaker, timers: Timers
) -> None:
    """No acknowledgement: the run ends `agent_fenced`, counted from the last acknowledged beat."""
    clock = SystemClock()
    async with agent():
        heard = controller.heard
        await heard.until(heard.offered)
        work = assignment(seconds=60.0, ignore_stop=True)
        await controller.assign(work)
        await heard.until(lambda: "action_started" in heard.story(work.run.run_id))

        controller.manners.acknowledge_beats = False
        silent_since = clock.monotonic()
        ended = await heard.until(lambda: heard.ended(work.run.run_id))
        took = clock.monotonic() - silent_since

        assert ended.failure.code == "agent_fenced"
        assert ended.failure.failure_class == pb.FAILURE_CLASS_INFRA
        assert took <= timers.self_fence + timers.kill


@pytest.mark.long
async def test_acknowledged_heartbeats_keep_a_run_alive_beyond_the_fence(
    controller: ScriptedController, agent: AgentMaker, timers: Timers
) -> None:
    """Every acknowledgement renews the lease: a run outlives the fence's time twice over."""
    async with agent():
        heard = controller.heard
        await heard.until(heard.offered)
        work = assignment(actions=1, seconds=2.2 * timers.self_fence)

        await controller.assign(work)
        ended = await heard.until(lambda: heard.ended(work.run.run_id))

        assert ended.outcome == pb.RUN_OUTCOME_DONE
        beats = [m.heartbeat for m in heard.messages if m.WhichOneof("body") == "heartbeat"]
        assert sum(work.run in beat.runs for beat in beats) >= 5
        assert [beat.number for beat in beats] == list(range(1, len(beats) + 1))


async def test_a_lost_lease_ends_its_run_only(
    controller: ScriptedController, agent: AgentMaker
) -> None:
    """A run named in `lost` ends at once, its neighbour goes on."""
    async with agent():
        heard = controller.heard
        await heard.until(heard.offered)
        lost = assignment(seconds=60.0)
        other = assignment("DUMMY0002", actions=1, seconds=1.5)
        await controller.assign(lost, other)
        await heard.until(lambda: "action_started" in heard.story(lost.run.run_id))

        controller.manners.lost.add(lost.run.run_id)
        ended = await heard.until(lambda: heard.ended(lost.run.run_id))
        fine = await heard.until(lambda: heard.ended(other.run.run_id))

        assert ended.failure.code == "agent_fenced"
        assert fine.outcome == pb.RUN_OUTCOME_DONE


async def test_a_run_survives_a_short_absence_of_the_controller(
    controller: ScriptedController, agent: AgentMaker
) -> None:
    """A controller that is back before the fence finds the run held, and lets it go on."""
    async with agent():
        heard = controller.heard
        await heard.until(heard.offered)
        work = assignment(actions=1, seconds=2.0)
        await controller.assign(work)
        await heard.until(lambda: "action_started" in heard.story(work.run.run_id))

        await controller.stop_serving()
        await controller.start()
        await heard.until(lambda: len(heard.hellos) == 2)
        ended = await heard.until(lambda: heard.ended(work.run.run_id))

        held = heard.hellos[1].held_runs
        assert [(run.run, run.going, run.ended) for run in held] == [(work.run, True, False)]
        assert ended.outcome == pb.RUN_OUTCOME_DONE


async def test_a_stop_verdict_at_reconnect_ends_the_run(
    controller: ScriptedController, agent: AgentMaker
) -> None:
    """What the controller no longer wants is stopped as soon as they talk again."""
    async with agent():
        heard = controller.heard
        await heard.until(heard.offered)
        work = assignment(actions=1, seconds=60.0)
        await controller.assign(work)
        await heard.until(lambda: "action_started" in heard.story(work.run.run_id))

        stop = pb.Stop(reason="run_unknown", strategy=pb.STOP_STRATEGY_HARD)
        controller.manners.verdicts = lambda hello: [
            pb.RunVerdict(run=held.run, stop=stop) for held in hello.held_runs
        ]
        await controller.stop_serving()
        await controller.start()
        ended = await heard.until(lambda: heard.ended(work.run.run_id))

        assert ended.outcome == pb.RUN_OUTCOME_STOPPED


async def test_an_agent_superseded_twice_gives_up(
    controller: ScriptedController, agent: AgentMaker
) -> None:
    """It registers once more, then ends what it holds and exits with its own code."""
    async with agent() as running:
        heard = controller.heard
        await heard.until(heard.offered)
        over = pb.ControllerMessage(superseded=pb.Superseded(by_incarnation=9))

        await controller.say(over)
        await heard.until(lambda: len(heard.hellos) == 2)
        await heard.until(lambda: heard.messages[-1].WhichOneof("body") == "offer")
        await controller.say(over)
        async with asyncio.timeout(180):
            code = await running.task

        assert code is ExitCode.SUPERSEDED
        assert len(heard.hellos) == 2


@pytest.mark.parametrize("reason", ["identity_cloned", "agent_too_old:0.1.0", "time_scale_differs"])
async def test_a_refused_agent_exits(
    controller: ScriptedController, agent: AgentMaker, reason: str
) -> None:
    """A refusal that cannot change by waiting is told by the exit code."""
    controller.manners.refuse = reason

    async with agent() as running, asyncio.timeout(180):
        code = await running.task

    assert code is ExitCode.REFUSED


async def test_a_controller_that_never_welcomes_is_left_and_tried_again(
    controller: ScriptedController, agent: AgentMaker
) -> None:
    """A stream without Welcome is given up for a new one; nothing else is said before it."""
    controller.manners.welcome = False
    async with agent():
        heard = controller.heard
        await heard.until(lambda: len(heard.hellos) == 2)
        early = [message.WhichOneof("body") for message in heard.messages]

        controller.manners.welcome = True
        await heard.until(heard.offered)

    assert set(early) == {"hello"}


async def test_each_start_raises_the_incarnation(
    controller: ScriptedController, agent: AgentMaker
) -> None:
    """A restarted agent wins over what is left of its former session."""
    heard = controller.heard
    for number in (1, 2):
        async with agent():
            await heard.until(lambda n=number: len(heard.hellos) == n)  # type: ignore[misc]

    assert [hello.incarnation for hello in heard.hellos] == [1, 2]
    assert len({hello.boot_id for hello in heard.hellos}) == 1


async def test_a_clean_stop_says_goodbye_and_ends_dummy_runs(
    controller: ScriptedController, agent: AgentMaker
) -> None:
    """Runs that cannot outlive the agent are ended, told and acknowledged before Goodbye."""
    async with agent() as running:
        heard = controller.heard
        await heard.until(heard.offered)
        work = assignment(seconds=60.0, ignore_stop=True)
        await controller.assign(work)
        await heard.until(lambda: "action_started" in heard.story(work.run.run_id))

        code = await running.stop()

        ended = heard.ended(work.run.run_id)
        assert code is ExitCode.STOPPED
        assert ended is not None
        assert ended.failure.failure_class == pb.FAILURE_CLASS_INFRA
        assert heard.messages[-1].WhichOneof("body") == "goodbye"


async def test_two_agents_cannot_share_a_state_directory(
    controller: ScriptedController, agent: AgentMaker
) -> None:
    """The second is refused by name before it has done anything."""
    async with agent() as running:
        await controller.heard.until(controller.heard.offered)

        with pytest.raises(StateBusyError, match="another agent"):
            await run_agent(running.settings, asyncio.Event())


async def test_without_a_controller_the_agent_waits(settings: Settings, agent: AgentMaker) -> None:
    """An agent whose controller is away keeps trying and stops when told."""
    async with agent(controllers=("127.0.0.1:9",)) as running:
        code = await running.stop()

    assert code is ExitCode.STOPPED
    assert raise_incarnation(Path(settings.state)) == 2


async def test_an_agent_of_another_farm_offers_nothing(
    controller: ScriptedController, agent: AgentMaker
) -> None:
    """What its state directory holds is not mixed with a new farm's; back home it works again."""
    home = controller.farm
    heard = controller.heard
    async with agent():
        await heard.until(heard.offered)
    controller.farm = "another-farm"
    heard = controller.heard = Heard()
    async with agent():
        await heard.until(lambda: len(heard.hellos) == 1)
        work = assignment()
        await controller.assign(work)
        refused = await heard.until(lambda: heard.refused(work.run.run_id))
        abroad = heard.offered()
    controller.farm = home
    heard = controller.heard = Heard()
    async with agent():
        await heard.until(heard.offered)

    assert refused == f"farm_changed:{home}"
    assert abroad == []
