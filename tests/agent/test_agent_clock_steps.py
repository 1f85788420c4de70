"""The agent's wall clock is set forward or back by an hour under a run: nothing is fenced."""

import pytest
from phonefarm.v1 import agent_pb2 as pb
from phonefarm_agent.app.settings import Settings
from support.agents import assignment, running_agent
from support.controller_script import ScriptedController
from support.stepped import SteppedClock


@pytest.mark.parametrize("hours", [pytest.param(1, id="forward"), pytest.param(-1, id="back")])
async def test_a_step_stops_no_run(
    controller: ScriptedController,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    hours: int,
) -> None:
    """Heartbeats go on, the run ends by itself, and its phone is offered again."""
    clock = SteppedClock(monkeypatch)
    async with running_agent(settings):
        heard = controller.heard
        await heard.until(heard.offered)
        work = assignment(actions=2, seconds=1.0)
        await controller.assign(work)
        await heard.until(lambda: "action_started" in heard.story(work.run.run_id))
        clock.step(hours=hours)
        ended = await heard.until(lambda: heard.ended(work.run.run_id))
        await heard.until(lambda: work.serialno in heard.offered())

    assert ended.outcome == pb.RUN_OUTCOME_DONE
    assert len(heard.hellos) == 1
