"""Looking into the work from the command, against a real controller and a played agent."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from phonefarm.v1 import agent_pb2, callback_pb2, process_pb2
from phonefarm_cli.client.client import RefusedError
from phonefarm_cli.errors import CommandError, ExitCode
from support.commanding import Operator
from support.controller import Farm, PlayedAgent, farm_on, played_agent, request
from support.evidence import upload

GIVEN_UP = agent_pb2.Failure(
    code="selector_not_found",
    failure_class=agent_pb2.FAILURE_CLASS_WORK,
    final=True,
    message="nothing matched search.box",
)


@pytest.fixture
async def farm(tmp_path: Path) -> AsyncIterator[Farm]:
    """Run a controller."""
    async with farm_on(f"sqlite:///{tmp_path / 'farm.db'}", tmp_path / "data") as it:
        yield it


@pytest.fixture
async def agent(farm: Farm) -> AsyncIterator[PlayedAgent]:
    """Play an agent with one phone."""
    async with played_agent(farm, "A1") as it:
        yield it


@pytest.fixture
def operator(farm: Farm, capsys: pytest.CaptureFixture[str]) -> Operator:
    """Give commands to the farm."""
    return Operator.of(farm, capsys)


async def accepted(farm: Farm, *, system: str = "tests", request_id: str = "") -> str:
    """Enqueue work for any phone; return its process."""
    changes = {"request_id": request_id} if request_id else {}
    asked = process_pb2.RequestedBy(system=system)
    return (await farm.enqueue(request(requested_by=asked, **changes))).process_id


async def done(farm: Farm, agent: PlayedAgent) -> str:
    """Let the agent do some work whole; return its process."""
    process_id = await accepted(farm)
    await agent.offer()
    (assignment,) = await agent.assigned()
    await upload(farm, assignment.run, kind="screenshot", name="a1-screen.png", data=b"P" * 200_000)
    await agent.act_out(assignment)
    await farm.until(process_id, "completed")
    return process_id


async def failed(farm: Farm, agent: PlayedAgent) -> str:
    """Let the agent fail for good; return the process."""
    process_id = await accepted(farm)
    await agent.offer()
    (assignment,) = await agent.assigned()
    await agent.start(assignment.run)
    await agent.report(*agent.failed_run(assignment.run, GIVEN_UP))
    await farm.until(process_id, "failed_terminal")
    return process_id


async def listed(operator: Operator, *words: str) -> list[str]:
    """Return the request ids that a list prints."""
    told = await operator.command("processes", "list", "--json", *words)
    return [one["request_id"] for one in json.loads(told.out)["processes"]]


async def test_filters_add_up(farm: Farm, operator: Operator) -> None:
    """Each keeps what it names; the newest comes first."""
    for name, system in (("r1", "crm"), ("r2", "crm"), ("r3", "shop")):
        await accepted(farm, system=system, request_id=name)
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()

    assert await listed(operator) == ["r3", "r2", "r1"]
    assert await listed(operator, "--system", "crm") == ["r2", "r1"]
    assert await listed(operator, "--system", "crm", "--request", "r1") == ["r1"]
    assert await listed(operator, "--type", "maintenance") == []
    assert await listed(operator, "--type", "maintenance", "--type", "keyword_warmup") == [
        "r3",
        "r2",
        "r1",
    ]
    assert await listed(operator, "--status", "completed") == []
    assert await listed(operator, "--since", "1h", "--system", "shop") == ["r3"]
    assert await listed(operator, "--since", later) == []
    assert await listed(operator, "--until", "1h") == []
    assert await listed(operator, "--account", "nobody") == []


async def test_work_is_found_by_the_phone_it_ran_on(
    farm: Farm, agent: PlayedAgent, operator: Operator
) -> None:
    """A phone by any of its names, an account by its id."""
    await done(farm, agent)
    await accepted(farm, request_id="waits")

    assert len(await listed(operator, "--phone", "a1")) == 1
    assert len(await listed(operator, "--account", "acc-A1")) == 1
    with pytest.raises(CommandError, match="there is no phone A9"):
        await listed(operator, "--phone", "A9")


async def test_pages_follow_each_other(farm: Farm, operator: Operator) -> None:
    """What is left is told on stderr with the cursor that goes on there."""
    for number in range(5):
        await accepted(farm, request_id=f"r{number}")

    first = await operator.command("processes", "list", "--limit", "2")
    cursor = first.err.split()[-1]
    rest = await operator.command("processes", "list", "--cursor", cursor)

    assert [row[2] for row in first.rows] == ["REQUEST", "r4", "r3"]
    assert [row[2] for row in rest.rows] == ["REQUEST", "r2", "r1", "r0"]
    assert rest.err == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--since", "yesterday"], "--since must be a time"),
        (["--until", "99999999999d"], "--until must be a time"),
        (["--until", "999999d"], "--until must be a time"),
        (["--limit", "0"], "--limit must be 1 or more"),
        (["--cursor", "nonsense"], "cursor"),
    ],
)
async def test_a_wrong_filter_is_named(operator: Operator, words: list[str], told: str) -> None:
    """With what it must be."""
    with pytest.raises(CommandError, match=told):
        await operator.command("processes", "list", *words)


async def test_a_failed_process_is_shown_with_its_attempt_and_error(
    farm: Farm, agent: PlayedAgent, operator: Operator
) -> None:
    """State, items, attempts, and the error with its class and message."""
    process_id = await failed(farm, agent)

    told = await operator.command("processes", "show", process_id)

    assert "status    failed_terminal (DEAD_LETTER)" in told.out
    assert "items     0 of 1 completed, 1 failed, 0 cancelled" in told.out
    assert "selector_not_found (work" in told.out
    assert "nothing matched search.box" in told.out
    (row,) = [row for row in told.rows if "agent-1" in row]
    assert row[1:5] == ["1", "ph-a1", "acc-A1", "agent-1"]


async def test_a_record_is_printed_whole(farm: Farm, operator: Operator) -> None:
    """Every field, metadata as JSON, absent moments as null."""
    process_id = await accepted(farm, request_id="r")

    told = await operator.command("processes", "show", process_id, "--json")

    record = json.loads(told.out)
    assert (record["process_id"], record["request_id"], record["status"]) == (
        process_id,
        "r",
        "queued",
    )
    assert record["callback"] == {"url": "http://127.0.0.1:9/cb", "metadata": {"n": 1}}
    assert record["timestamps"]["finished_at"] is None
    assert record["timestamps"]["created_at"].endswith("Z")
    assert record["error"] is None
    assert record["partial_progress"]["items_total"] == 1


@pytest.mark.parametrize(
    "verb", ["show", "watch", "timeline", "explain", "deliveries", "evidence", "replay"]
)
async def test_an_unknown_process_is_said_to_be_one(operator: Operator, verb: str) -> None:
    """By every verb that takes one."""
    with pytest.raises(RefusedError, match="unknown_process"):
        await operator.command("processes", verb, "11111111-1111-1111-1111-111111111111")


async def test_a_watch_ends_with_its_process(
    farm: Farm, agent: PlayedAgent, operator: Operator
) -> None:
    """A line per transition, the outcome last, and exit code 0."""
    process_id = await accepted(farm)
    watch = asyncio.create_task(operator.command("processes", "watch", process_id))
    await agent.offer()
    (assignment,) = await agent.assigned()
    await agent.act_out(assignment)

    async with asyncio.timeout(180):
        told = await watch

    assert told.code == ExitCode.OK
    lines = told.out.splitlines()
    assert lines[-1] == f"{process_id}: completed"
    states = [line.split()[3] for line in lines if "  item " in line]
    assert states == ["QUEUED", "CLAIMED", "EXECUTING", "DONE"]


async def test_a_watch_says_how_it_ended(
    farm: Farm, agent: PlayedAgent, operator: Operator
) -> None:
    """Exit code 1 for a failure, with the error; 3 for a cancelled one."""
    bad = await operator.command("processes", "watch", await failed(farm, agent))
    waiting = await accepted(farm)
    await farm.cancel(waiting)
    gone = await operator.command("processes", "watch", waiting, "--json")

    assert bad.code == ExitCode.FAILED
    assert "selector_not_found" in bad.err
    assert gone.code == ExitCode.CANCELLED
    events = [json.loads(line) for line in gone.out.splitlines()]
    assert events[-1]["process"]["status"] == "cancelled"
    assert isinstance(events[-1]["number"], int)


async def test_the_timeline_tells_who_moved_what_and_why(
    farm: Farm, agent: PlayedAgent, operator: Operator
) -> None:
    """From the making to the end, unbroken, as a table and as JSON."""
    process_id = await done(farm, agent)

    table = await operator.command("processes", "timeline", process_id)
    told = await operator.command("processes", "timeline", process_id, "--json")

    steps = json.loads(told.out)["transitions"]
    assert len(table.rows) == len(steps) + 1
    of_item = [step for step in steps if step["queue_item_id"]]
    assert [step["to_state"] for step in of_item] == ["QUEUED", "CLAIMED", "EXECUTING", "DONE"]
    assert of_item[-1]["actor"] == "agent:agent-1"
    assert of_item[0]["actor"].startswith("caller:")
    assert [row[7] for row in table.rows[1:]] == [step["actor"] for step in steps]


async def test_waiting_work_is_explained_with_what_helps(
    farm: Farm, agent: PlayedAgent, operator: Operator
) -> None:
    """A phone that is not offered holds it back; the remedy is a sentence."""
    process_id = await accepted(farm)

    told = await operator.command("processes", "explain", process_id)
    facts = json.loads((await operator.command("processes", "explain", process_id, "--json")).out)

    (reason,) = facts["reasons"]
    assert reason["count"] == 1
    assert [reason["reason"], "1", reason["remedy"]] in told.rows
    assert any("ph-a1" in row for row in told.rows)


async def test_an_ended_process_has_nothing_to_explain(
    farm: Farm, agent: PlayedAgent, operator: Operator
) -> None:
    """One sentence."""
    process_id = await done(farm, agent)

    told = await operator.command("processes", "explain", process_id)

    assert told.out.startswith(f"{process_id}: completed. ")
    assert len(told.rows) == 1


async def test_callbacks_are_listed_and_sent_again(farm: Farm, operator: Operator) -> None:
    """A given-up one is replayed when no number says otherwise; a number takes that one."""
    process_id = await accepted(farm)
    await farm.settle(await farm.lease_deliveries())
    await farm.cancel(process_id)
    await farm.settle(await farm.lease_deliveries(), callback_pb2.DELIVERY_OUTCOME_GONE)

    shown = await operator.command("processes", "show", process_id)
    table = await operator.command("processes", "deliveries", process_id)
    told = await operator.command("processes", "deliveries", process_id, "--json")
    again = await operator.command("processes", "replay", process_id, "--sequence", "1")

    found = json.loads(told.out)
    assert (found[0]["sequence"], found[0]["status"]) == (1, "delivered")
    assert f"callbacks 1 of {len(found)} delivered" in shown.out
    assert "stopped" in {one["status"] for one in found}
    assert "to http://127.0.0.1:9/cb" in table.out
    assert any(row[:3] == ["1", "accepted", "delivered"] for row in table.rows)
    assert "due again: 1" in again.out


async def test_what_cannot_be_replayed_is_refused(farm: Farm, operator: Operator) -> None:
    """A callback that is still due has nothing to repeat."""
    process_id = await accepted(farm)

    with pytest.raises(RefusedError, match="state_conflict"):
        await operator.command("processes", "replay", process_id)


async def test_evidence_is_listed_and_saved(
    farm: Farm, agent: PlayedAgent, operator: Operator, tmp_path: Path
) -> None:
    """Whole, below the run's name, and never over a file that is there."""
    process_id = await done(farm, agent)
    folder = tmp_path / "saved"

    told = await operator.command("processes", "evidence", process_id)
    saved = await operator.command("processes", "evidence", process_id, "--save", str(folder))
    (file,) = folder.glob("*/*")
    file.write_bytes(b"mine")
    with pytest.raises(CommandError, match="nothing was saved, because these files exist"):
        await operator.command("processes", "evidence", process_id, "--save", str(folder))

    (row,) = told.rows[1:]
    assert row[2:6] == ["a1-screen.png", "screenshot", row[4], "200000"]
    assert file == folder / row[0] / "a1-screen.png"
    assert "1 file saved" in saved.out
    assert file.read_bytes() == b"mine"


async def test_saved_evidence_is_what_was_uploaded(
    farm: Farm, agent: PlayedAgent, operator: Operator, tmp_path: Path
) -> None:
    """Byte for byte, and nothing is left beside it."""
    process_id = await done(farm, agent)

    told = await operator.command(
        "processes", "evidence", process_id, "--save", str(tmp_path / "s"), "--json"
    )

    (line,) = json.loads(told.out)
    (file,) = [path for path in (tmp_path / "s").rglob("*") if path.is_file()]
    assert file.read_bytes() == b"P" * 200_000
    assert line["bytes"] == 200_000
