"""What stands still is told: by a metric, one log line when it begins and ends, and the doctor."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from phonefarm.v1 import callback_pb2, doctor_pb2, doctor_pb2_grpc
from phonefarm_common.channel import bearer
from phonefarm_controller.alarms import AlarmName, Limits
from phonefarm_controller.runs.lease_reaper import LeaseReaper
from phonefarm_controller.scheduler.claim import Claim
from structlog.testing import capture_logs
from support.controller import KEY, PATIENCE, Farm, PlayedAgent, farm_on, played_agent, request
from support.metrics_page import page
from support.postgres_server import PostgresServer

LIMITS = Limits(
    interval=0.1,
    loop_late=1,
    silent_least=1,
    database=2,
    stuck=1,
    dirty=1,
    callbacks=1,
    notifier=2,
)
Logs = list[MutableMapping[str, Any]]


@pytest.fixture
def logs() -> Iterator[Logs]:
    """Keep what is logged."""
    with capture_logs() as kept:
        yield kept


@asynccontextmanager
async def watched(url: str, tmp_path: Path) -> AsyncIterator[Farm]:
    """Run a controller with impatient watchdogs and its metrics."""
    async with farm_on(url, tmp_path / "data", limits=LIMITS, metrics=("127.0.0.1", 0)) as farm:
        yield farm


async def doctor(farm: Farm) -> dict[str, doctor_pb2.Finding]:
    """Return the findings by what was looked at, the gravest of each."""
    stub: Any = doctor_pb2_grpc.DoctorServiceStub(farm.channel)
    answer = await stub.Examine(doctor_pb2.ExamineRequest(), metadata=bearer(KEY))
    return {f.check: f for f in sorted(answer.findings, key=lambda finding: finding.verdict)}


async def until(farm: Farm, sign: AlarmName, *, of: str = "", wrong: bool) -> None:
    """Wait until the metric says that it is so; TimeoutError."""
    async with asyncio.timeout(PATIENCE):
        while True:
            metrics = await asyncio.to_thread(page, farm)
            if bool(metrics.get(("alarm", *sorted((sign, of))), 0)) is wrong:
                return
            await asyncio.sleep(0.02)


def told(logs: Logs, sign: AlarmName, *, of: str | None = None) -> list[str]:
    """Return the events that the log has of a sign, in order."""
    return [
        str(line["event"]) for line in logs if line.get("alarm") == sign and line.get("of") == of
    ]


async def shown(
    farm: Farm, logs: Logs, sign: AlarmName, check: str, mend: Callable[[], Any], *, of: str = ""
) -> doctor_pb2.Finding:
    """Wait for the sign, have it mended, wait for its end; return what the doctor said before.

    It is logged once when it begins, however long it lasts, and once when it ends.
    """
    await until(farm, sign, of=of, wrong=True)
    await asyncio.sleep(3 * LIMITS.interval)  # several looks; nothing is waited for
    finding = (await doctor(farm))[check]
    raised = told(logs, sign, of=of or None)
    mended = mend()
    if asyncio.iscoroutine(mended):
        await mended
    await until(farm, sign, of=of, wrong=False)
    after = (await doctor(farm))[check]

    assert raised == ["alarm.raised"]
    assert told(logs, sign, of=of or None) == ["alarm.raised", "alarm.cleared"]
    assert finding.verdict > doctor_pb2.VERDICT_OK
    assert finding.remedy
    assert after.verdict == doctor_pb2.VERDICT_OK
    return finding


async def test_a_loop_that_is_stuck(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logs: Logs
) -> None:
    """One waits for what never comes; the others go on."""
    stuck, check = asyncio.Event(), LeaseReaper.check

    async def wait(self: LeaseReaper) -> None:
        await stuck.wait()
        await check(self)

    monkeypatch.setattr(LeaseReaper, "check", wait)
    async with watched(f"sqlite:///{tmp_path / 'farm.db'}", tmp_path) as farm:
        found = await shown(
            farm, logs, AlarmName.LOOP_SILENT, "loops", stuck.set, of="lease_reaper"
        )

    assert found.verdict == doctor_pb2.VERDICT_FAIL
    assert found.text.startswith("loop lease_reaper has made no progress for")


async def test_an_event_loop_that_stands(tmp_path: Path, logs: Logs) -> None:
    """Metric and log come from threads, while nothing in the loop can move."""
    async with watched(f"sqlite:///{tmp_path / 'farm.db'}", tmp_path) as farm:
        await until(farm, AlarmName.LOOP_LAG, wrong=False)
        seen = asyncio.create_task(asyncio.to_thread(_late, farm))
        await asyncio.sleep(0.05)
        time.sleep(3 * LIMITS.loop_late)  # noqa: ASYNC251 - that is it
        during = told(logs, AlarmName.LOOP_LAG)
        metrics = await seen
        await until(farm, AlarmName.LOOP_LAG, wrong=False)
        after = (await doctor(farm))["controller"]

    assert metrics["event_loop_lag_seconds",] >= LIMITS.loop_late
    assert during == ["alarm.raised"]
    assert told(logs, AlarmName.LOOP_LAG) == ["alarm.raised", "alarm.cleared"]
    assert after.verdict == doctor_pb2.VERDICT_OK
    assert not any(
        line.get("sign") == AlarmName.LOOP_SILENT for line in logs if "raised" in line["event"]
    )


def _late(farm: Farm) -> dict[tuple[str, ...], float]:
    """Return the metrics once they say that the loop stands."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        metrics = page(farm)
        if metrics["alarm", "", AlarmName.LOOP_LAG]:
            return metrics
    raise TimeoutError


async def test_work_that_could_be_claimed_and_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logs: Logs
) -> None:
    """The phone is offered and the item fits; work that only waits for a phone is no sign."""
    claim = Claim.__call__

    async def nothing(self: Claim, offers: Any) -> list[Any]:
        return []

    monkeypatch.setattr(Claim, "__call__", nothing)
    async with (
        watched(f"sqlite:///{tmp_path / 'farm.db'}", tmp_path) as farm,
        played_agent(farm, "A1") as agent,
    ):
        await farm.enqueue(request())
        await asyncio.sleep(1.5 * LIMITS.stuck)  # the time in which it would have been told
        idle = told(logs, AlarmName.SCHEDULER_STUCK)
        waiting = (await doctor(farm))["queue"]
        offering = asyncio.create_task(offer_on(agent))

        async def mend() -> None:
            monkeypatch.setattr(Claim, "__call__", claim)
            await agent.assigned()

        found = await shown(farm, logs, AlarmName.SCHEDULER_STUCK, "scheduler", mend)
        offering.cancel()
        await asyncio.gather(offering, return_exceptions=True)

    assert idle == []
    assert waiting.text == (
        "1 item waits: not_offered (1); no agent of this controller offers a phone"
    )
    assert "claimable items: 1" in found.text


async def offer_on(agent: PlayedAgent) -> None:
    """Offer the agent's phones again and again, before the offer lapses."""
    while True:
        await agent.offer()
        await asyncio.sleep(agent.farm.timers.heartbeat)


async def test_a_phone_that_is_never_cleaned(farm_url: str, tmp_path: Path, logs: Logs) -> None:
    """Its agent says nothing after the run's end; the phone is named."""
    async with watched(farm_url, tmp_path) as farm, played_agent(farm, "A1") as agent:
        await agent.offer()
        await farm.enqueue(request())
        (assignment,) = await agent.assigned()
        await agent.start(assignment.run)
        *story, released = agent.whole_run(assignment)
        await agent.report(*story)

        async def mend() -> None:
            await agent.report(released)

        found = await shown(farm, logs, AlarmName.DIRTY_OLD, "dirty phones", mend)

    assert found.verdict == doctor_pb2.VERDICT_WARN
    assert found.text.startswith("dirty phones: ph-a1 (1 in total)")


async def test_callbacks_that_nobody_takes(farm_url: str, tmp_path: Path, logs: Logs) -> None:
    """Their receiver is down: each attempt fails, and the next is due later."""
    async with watched(farm_url, tmp_path) as farm:
        await farm.enqueue(request())
        lent = await farm.lease_deliveries()
        await farm.settle(lent, callback_pb2.DELIVERY_OUTCOME_FAILED)

        async def mend() -> None:
            async with asyncio.timeout(PATIENCE):
                while not (again := await farm.lease_deliveries()):  # noqa: ASYNC110 - over gRPC
                    await asyncio.sleep(0.02)
            await farm.settle(again)

        found = await shown(farm, logs, AlarmName.CALLBACKS_LATE, "callbacks", mend)

    assert "check that a gateway is running and that the receiver responds" in found.remedy


async def test_a_place_for_evidence_that_is_gone(tmp_path: Path, logs: Logs) -> None:
    """A directory is not mounted any more: its marker tells."""
    marker = tmp_path / "data" / "evidence" / ".farm"
    async with watched(f"sqlite:///{tmp_path / 'farm.db'}", tmp_path) as farm:
        await until(farm, AlarmName.EVIDENCE_AWAY, wrong=False)
        marker.unlink()

        def mend() -> None:
            marker.write_text("test\n")

        found = await shown(farm, logs, AlarmName.EVIDENCE_AWAY, "evidence", mend)

    assert found.verdict == doctor_pb2.VERDICT_WARN
    assert found.text == f"{marker.parent} has lost its marker since the controller started"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def farm_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty database on each engine."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'farm.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.mark.long
@pytest.mark.postgres
async def test_a_database_that_is_away(
    postgres: PostgresServer, postgres_url: str, tmp_path: Path, logs: Logs
) -> None:
    """It lets nobody in: this controller reads nothing, and others do not hear it.

    The doctor cannot be asked meanwhile: nobody knows the key.
    """
    name = postgres_url.rpartition("/")[2]
    signs = (AlarmName.DATABASE_AWAY, AlarmName.NOTIFIER_SILENT)
    async with watched(postgres_url, tmp_path) as farm:
        for sign in signs:
            await until(farm, sign, wrong=False)
        postgres.shut_out(name)
        try:
            for sign in signs:
                await until(farm, sign, wrong=True)
        finally:
            postgres.let_in(name)
        raised = [told(logs, sign) for sign in signs]
        for sign in signs:
            await until(farm, sign, wrong=False)
        found = await doctor(farm)

    assert raised == [["alarm.raised"]] * 2
    assert [told(logs, sign) for sign in signs] == [["alarm.raised", "alarm.cleared"]] * 2
    assert found["database"].text.startswith("the database answers within")
    assert found["controllers"].verdict == doctor_pb2.VERDICT_OK
    assert found["clock"].text == "the controller's clock is equal to the database's clock"


async def test_the_doctor_knows_the_agents(farm_url: str, tmp_path: Path) -> None:
    """Who is there, with which release; who is not; whose certificate was not renewed."""
    async with watched(farm_url, tmp_path) as farm:
        none = await doctor(farm)
        async with played_agent(farm, "A1"):
            one = await doctor(farm)
            async with farm.controller.database.writing() as tx:
                ends = round((tx.now.timestamp() + 3600) * 1_000_000)
                await tx.rows(
                    "INSERT INTO certificates VALUES ('1', 'agent', 'agent-1', 1, "  # noqa: S608
                    f"{ends}, NULL) RETURNING serial",
                    (),
                )
            near = await doctor(farm)
        async with asyncio.timeout(PATIENCE):
            while (gone := (await doctor(farm))["agents"]).text.startswith("1 of 1"):
                continue

    assert none["agents"].text == "no agent has ever connected"
    assert one["agents"].text == "1 of 1 connected: 1 of 0"
    assert one["versions"].text.endswith("agent-1")
    assert one["certificates"].verdict == doctor_pb2.VERDICT_OK
    assert near["certificates"].text == "expired or about to expire: agent-1"
    assert "`phonefarm agents invite --agent-id agent-1`" in near["certificates"].remedy
    assert (gone.text, gone.verdict) == ("not connected: agent-1", doctor_pb2.VERDICT_FAIL)
