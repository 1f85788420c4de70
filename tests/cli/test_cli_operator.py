"""The operator's hands by commands: what they say, and what agents hear."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from phonefarm_cli.console import drain_wait
from phonefarm_cli.errors import CommandError
from phonefarm_controller.store.schema.schedules import schedules
from sqlalchemy import update
from support.commanding import Operator
from support.controller import PATIENCE, Farm, farm_on, played_agent, request


@pytest.fixture
async def farm(tmp_path: Path) -> AsyncIterator[Farm]:
    """Run a controller."""
    async with farm_on(f"sqlite:///{tmp_path / 'farm.db'}", tmp_path / "data") as it:
        yield it


@pytest.fixture
def operator(farm: Farm, capsys: pytest.CaptureFixture[str]) -> Operator:
    """Return an operator of the farm."""
    return Operator.of(farm, capsys)


async def test_a_phone_is_released_by_the_epoch_that_the_list_shows(
    farm: Farm, operator: Operator
) -> None:
    """Another epoch is refused with the right one; the agent hears stop at once."""
    async with played_agent(farm, "A1") as agent:
        await agent.offer()
        accepted = await farm.enqueue(request())
        (assignment,) = await agent.assigned()
        await agent.start(assignment.run)
        words = ("phones", "release", "A1", "--reason", "it hangs", "--epoch")

        listed = await operator.command("phones", "list")
        with pytest.raises(CommandError, match=r"state_conflict:epoch_1.*give --epoch 1"):
            await operator.command(*words, "3")
        told = await operator.command(*words, "1")
        stops = await agent.hear("stops")

    shown = dict(zip(*listed.rows, strict=True))
    assert (shown["STATE"], shown["PROCESS"]) == ("busy", accepted.process_id)
    assert shown["EPOCH"] == "1"
    assert "free when its agent reports that it is clean" in told.out
    assert [stop.run for stop in stops.stops] == [assignment.run]


async def test_a_pause_says_what_it_costs_and_what_waits_says_until_when(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The caller's deadline is told from the farm's own limit, which is an option."""
    url, most = f"sqlite:///{tmp_path / 'farm.db'}", timedelta(hours=2)
    async with farm_on(url, tmp_path / "data", max_wait=most) as farm:
        operator = Operator.of(farm, capsys)
        begun = datetime.now(UTC)
        own = await farm.enqueue(request())
        deadline = Timestamp()
        deadline.FromDatetime(begun + timedelta(hours=5))
        given = await farm.enqueue(request(deadline=deadline))

        shown = [await operator.command("processes", "show", own.process_id, "--json")]
        shown += [await operator.command("processes", "show", e.process_id) for e in (own, given)]
        explained = await operator.command("processes", "explain", given.process_id)
        paused = await operator.command("pause", "--all", "--reason", "a fire")
        other = await operator.command("pause", "--capability", "post_video", "--reason", "a fire")

    (line,) = json.loads(shown[0].out)["partial_progress"]["items"]
    limit = datetime.fromisoformat(line["deadline_at"]) - begun
    moment = deadline.ToDatetime().strftime("%Y-%m-%d %H:%M:%SZ")
    assert timedelta(hours=2) <= limit < timedelta(hours=3)
    assert "waits     until" in shown[1].out
    assert "(farm)" in shown[1].out
    assert f"waits     until {moment} (caller)" in shown[2].out
    assert f"{moment} (caller)" in explained.out
    assert (
        "2 items wait; 1 of them ends at its caller's deadline within 24 h unless you resume "
        f"the work first (the first deadline is at {moment}); for the others, the farm's "
        "own limit on waiting does not run"
    ) in paused.out
    assert "0 items wait; none of their callers' deadlines is within 24 h; " in other.out


async def test_windows_are_put_listed_shown_and_removed(farm: Farm, operator: Operator) -> None:
    """By each scope; a list says which are open, and what waits says until when."""
    closed = "sun" if datetime.now(UTC).weekday() < 5 else "wed"
    hours = ("--zone", "UTC", "--hours", f"{closed} 10:00-16:00", "--reason", "a test")
    always = ("--zone", "UTC", "--hours", "daily 00:00-24:00", "--reason", "a test")
    async with played_agent(farm, "A1") as agent:
        await agent.offer()
        await operator.command("groups", "put", "rack", "--phones", "A1")

        put = await operator.command("windows", "put", "--phone", "A1", *hours)
        await operator.command("windows", "put", "--group", "rack", "--may-overrun", *always)
        accepted = await farm.enqueue(request())
        listed = await operator.command("windows", "list", "--json")
        shown = await operator.command("phones", "show", "A1")
        explained = await operator.command("processes", "explain", accepted.process_id)
        with pytest.raises(CommandError, match="name: is not the name of a known capability"):
            await operator.command("windows", "put", "--capability", "nothing", *always)
        removed = [
            await operator.command("windows", "remove", "--phone", "A1", "--reason", "x")
            for _ in range(2)
        ]
        (assignment,) = await agent.assigned()

    assert f"phone ph-a1: {closed} 10:00-16:00 UTC; now closed until 20" in put.out
    found = [(one["name"], one["open"], one["may_overrun"]) for one in json.loads(listed.out)]
    assert found == [("rack", True, True), ("ph-a1", False, False)]
    assert "group rack" in shown.out
    assert "phone ph-a1" in shown.out
    assert "outside_window" in explained.out
    assert "phone ph-a1: the window is removed" in removed[0].out
    assert "phone ph-a1: had no window" in removed[1].out
    assert assignment.phone_id == "ph-a1"


async def test_a_schedule_is_added_fires_and_is_shown_paused_and_deleted(
    farm: Farm, operator: Operator
) -> None:
    """Its work is that of `submit`; the controller fires it by itself when its time has come."""
    work = ("keyword_warmup", "--input", "keywords=cats", "--input", "videos_per_keyword=1")
    when = ("--cron", "0 3 * * sun", "--zone", "Europe/Berlin", "--reason", "a test")
    async with played_agent(farm, "A1") as agent:
        await agent.offer()
        added = await operator.command("schedules", "add", "weekly", *work, *when)
        more = ("--jitter", "10m", "--overlap", "allow", "--start-within", "2h", "--phone", "A1")
        await operator.command("schedules", "add", "due", *work, *when, *more)
        with pytest.raises(CommandError, match="cron: must have five fields"):
            await operator.command("schedules", "add", "wrong", *work, *when, "--cron", "@weekly")
        async with farm.controller.database.writing() as tx:
            since = tx.now - timedelta(days=20)
            late = update(schedules).where(schedules.c.name == "due")
            await tx.connection.execute(late.values(handled_until=since, due_at=since))
        (assignment,) = await agent.assigned()

        listed = await operator.command("schedules", "list", "--json")
        shown = await operator.command("schedules", "show", "due")
        told = json.loads((await operator.command("schedules", "show", "due", "--json")).out)
        upcoming = await operator.command("schedules", "next", "due", "--count", "2", "--json")
        paused = await operator.command("schedules", "pause", "weekly", "--reason", "a test")
        table = await operator.command("schedules", "list")
        resumed = await operator.command("schedules", "resume", "weekly", "--reason", "a test")
        deleted = await operator.command("schedules", "delete", "weekly", "--reason", "a test")

    assert "weekly: keyword_warmup, 0 3 * * sun Europe/Berlin; next at 20" in added.out
    assert [one["name"] for one in json.loads(listed.out)] == ["due", "weekly"]
    assert "jitter 600 s, catch-up once, overlap allow, start within 7200 s" in shown.out
    assert [one["outcome"] for one in told["firings"]][:2] == ["enqueued", "missed"]
    assert told["firings"][0]["process_id"] == assignment.process_id
    assert assignment.process_id in shown.out
    first, second = (datetime.fromisoformat(run["instant"]) for run in json.loads(upcoming.out))
    assert second - first >= timedelta(days=6)
    assert "paused" in paused.out
    assert "paused" in table.out
    assert "next at" in resumed.out
    assert "weekly: the schedule is deleted" in deleted.out


async def test_limits_are_put_listed_and_removed(farm: Farm, operator: Operator) -> None:
    """By each kind; a wrong scope or zone is named with its remedy."""
    day = ("--every-account", "--runs-per-day", "20", "--zone", "UTC", "--reason", "a test")
    gone = ("--every-account", "--runs-per-day", "--reason", "a test")
    app = ("--app", "shortvideo", "--runs-at-once")

    put = await operator.command("limits", "put", *day)
    await operator.command("limits", "put", *app, "4", "--reason", "a test")
    listed = await operator.command("limits", "list", "--json")
    table = await operator.command("limits", "list")
    with pytest.raises(CommandError, match="zone: must be the name of a time zone"):
        await operator.command("limits", "put", *day[:3], "--reason", "a test")
    with pytest.raises(CommandError, match="scope: must be one of account, every_account"):
        await operator.command("limits", "put", "--app", "shortvideo", *day[1:])
    with pytest.raises(CommandError, match="runs per day: must be a number from 1 on, not 0"):
        await operator.command("limits", "put", "--every-account", "--runs-per-day", "0", *day[3:])
    removed = [await operator.command("limits", "remove", *gone) for _ in range(2)]
    await operator.command("limits", "remove", *app, "--reason", "a test")
    left = await operator.command("limits", "list", "--json")

    assert "every account: 20 runs per day, UTC" in put.out
    assert [(one["kind"], one["value"]) for one in json.loads(listed.out)] == [
        ("runs_at_once", 4),
        ("runs_per_day", 20),
    ]
    assert "app shortvideo" in table.out
    assert "the limit of runs per day is removed" in removed[0].out
    assert "the limit of runs per day did not exist" in removed[1].out
    assert json.loads(left.out) == []


@pytest.mark.parametrize("what", [["phones", "drain", "A1"], ["agents", "drain", "agent-1"]])
async def test_a_drain_that_waits_ends_once_the_last_run_has_ended(
    farm: Farm, operator: Operator, what: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what is still at work, then that nothing is; the lists say that it drains."""
    said: asyncio.Queue[str] = asyncio.Queue()
    monkeypatch.setattr(drain_wait, "note_stderr", said.put_nowait)
    async with played_agent(farm, "A1") as agent:
        await agent.offer()
        accepted = await farm.enqueue(request())
        (assignment,) = await agent.assigned()
        await agent.start(assignment.run)

        waiting = asyncio.create_task(operator.command(*what, "--reason", "a rack", "--wait"))
        first = await asyncio.wait_for(said.get(), PATIENCE)
        await agent.report(*agent.whole_run(assignment))
        told = await waiting
        listed = await operator.command(what[0], "list")

    assert first == f"ph-a1: process {accepted.process_id} continues"
    assert "no runs are left on" in told.out.splitlines()[-1]
    assert any("draining" in cell or cell == "by ingest_secret: a rack" for cell in listed.rows[1])


async def test_a_process_is_rerun_by_a_command(farm: Farm, operator: Operator) -> None:
    """It says as which one, under which request, also when it was done before."""
    async with played_agent(farm, "A1") as agent:
        await agent.offer()
        accepted = await farm.enqueue(request(request_id="r-1"))
        (assignment,) = await agent.assigned()
        await agent.act_out(assignment)
        await farm.until(accepted.process_id, "completed")
        words = ("processes", "rerun", accepted.process_id, "--reason", "once more")

        with pytest.raises(CommandError, match="state_conflict:nothing_failed"):
            await operator.command(*words, "--failed-only")
        told = await operator.command(*words)
        (again,) = await agent.assigned()
        repeated = await operator.command(*words)

    name = f"{again.process_id}, request r-1~2: 1 item"
    assert told.out == f"{accepted.process_id} is rerun as {name}\n"
    assert repeated.out == f"{accepted.process_id} was already rerun as {name}\n"


@pytest.mark.parametrize(
    ("words", "verb"),
    [
        (("phones", "admit", "A1"), "admit"),
        (("groups", "put", "shelf", "--phones", "A1"), "put phone group"),
        (("resume", "--all"), "resume"),
    ],
)
async def test_a_hand_that_needs_no_reason_keeps_one(
    farm: Farm, operator: Operator, words: tuple[str, ...], verb: str
) -> None:
    """It stands in the audit beside who did it."""
    async with played_agent(farm, "A1"):
        await operator.command("pause", "--all", "--reason", "so that there is one to end")
        await operator.command(*words, "--reason", "the rack has moved")
        told = json.loads((await operator.command("audit", "--json")).out)

    assert next(e["reason"] for e in told if e["verb"] == verb) == "the rack has moved"
