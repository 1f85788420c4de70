"""The contract's rules about the life of a process, over HTTP, with a played agent."""

from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest
from phonefarm.v1 import agent_pb2
from support.rest_farm import RestFarm, rest_farm


def failure(**changes: Any) -> agent_pb2.Failure:
    """Return a failure of the phone, with *changes*."""
    values: dict[str, Any] = {
        "code": "phone_lost",
        "failure_class": agent_pb2.FAILURE_CLASS_INFRA,
        "message": "gone",
    }
    return agent_pb2.Failure(**(values | changes))


SELECTOR: Final[dict[str, Any]] = {
    "code": "selector_not_found",
    "failure_class": agent_pb2.FAILURE_CLASS_WORK,
    "final": True,
}


def reached(record: dict[str, Any]) -> set[str]:
    """Return the milestones that have a time."""
    return {name for name, moment in record["timestamps"].items() if moment is not None}


async def test_a_process_goes_from_queued_to_completed(moving: RestFarm) -> None:
    """Each status with its times; the result by item; every action counted."""
    process_id = await moving.enqueue()
    queued = await moving.record(process_id)
    assignment = await moving.assigned("SIM1")
    claimed = await moving.record(process_id)
    await moving.agent.start(assignment.run)
    executing = await moving.record(process_id)
    await moving.agent.report(*moving.agent.whole_run(assignment))
    done = await moving.until(process_id, "completed")

    assert queued["status"] == claimed["status"] == "queued"
    assert "executing_at" not in reached(claimed)
    assert executing["status"] == "executing"
    assert reached(executing) - reached(queued) == {"executing_at"}
    assert reached(done) - reached(executing) == {"finished_at"}
    assert done["timestamps"]["executing_at"] == executing["timestamps"]["executing_at"]
    (item,) = done["linked_ids"]["queue_item_ids"]
    assert done["linked_ids"]["completed_queue_item_ids"] == [item]
    assert set(done["result"]["items"]) == {item}
    (progress,) = done["partial_progress"]["items"]
    assert progress["status"] == "DONE"
    assert progress["actions_done"] == progress["actions_total"] > 0
    assert done["error"] is None
    assert [record["outcome"] for record in (queued, executing, done)] == [None, None, "completed"]


async def test_a_failure_of_the_farm_is_retried(moving: RestFarm) -> None:
    """retrying, with the moment of the next attempt, null again once it executes."""
    process_id = await moving.enqueue()
    assignment = await moving.begun("SIM1")
    first = await moving.record(process_id)
    await moving.agent.report(*moving.agent.failed_run(assignment.run, failure()))
    retrying = await moving.until(process_id, "retrying")
    again = await moving.begun("SIM1")
    executing = await moving.until(process_id, "executing")
    await moving.agent.report(*moving.agent.whole_run(again))
    done = await moving.until(process_id, "completed")

    due = datetime.fromisoformat(retrying["timestamps"]["retrying_at"])
    assert due > datetime.fromisoformat(first["timestamps"]["executing_at"])
    assert executing["timestamps"]["retrying_at"] is None
    assert done["timestamps"]["executing_at"] == first["timestamps"]["executing_at"]


async def test_a_failure_of_the_work_ends_it(moving: RestFarm) -> None:
    """failed_terminal with code, class, item, attempt."""
    process_id = await moving.enqueue()
    assignment = await moving.begun("SIM1")
    await moving.agent.report(
        *moving.agent.failed_run(assignment.run, failure(**SELECTOR, message="no box"))
    )

    record = await moving.until(process_id, "failed_terminal")

    assert list(record["error"]) == [
        "code",
        "message",
        "class",
        "queue_item_id",
        "action",
        "attempt",
    ]
    assert record["error"]["code"] == "selector_not_found"
    assert record["error"]["class"] == "work"
    assert record["error"]["queue_item_id"] in record["linked_ids"]["queue_item_ids"]
    assert record["error"]["attempt"] == 1


async def test_a_partly_finished_group_is_failed_terminal(moving: RestFarm) -> None:
    """And keeps what was done of it."""
    process_id = await moving.enqueue(
        target={"routing": "group", "phone_ids": ["ph-sim1", "ph-sim2"]}
    )
    good = await moving.begun("SIM1")
    await moving.agent.report(*moving.agent.whole_run(good))
    bad = await moving.begun("SIM2")
    await moving.agent.report(*moving.agent.failed_run(bad.run, failure(**SELECTOR)))

    record = await moving.until(process_id, "failed_terminal")

    progress = record["partial_progress"]
    counts = ("items_total", "items_completed", "items_failed", "items_cancelled")
    assert [progress[name] for name in counts] == [2, 1, 1, 0]
    assert record["outcome"] == "partial"
    assert len(record["linked_ids"]["completed_queue_item_ids"]) == 1


@pytest.mark.parametrize(
    ("strategy", "termination", "issued", "stop"),
    [
        ("soft", "requested", False, agent_pb2.STOP_STRATEGY_SOFT),
        ("hard", "issued", True, agent_pb2.STOP_STRATEGY_HARD),
        ("soft_then_force", "scheduled", False, agent_pb2.STOP_STRATEGY_SOFT_THEN_FORCE),
        (None, "scheduled", False, agent_pb2.STOP_STRATEGY_SOFT_THEN_FORCE),
    ],
)
async def test_what_executes_ends_when_its_agent_says_so(
    moving: RestFarm,
    strategy: str | None,
    termination: str,
    issued: bool,
    stop: agent_pb2.StopStrategy.ValueType,
) -> None:
    """The answer names the run and does not wait; the stop goes down; then it is cancelled."""
    process_id = await moving.enqueue()
    assignment = await moving.begun("SIM1")

    answer = await moving.cancel(process_id, **({"strategy": strategy} if strategy else {}))
    before = await moving.record(process_id)
    (order,) = (await moving.agent.hear("stops")).stops
    ended = agent_pb2.RunEnded(outcome=agent_pb2.RUN_OUTCOME_STOPPED, exit_code=3)
    await moving.agent.report(moving.agent.record(assignment.run, run_ended=ended))
    record = await moving.until(process_id, "cancelled")

    (item,) = before["linked_ids"]["queue_item_ids"]
    assert answer["active_queue_item_ids"] == [item]
    assert answer["cancelled_queue_item_ids"] == []
    assert answer["active_target"] == {
        "process_id": process_id,
        "phone_id": "ph-sim1",
        "account_id": "acc-SIM1",
        "queue_item_id": item,
        "capability_request_id": process_id,
    }
    assert answer["termination"] == {
        "process_id": process_id,
        "status": termination,
        "terminate_issued": issued,
        "container": f"pf-{assignment.run.run_id}",
    }
    assert before["status"] == "executing"
    assert order.strategy == stop
    assert record["timestamps"]["cancel_requested_at"] is not None


async def test_a_run_that_had_finished_everything_is_done(moving: RestFarm) -> None:
    """Though a cancel came before its end was told."""
    process_id = await moving.enqueue()
    assignment = await moving.begun("SIM1")
    await moving.cancel(process_id, strategy="soft")
    await moving.agent.report(*moving.agent.whole_run(assignment))

    record = await moving.until(process_id, "completed", "cancelled")

    assert record["status"] == "completed"


async def test_a_failing_run_that_was_cancelled_is_not_retried(moving: RestFarm) -> None:
    """It is cancelled."""
    process_id = await moving.enqueue()
    assignment = await moving.begun("SIM1")
    await moving.cancel(process_id, strategy="soft")
    await moving.agent.report(*moving.agent.failed_run(assignment.run, failure()))

    record = await moving.until(process_id, "cancelled", "retrying")

    assert record["status"] == "cancelled"


async def test_a_stronger_strategy_may_follow(moving: RestFarm) -> None:
    """Soft, then hard: the second is issued."""
    process_id = await moving.enqueue()
    await moving.begun("SIM1")

    soft = await moving.cancel(process_id, strategy="soft")
    hard = await moving.cancel(process_id, strategy="hard")

    assert soft["termination"]["status"] == "requested"
    assert hard["termination"]["status"] == "issued"
    assert hard["status"] == "cancel_requested"


async def test_the_account_of_a_queued_request_is_chosen_in_its_claim(moving: RestFarm) -> None:
    """Null until then."""
    process_id = await moving.enqueue(target={"routing": "queue"})
    before = await moving.record(process_id)
    await moving.assigned("SIM2")

    after = await moving.record(process_id)

    assert before["target"] == {"account_id": None, "phone_id": None}
    assert after["target"] == {"account_id": "acc-SIM2", "phone_id": "ph-sim2"}


async def test_a_higher_priority_is_claimed_first(moving: RestFarm) -> None:
    """9 before 0, whichever came first."""
    target = {"routing": "queue"}
    await moving.enqueue(request_id="low", target=target, priority=0)
    high = await moving.enqueue(request_id="high", target=target, priority=9)

    assignment = await moving.assigned("SIM1")

    (item,) = (await moving.record(high))["linked_ids"]["queue_item_ids"]
    assert assignment.run.item_id == item


async def test_every_milestone_is_told_once_in_order(moving: RestFarm) -> None:
    """Sequences rise by one; each event carries the record of its moment."""
    process_id = await moving.enqueue()
    assignment = await moving.begun("SIM1")
    await moving.agent.report(*moving.agent.whole_run(assignment))

    received = await moving.receiver.wait(3)

    events = [one.event for one in received]
    assert [event["sequence"] for event in events] == [1, 2, 3]
    assert [event["milestone"] for event in events] == ["accepted", "executing", "completed"]
    assert [event["process"]["status"] for event in events] == [
        "queued",
        "executing",
        "completed",
    ]
    assert events[-1]["process"] == await moving.record(process_id)
    for one in received:
        assert one.event["event_type"] == "process.updated"
        assert one.headers["Content-Type"] == "application/json"
        assert one.headers["User-Agent"] == "phonefarm-callback/1.0"


async def test_a_cancel_is_told_as_it_is_requested_and_done(moving: RestFarm) -> None:
    """cancel_requested, then cancelled."""
    process_id = await moving.enqueue()

    await moving.cancel(process_id)

    received = await moving.receiver.wait(3)
    milestones = [one.event["milestone"] for one in received]
    assert milestones == ["accepted", "cancel_requested", "cancelled"]


async def test_a_silent_agent_is_said_to_be_unreachable(tmp_path: Path) -> None:
    """Its heartbeat is older than 25 s (scaled): the wish is kept all the same."""
    async with rest_farm(tmp_path, scale=0.02, lapse=0.02) as farm:
        process_id = await farm.enqueue()
        await farm.begun("SIM1")
        answer = await farm.cancel(process_id, strategy="soft")
        while answer["termination"]["status"] == "requested":
            answer = await farm.cancel(process_id, strategy="soft")

        assert answer["termination"]["status"] == "agent_unreachable"
        record = await farm.until(process_id, "cancelled")
        assert record["error"]["code"] == "cancel_unconfirmed"
