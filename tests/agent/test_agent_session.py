"""A dummy agent against a scripted controller: what is said, repeated, acknowledged."""

import hashlib

import pytest
from phonefarm.v1 import agent_pb2 as pb
from phonefarm_agent.model.phone import PhoneFailedError
from phonefarm_agent.phones.dummy import DummyPhones
from phonefarm_agent.phones.interface import CleanupRequest
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


async def test_records_without_acknowledgement_are_repeated_after_a_reconnect(
    controller: ScriptedController, agent: AgentMaker
) -> None:
    """What was not acknowledged comes again, the same, over the next session; nothing is lost."""
    async with agent():
        heard = controller.heard
        await heard.until(heard.offered)
        work = assignment()
        controller.manners.acknowledge_records = False
        await controller.assign(work)
        await heard.until(lambda: heard.ended(work.run.run_id))

        await controller.stop_serving()
        controller.manners.acknowledge_records = True
        await controller.start()
        await heard.until(lambda: heard.repeated >= len(WHOLE_STORY))

        assert heard.story(work.run.run_id) == WHOLE_STORY
        held = heard.hellos[-1].held_runs
        assert [(run.run, run.going, run.ended) for run in held] == [(work.run, True, True)]


async def test_records_are_repeated_within_a_session_too(
    controller: ScriptedController, agent: AgentMaker
) -> None:
    """An acknowledgement that never came costs one interval, not the record."""
    async with agent():
        heard = controller.heard
        await heard.until(heard.offered)
        work = assignment()
        controller.manners.acknowledge_records = False

        await controller.assign(work)
        await heard.until(lambda: heard.repeated >= len(WHOLE_STORY))

        assert len(heard.hellos) == 1
        assert heard.story(work.run.run_id) == WHOLE_STORY


async def test_run_started_is_repeated_until_it_is_answered(
    controller: ScriptedController, agent: AgentMaker
) -> None:
    """The executor waits at the gate however long the verdict takes; a repeated `go` is one."""
    async with agent():
        heard = controller.heard
        await heard.until(heard.offered)
        controller.manners.answer_starts = False
        work = assignment()

        await controller.assign(work)
        await heard.until(lambda: heard.starts(work.run.run_id) >= 3)
        assert heard.records == {}
        go = pb.StartVerdict(run=work.run, go=pb.Go())
        for _ in range(3):
            await controller.say(
                pb.ControllerMessage(start_verdicts=pb.StartVerdicts(verdicts=[go]))
            )
        await heard.until(lambda: heard.ended(work.run.run_id))

        assert heard.story(work.run.run_id) == WHOLE_STORY


async def test_a_stop_at_the_gate_does_nothing_and_frees_the_phone(
    controller: ScriptedController, agent: AgentMaker
) -> None:
    """`stop` instead of `go`: no action was begun, the run is STOPPED, the phone is on offer."""
    async with agent():
        heard = controller.heard
        await heard.until(heard.offered)
        controller.manners.answer_starts = False
        work = assignment()
        await controller.assign(work)
        await heard.until(lambda: heard.starts(work.run.run_id))

        stop = pb.StartVerdict(run=work.run, stop=pb.Stop(reason="deadline_passed"))
        await controller.say(pb.ControllerMessage(start_verdicts=pb.StartVerdicts(verdicts=[stop])))
        ended = await heard.until(lambda: heard.ended(work.run.run_id))

        assert ended.outcome == pb.RUN_OUTCOME_STOPPED
        assert heard.story(work.run.run_id) == ["run_ended", "phone_released"]
        await heard.until(lambda: heard.offered() == TWO_PHONES)


async def test_a_stop_behind_go_for_the_deadline_is_the_answer_to_an_old_question(
    controller: ScriptedController, agent: AgentMaker
) -> None:
    """It asked again while `go` was under way: the first answer counts, the run goes on."""
    async with agent():
        heard = controller.heard
        await heard.until(heard.offered)
        controller.manners.answer_starts = False
        work = assignment()
        await controller.assign(work)
        await heard.until(lambda: heard.starts(work.run.run_id))

        go = pb.StartVerdict(run=work.run, go=pb.Go())
        stop = pb.StartVerdict(run=work.run, stop=pb.Stop(reason="deadline_passed"))
        for verdict in (go, stop):
            verdicts = pb.StartVerdicts(verdicts=[verdict])
            await controller.say(pb.ControllerMessage(start_verdicts=verdicts))
        ended = await heard.until(lambda: heard.ended(work.run.run_id))

        assert ended.outcome == pb.RUN_OUTCOME_DONE


async def test_a_go_that_comes_behind_its_deadline_is_asked_for_again(
    controller: ScriptedController, agent: AgentMaker
) -> None:
    """What was left when it was decided is over by the agent's own clock: nothing is begun."""
    async with agent():
        heard = controller.heard
        await heard.until(heard.offered)
        controller.manners.answer_starts = False
        work = assignment()
        await controller.assign(work)
        first = await heard.until(lambda: heard.starts(work.run.run_id))

        late = pb.Go(asked_at=heard.asked_at(work.run.run_id), seconds_left=0.000001)
        await controller.say(
            pb.ControllerMessage(
                start_verdicts=pb.StartVerdicts(verdicts=[pb.StartVerdict(run=work.run, go=late)])
            )
        )
        await heard.until(lambda: heard.starts(work.run.run_id) > first)
        stop = pb.StartVerdict(run=work.run, stop=pb.Stop(reason="deadline_passed"))
        await controller.say(pb.ControllerMessage(start_verdicts=pb.StartVerdicts(verdicts=[stop])))
        ended = await heard.until(lambda: heard.ended(work.run.run_id))

        assert ended.outcome == pb.RUN_OUTCOME_STOPPED
        assert heard.story(work.run.run_id) == ["run_ended", "phone_released"]


async def test_a_soft_stop_ends_a_run_between_actions(
    controller: ScriptedController, agent: AgentMaker
) -> None:
    """The executor is asked; it stops by itself with its own exit code."""
    async with agent():
        heard = controller.heard
        await heard.until(heard.offered)
        work = assignment(actions=3, seconds=30.0)
        await controller.assign(work)
        await heard.until(lambda: "action_started" in heard.story(work.run.run_id))

        await controller.stop(work.run)
        ended = await heard.until(lambda: heard.ended(work.run.run_id))

        assert ended.outcome == pb.RUN_OUTCOME_STOPPED
        assert ended.exit_code == 3


async def test_soft_then_force_is_escalated_by_the_agent_itself(
    controller: ScriptedController, agent: AgentMaker
) -> None:
    """An executor that ignores `stop` is killed after the window, also with the controller away."""
    async with agent():
        heard = controller.heard
        await heard.until(heard.offered)
        work = assignment(seconds=60.0, ignore_stop=True)
        await controller.assign(work)
        await heard.until(lambda: "action_started" in heard.story(work.run.run_id))

        await controller.stop(work.run, strategy=pb.STOP_STRATEGY_SOFT_THEN_FORCE, after=0.3)
        await controller.stop_serving()
        await controller.start()
        ended = await heard.until(lambda: heard.ended(work.run.run_id))

        assert ended.outcome == pb.RUN_OUTCOME_STOPPED
        assert ended.exit_code == 137


async def test_a_hard_stop_overtakes_a_soft_one(
    controller: ScriptedController, agent: AgentMaker
) -> None:
    """A firmer order counts at once, a gentler one behind it changes nothing."""
    async with agent():
        heard = controller.heard
        await heard.until(heard.offered)
        work = assignment(seconds=60.0, ignore_stop=True)
        await controller.assign(work)
        await heard.until(lambda: "action_started" in heard.story(work.run.run_id))

        await controller.stop(work.run)
        await controller.stop(work.run, strategy=pb.STOP_STRATEGY_HARD)
        await controller.stop(work.run)
        ended = await heard.until(lambda: heard.ended(work.run.run_id))

        assert ended.outcome == pb.RUN_OUTCOME_STOPPED


async def test_a_stop_for_an_unknown_run_is_answered(
    controller: ScriptedController, agent: AgentMaker
) -> None:
    """The controller can finish what is not here; a late assignment of it starts nothing."""
    async with agent():
        heard = controller.heard
        await heard.until(heard.offered)
        work = assignment()

        await controller.stop(work.run, strategy=pb.STOP_STRATEGY_HARD)
        ended = await heard.until(lambda: heard.ended(work.run.run_id))
        await controller.assign(work)
        other = assignment("DUMMY0002")
        await controller.assign(other)
        await heard.until(lambda: heard.ended(other.run.run_id))

        assert ended.outcome == pb.RUN_OUTCOME_STOPPED
        assert heard.story(work.run.run_id) == ["run_ended", "phone_released"]
        assert heard.starts(work.run.run_id) == 0


async def test_an_unclean_phone_is_not_called_clean_by_a_later_stop(
    controller: ScriptedController, agent: AgentMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The desired list goes on to stop a run that left its phone unclean: the answer stays."""

    async def fail(self: DummyPhones, request: CleanupRequest) -> tuple[str, ...]:
        raise PhoneFailedError("no answer in time")

    monkeypatch.setattr(DummyPhones, "clean_up", fail)
    async with agent():
        heard = controller.heard
        await heard.until(heard.offered)
        work = assignment(actions=1)
        await controller.assign(work)
        await heard.until(lambda: heard.ended(work.run.run_id))
        told = len(heard.story(work.run.run_id))
        before = len(heard.messages)
        # By its next heartbeat the agent has heard that all of it is acknowledged.
        await heard.until(lambda: heard.messages[before:])

        await controller.stop(work.run, strategy=pb.STOP_STRATEGY_HARD)
        await heard.until(lambda: len(heard.story(work.run.run_id)) > told)

        released = [
            record.phone_released
            for message in heard.messages[before:]
            for record in message.run_records.records
            if record.WhichOneof("body") == "phone_released"
        ]
        assert [answer.clean for answer in released] == [False]
        assert released[0].reason.startswith("clean_up_failed")


async def test_a_repeated_assignment_is_one_run(
    controller: ScriptedController, agent: AgentMaker
) -> None:
    """The same assignment again, before and after its end, by push and by the desired list."""
    async with agent():
        heard = controller.heard
        await heard.until(heard.offered)
        work = assignment()
        desired = pb.ControllerMessage(desired=pb.Desired(claimed=[work]))

        await controller.say(desired)
        await controller.assign(work, work)
        await heard.until(lambda: heard.ended(work.run.run_id))
        await controller.say(desired)
        other = assignment()
        await heard.until(lambda: heard.offered() == TWO_PHONES)
        await controller.assign(other)
        await heard.until(lambda: heard.ended(other.run.run_id))

        assert heard.story(work.run.run_id) == WHOLE_STORY
        assert heard.starts(work.run.run_id) == 1


async def test_a_busy_or_unknown_phone_is_refused(
    controller: ScriptedController, agent: AgentMaker
) -> None:
    """A second item for a phone that works, and one for a phone that is not here, go back."""
    async with agent():
        heard = controller.heard
        await heard.until(heard.offered)
        work, second, stranger = assignment(seconds=30.0), assignment(), assignment("STRANGER")
        await controller.assign(work)

        await controller.assign(second, stranger)
        reason = await heard.until(lambda: heard.refused(second.run.run_id))
        unknown = await heard.until(lambda: heard.refused(stranger.run.run_id))

        assert reason == "phone_busy"
        assert unknown == "phone_unknown"
        assert heard.story(second.run.run_id) == ["run_refused", "phone_released"]


async def test_an_action_done_once_waits_for_its_acknowledgement(
    controller: ScriptedController, agent: AgentMaker
) -> None:
    """A `once` action is not done before the controller has its `started` line."""
    async with agent():
        heard = controller.heard
        await heard.until(heard.offered)
        controller.manners.acknowledge_records = False
        work = assignment(actions=1, repeat="once")

        await controller.assign(work)
        await heard.until(lambda: heard.repeated >= 2)
        before = heard.story(work.run.run_id)
        controller.manners.acknowledge_records = True
        await heard.until(lambda: heard.ended(work.run.run_id))

        assert before == ["action_started"]
        assert heard.story(work.run.run_id)[1:] == ["action_done", "run_ended", "phone_released"]


async def test_a_failed_action_ends_the_run_with_its_failure_and_evidence(
    controller: ScriptedController, agent: AgentMaker
) -> None:
    """Failure, action and evidence reach the controller; evidence is retried until its receipt."""
    async with agent():
        heard = controller.heard
        await heard.until(heard.offered)
        controller.manners.take_evidence = False
        work = assignment(fail={"index": 1, "code": "selector_not_found", "final": True})

        await controller.assign(work)
        ended = await heard.until(lambda: heard.ended(work.run.run_id))
        await heard.until(lambda: heard.uploads >= 2)
        controller.manners.take_evidence = True
        await heard.until(lambda: len(heard.evidence) == 3)

        assert ended.outcome == pb.RUN_OUTCOME_FAILED
        assert ended.failure.code == "selector_not_found"
        assert ended.failure.failure_class == pb.FAILURE_CLASS_WORK
        assert ended.failure.final
        assert (ended.failed_action_index, ended.failed_action_kind) == (1, "launch_app")
        names = {file.head.name: file for file in heard.evidence}
        assert set(names) == {"a1-ui.xml", "run.log", "manifest.json"}
        for file in heard.evidence:
            assert hashlib.sha256(file.data).hexdigest() == file.head.sha256
            assert len(file.data) == file.head.bytes
            assert file.head.run == work.run
        assert names["a1-ui.xml"].head.action_index == 1
        assert b"a1-ui.xml" in names["manifest.json"].data


async def test_a_crash_of_the_executor_is_infra_and_names_the_open_action(
    controller: ScriptedController, agent: AgentMaker
) -> None:
    """An exit without a last line is `run_crashed`."""
    async with agent():
        heard = controller.heard
        await heard.until(heard.offered)
        work = assignment(crash=True)

        await controller.assign(work)
        ended = await heard.until(lambda: heard.ended(work.run.run_id))

        assert ended.failure.code == "run_crashed"
        assert ended.failure.failure_class == pb.FAILURE_CLASS_INFRA
        assert (ended.failed_action_index, ended.failed_action_kind) == (0, "launch_app")


async def test_a_run_past_its_cap_times_out(
    controller: ScriptedController, agent: AgentMaker
) -> None:
    """The agent keeps the cap by itself; the time is charged to the work."""
    async with agent():
        heard = controller.heard
        await heard.until(heard.offered)
        work = assignment(seconds=60.0, cap=0.2)

        await controller.assign(work)
        ended = await heard.until(lambda: heard.ended(work.run.run_id))

        assert ended.failure.code == "run_timeout"
        assert ended.failure.failure_class == pb.FAILURE_CLASS_WORK


async def test_a_plan_that_is_none_fails_for_good(
    controller: ScriptedController, agent: AgentMaker
) -> None:
    """A plan the agent cannot read is `plan_invalid` and final, and the next run works."""
    async with agent():
        heard = controller.heard
        await heard.until(heard.offered)
        bad = assignment()
        bad.plan_json = "[" * 50_000
        good = assignment("DUMMY0002")

        await controller.assign(bad, good)
        ended = await heard.until(lambda: heard.ended(bad.run.run_id))
        await heard.until(lambda: heard.ended(good.run.run_id))

        assert ended.failure.code == "plan_invalid"
        assert ended.failure.final
