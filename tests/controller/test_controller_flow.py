"""From a request to its end, with an agent that the test plays."""

import asyncio
import json

import grpc
import pytest
from phonefarm.v1 import agent_pb2, process_pb2
from support.controller import Farm, played_agent, request


async def test_a_request_becomes_a_run_and_ends_completed(farm: Farm) -> None:
    """The whole way: accepted, claimed, started, done, released, each milestone announced."""
    async with played_agent(farm, "A1") as agent:
        await agent.offer()
        accepted = await farm.enqueue(request())
        (assignment,) = await agent.assigned()
        await agent.act_out(assignment)
        record = await farm.until(accepted.process_id, "completed")

        assert record.target_phone_id == "ph-a1"
        assert record.target_account_id == "acc-A1"
        assert list(record.completed_queue_item_ids) == list(record.queue_item_ids)
        assert record.partial_progress.items[0].actions_done == 4
        assert "keywords" in json.loads(record.result_json)["items"][record.queue_item_ids[0]]
        assert not record.HasField("error")
        assert await farm.milestones(accepted.process_id) == ["accepted", "executing", "completed"]


async def test_fifty_identical_requests_make_one_process(farm: Farm) -> None:
    """The key makes a repeat a duplicate, also when all come at once."""
    same = request(request_id="twin")

    answers = await asyncio.gather(*(farm.enqueue(same) for _ in range(50)))

    assert len({answer.process_id for answer in answers}) == 1
    assert sum(not answer.duplicate for answer in answers) == 1
    differing = await farm.enqueue(request(request_id="twin", priority=9))
    assert differing.duplicate
    assert differing.request_differs


async def test_a_work_failure_is_tried_again_and_then_ends(farm: Farm) -> None:
    """Two attempts for work; the record says why and which attempt."""
    async with played_agent(farm, "A1") as agent:
        accepted = await farm.enqueue(request())
        failure = agent_pb2.Failure(
            code="screen_not_reached", message="no", failure_class=agent_pb2.FAILURE_CLASS_WORK
        )
        for _ in range(2):
            await agent.offer()
            (assignment,) = await agent.assigned()
            await agent.start(assignment.run)
            await agent.report(*agent.failed_run(assignment.run, failure))
        record = await farm.until(accepted.process_id, "failed_terminal")

        assert record.error.code == "screen_not_reached"
        assert record.error.failure_class == "work"
        assert record.error.attempt == 2
        assert await farm.milestones(accepted.process_id) == [
            "accepted",
            "executing",
            "retrying",
            "executing",
            "failed_terminal",
        ]


async def test_a_final_failure_is_not_tried_again(farm: Farm) -> None:
    """What the same plan must repeat ends at once."""
    async with played_agent(farm, "A1") as agent:
        await agent.offer()
        accepted = await farm.enqueue(request())
        (assignment,) = await agent.assigned()
        await agent.start(assignment.run)
        failure = agent_pb2.Failure(
            code="selector_not_found",
            message="search.box",
            failure_class=agent_pb2.FAILURE_CLASS_WORK,
            final=True,
        )
        await agent.report(*agent.failed_run(assignment.run, failure))

        record = await farm.until(accepted.process_id, "failed_terminal")
        assert record.error.attempt == 1


async def test_a_wrong_key_is_refused(farm: Farm) -> None:
    """Without the key nothing is answered."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await farm.processes.Enqueue(request(), metadata=(("authorization", "Bearer no"),))

    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_queued_process_is_cancelled_in_the_answer(farm: Farm) -> None:
    """What waits ends at once; nothing has to be stopped."""
    accepted = await farm.enqueue(request())

    answer = await farm.cancel(accepted.process_id)

    assert answer.status == "cancel_requested"
    assert answer.process_status == "cancelled"
    assert answer.termination_status == "not_needed"
    assert len(answer.cancelled_queue_item_ids) == 1
    again = await farm.cancel(accepted.process_id)
    assert again.status == "ignored_terminal"
    assert await farm.milestones(accepted.process_id) == [
        "accepted",
        "cancel_requested",
        "cancelled",
    ]


async def test_a_running_process_is_cancelled_when_its_run_has_ended(farm: Farm) -> None:
    """The order reaches the agent at once; the end is the agent's word."""
    async with played_agent(farm, "A1") as agent:
        await agent.offer()
        accepted = await farm.enqueue(request())
        (assignment,) = await agent.assigned()
        await agent.start(assignment.run)

        answer = await farm.cancel(accepted.process_id, process_pb2.CANCEL_STRATEGY_HARD)
        stops = await agent.hear("stops")

        assert answer.termination_status == "issued"
        assert answer.terminate_issued
        assert answer.container == f"pf-{assignment.run.run_id}"
        assert stops.stops[0].run == assignment.run
        assert stops.stops[0].strategy == agent_pb2.STOP_STRATEGY_HARD
        ended = agent_pb2.RunEnded(outcome=agent_pb2.RUN_OUTCOME_STOPPED, exit_code=137)
        await agent.report(agent.record(assignment.run, run_ended=ended))
        record = await farm.until(accepted.process_id, "cancelled")
        assert record.error.failure_class == "cancelled"


async def test_an_item_cancelled_while_its_container_starts_never_goes(farm: Farm) -> None:
    """The start gate looks again."""
    async with played_agent(farm, "A1") as agent:
        await agent.offer()
        accepted = await farm.enqueue(request())
        (assignment,) = await agent.assigned()

        await farm.cancel(accepted.process_id, process_pb2.CANCEL_STRATEGY_SOFT)
        (verdict,) = await agent.start(assignment.run)

        assert verdict.WhichOneof("verdict") == "stop"
        assert verdict.stop.reason == "cancelled"


async def test_an_unknown_app_names_the_field(farm: Farm) -> None:
    """The caller learns what is wrong and what would be right."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await farm.enqueue(request(inputs_json='{"keywords": ["x"], "app": "nope"}'))

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "shortvideo" in (refused.value.details() or "")
