"""A dummy agent against a scripted controller: what is said, repeated, acknowledged."""

from phonefarm.v1 import agent_pb2 as pb
from support.agents import AgentMaker, assignment
from support.controller_script import TOKEN, ScriptedController

TWO_PHONES = ["DUMMY0001", "DUMMY0002"]
WHOLE_STORY = ["action_started", "action_done"] * 2 + ["run_ended", "phone_released"]


async def test_a_run_goes_from_assignment_to_release(
    controller: ScriptedController, agent: AgentMaker
) -> None:
    """An assigned run is started, goes, tells its story and frees its phone."""
    async with agent():
        heard = controller.heard
        await heard.until(lambda: heard.offered() == TWO_PHONES)
        work = assignment()

        await controller.assign(work)
        ended = await heard.until(lambda: heard.ended(work.run.run_id))

        assert heard.story(work.run.run_id) == WHOLE_STORY
        assert ended.outcome == pb.RUN_OUTCOME_DONE
        assert ended.exit_code == 0
        released = heard.released(work.run.run_id)
        assert released is not None
        assert released.clean
        await heard.until(lambda: heard.offered() == TWO_PHONES)
        assert heard.hellos[0].incarnation == 1
        assert controller.tokens == [f"Bearer {TOKEN}"]
