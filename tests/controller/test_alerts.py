"""Alerts: which checks are on, and the events that tell the alert URL; time is virtual."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from phonefarm.schemas.alert_event import AlertsChanged
from phonefarm_common.reasons import FarmError
from phonefarm_common.wire_enums import DeliveryOutcome
from phonefarm_controller.alarms import Alarms, Finding, Severity
from phonefarm_controller.callbacks.alerts import REPEAT, Alert, AlertEvents
from phonefarm_controller.callbacks.delivery import GIVE_UP_SECONDS, DeliveryReport
from phonefarm_controller.callbacks.gateway_calls import GatewayCalls
from phonefarm_controller.model.errors import OwnerLostError
from phonefarm_controller.model.pauses import PauseScope
from phonefarm_controller.monitoring.alerts import OFF_SECONDS, ON_SECONDS, AlertLevels
from phonefarm_controller.monitoring.doctor import Doctor, Examination
from phonefarm_controller.monitoring.work_findings import ALERTS_CHECK
from phonefarm_controller.store.deliveries import Delivery
from phonefarm_controller.store.loop_leases import Tenure
from pydantic import TypeAdapter
from support.world import World, world_on

URL = "https://ops.example/hook?token=secret"
EVENT: TypeAdapter[AlertsChanged] = TypeAdapter(AlertsChanged)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Open a farm without phones, in virtual time."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        yield world


def events_of(world: World, url: str | None = URL) -> AlertEvents:
    """Return the events of a controller with this alert URL."""
    return AlertEvents(database=world.database, wakeups=world.wakeups, url=url, farm_id="berlin")


@pytest.fixture
def events(world: World) -> AlertEvents:
    """Return the events of the controller."""
    return events_of(world)


def finding(check: str, severity: Severity = Severity.WARN, text: str = "it is wrong") -> Finding:
    """Return what doctor found."""
    return Finding(check=check, verdict=severity, text=text, remedy="mend it")


def found(*wrong: Finding, complete: bool = True) -> Examination:
    """Return an examination that found these."""
    return Examination(findings=wrong, summary="", complete=complete)


def on(*checks: str, severity: Severity = Severity.WARN) -> dict[str, Alert]:
    """Return alerts that are on."""
    return {
        check: Alert(severity=severity, problems=(finding(check, severity),)) for check in checks
    }


async def send(
    world: World, outcome: DeliveryOutcome = DeliveryOutcome.DELIVERED, error: str = "HTTP 500"
) -> list[Delivery]:
    """Let a gateway send what is due, with this outcome."""
    lent = await world.deliver.lease(limit=10, gateway_id="gw")
    reports = [
        DeliveryReport(
            delivery_id=one.delivery_id,
            lease_token=one.lease_token or "",
            outcome=outcome,
            http_status=200,
            error=error,
            retry_after_seconds=0,
        )
        for one in lent
    ]
    await world.deliver.settle(reports)
    return lent


async def sent(world: World) -> dict[str, Any]:
    """Deliver the only event that is due; return its body, which is as documented."""
    (event,) = await send(world)
    EVENT.validate_python(event.record, strict=False)
    return dict(event.record)


def refused(error: pytest.ExceptionInfo[FarmError]) -> str:
    """Return the reason on the wire."""
    return error.value.text


def test_a_check_is_on_after_a_minute_and_off_after_five() -> None:
    """What comes and goes faster stays as it is, so it is told of twice and no more."""
    now = 0.0
    levels = AlertLevels({}, monotonic=lambda: now)
    wrong, well = found(finding("disk")), found(finding("disk", Severity.OK))

    assert levels.observe(wrong) == {}
    now = ON_SECONDS - 1
    assert levels.observe(wrong) == {}
    now += 1
    assert list(levels.observe(wrong)) == ["disk"]

    for _ in range(20):  # it flaps for an hour
        now += OFF_SECONDS - 60
        assert list(levels.observe(well)) == ["disk"]
        now += 30
        assert list(levels.observe(wrong)) == ["disk"]
    now += OFF_SECONDS - 1
    assert list(levels.observe(well)) == ["disk"]
    now += 1
    assert levels.observe(well) == {}

    now += 10
    assert levels.observe(wrong) == {}
    now += ON_SECONDS - 5
    assert levels.observe(well) == {}
    now += 5
    assert levels.observe(wrong) == {}, "the minute begins again"


def test_what_fails_is_above_what_warns() -> None:
    """The severity rises and falls by the same rule; the problems are those found last."""
    now = 0.0
    levels = AlertLevels({}, monotonic=lambda: now)
    levels.observe(found(finding("agents")))
    now = ON_SECONDS
    assert levels.observe(found(finding("agents")))["agents"].severity is Severity.WARN

    worse = found(finding("agents", Severity.FAIL, "all are away"), finding("agents"))
    assert levels.observe(worse)["agents"].severity is Severity.WARN
    now += ON_SECONDS
    alert = levels.observe(worse)["agents"]
    assert alert.severity is Severity.FAIL
    assert [problem.text for problem in alert.problems] == ["all are away", "it is wrong"]

    now += OFF_SECONDS
    assert levels.observe(found(finding("agents")))["agents"].severity is Severity.WARN


def test_what_an_examination_cannot_see_stays_as_it_is() -> None:
    """While the database is away, no alert that only it can end turns off."""
    now = 0.0
    levels = AlertLevels(on("phones"), monotonic=lambda: now)
    blind = found(finding("database", Severity.FAIL), complete=False)

    for _ in range(5):
        now += OFF_SECONDS
        assert set(levels.observe(blind)) >= {"phones"}
    assert set(levels.observe(blind)) == {"phones", "database"}
    now += OFF_SECONDS - 1
    assert "phones" in levels.observe(found())
    now += 1
    assert "phones" not in levels.observe(found())


def test_the_check_of_the_alerts_is_no_alert() -> None:
    """Who cannot be told cannot be told that either."""
    now = 0.0
    levels = AlertLevels({}, monotonic=lambda: now)
    levels.observe(found(finding(ALERTS_CHECK)))
    now = ON_SECONDS
    assert levels.observe(found(finding(ALERTS_CHECK))) == {}


async def test_an_event_has_everything_that_is_on(world: World, events: AlertEvents) -> None:
    """It names what changed; what stays on keeps its begin; nothing new makes no event."""
    assert not await events.report({})
    assert await events.report(on("disk"))
    first = await sent(world)
    world.clock.advance(100)
    assert not await events.report(on("disk"))
    assert await events.report(on("disk", "agents"))
    second = await sent(world)
    assert await events.report(on("disk", severity=Severity.FAIL))
    third = await sent(world)
    assert await events.report({})
    last = await sent(world)

    assert first["text"] == "Phonefarm berlin: disk (warn): it is wrong"
    assert (first["turned_on"], first["farm"], first["sequence"]) == (["disk"], "berlin", 1)
    assert first["alerts"][0]["problems"] == [{"text": "it is wrong", "remedy": "mend it"}]
    assert second["turned_on"] == ["agents"]
    assert [alert["check"] for alert in second["alerts"]] == ["agents", "disk"]
    assert second["alerts"][1]["since"] == first["alerts"][0]["since"] == first["emitted_at"]
    assert (third["turned_off"], third["severity_changed"]) == (["agents"], ["disk"])
    assert (last["turned_off"], last["alerts"], last["sequence"]) == (["disk"], [], 4)
    assert last["text"] == "Phonefarm berlin: disk is ok again"


async def test_every_engine_keeps_events(database_url: str) -> None:
    """Made, leased, reported, delivered and sent again, under a lock of their own."""
    async with world_on(database_url) as world:
        events = events_of(world)
        assert await events.report(on("disk"))
        assert await world.deliver.seconds_until_due() == 0
        assert (await send(world, DeliveryOutcome.FAILED))[0].url == URL
        assert await world.deliver.lease(limit=10) == []
        assert not await events.report(on("agents"))
        (event,) = await events.log()
        assert (event.state, event.attempts, event.last_error) == ("pending", 1, "HTTP 500")

        moved = events_of(world, "https://other.example/")
        assert await moved.report(on("disk"))
        assert (await sent(world))["sequence"] == 2
        await moved.replay(2, actor="olga")
        assert (await sent(world))["sequence"] == 2
        await moved.test(actor="olga")
        states = [str(event.state) for event in await moved.log()]
        assert states == ["pending", "delivered", "dead"]


async def test_one_event_at_a_time_and_the_next_has_all_changes(
    world: World, events: AlertEvents
) -> None:
    """A receiver that is away costs one event, however much changes; then it knows the level."""
    assert await events.report(on("disk"))
    await send(world, DeliveryOutcome.FAILED)
    for number in range(20):
        assert not await events.report(on("disk", f"check-{number}"))
    assert [event.sequence for event in await events.log()] == [1]

    world.clock.advance(10)
    assert (await sent(world))["turned_on"] == ["disk"]
    assert await events.report(on("queue"))
    event = await sent(world)
    assert (event["turned_on"], event["turned_off"]) == (["queue"], ["disk"])


async def test_a_level_that_lasts_is_told_every_day(world: World, events: AlertEvents) -> None:
    """Who has lost what it knew is right again; a farm that is well is not mentioned."""
    await events.report(on("disk"))
    await sent(world)
    world.clock.advance(REPEAT.total_seconds() - 1)
    assert not await events.report(on("disk"))
    world.clock.advance(1)
    assert await events.report(on("disk"))
    assert (await sent(world))["text"] == "Phonefarm berlin: still on: disk"

    await events.report({})
    await sent(world)
    world.clock.advance(2 * REPEAT.total_seconds())
    assert not await events.report({})


async def test_a_receiver_that_says_gone_is_left_alone(world: World, events: AlertEvents) -> None:
    """410 stops the alerts until somebody replays one."""
    await events.report(on("disk"))
    await send(world, DeliveryOutcome.GONE, error="HTTP 410")
    assert not await events.report(on("agents"))
    world.clock.advance(2 * GIVE_UP_SECONDS)
    assert not await events.report(on("agents"))

    again = await events.replay(1, actor="olga")
    assert again.sequence == 1
    assert (await sent(world))["turned_on"] == ["disk"]
    assert await events.report(on("agents"))


async def test_what_was_given_up_is_followed_by_the_present_level(
    world: World, events: AlertEvents
) -> None:
    """After 24 h an event is dead; the next one starts from what the receiver does know."""
    await events.report(on("disk"))
    while not await events.report(on("agents")):
        wait = await world.deliver.seconds_until_due()
        world.clock.advance((wait or 0) + 0.001)
        await send(world, DeliveryOutcome.FAILED)

    states = [(event.sequence, str(event.state)) for event in await events.log()]
    assert states == [(2, "pending"), (1, "dead")]
    event = await sent(world)
    assert (event["turned_on"], event["turned_off"]) == (["agents"], [])


async def test_another_url_is_told_everything(world: World, events: AlertEvents) -> None:
    """The new receiver knows nothing; what was for the old one is not sent any more."""
    await events.report(on("disk"))
    await sent(world)
    await events.report(on("disk", "agents"))
    moved = events_of(world, "https://other.example/")

    assert await moved.report(on("disk", "agents"))
    (event,) = await send(world)
    assert (event.url, event.record["turned_on"]) == ("https://other.example/", ["agents", "disk"])
    with pytest.raises(FarmError, match="present alert URL"):
        await moved.replay(1, actor="olga")


async def test_a_test_changes_nothing_of_the_levels(world: World, events: AlertEvents) -> None:
    """It goes out when nothing else waits; without a URL there is none."""
    await events.report(on("disk"))
    with pytest.raises(FarmError) as error:
        await events.test(actor="olga")
    assert refused(error) == "state_conflict:unsettled"
    await sent(world)

    await events.test(actor="olga")
    event = await sent(world)
    assert (event["event_type"], event["turned_on"]) == ("alerts.test", [])
    assert [alert["check"] for alert in event["alerts"]] == ["disk"]
    assert not await events.report(on("disk"))
    with pytest.raises(FarmError) as error:
        await events_of(world, None).test(actor="olga")
    assert refused(error) == "state_conflict:no_alert_url"
    assert not await events_of(world, None).report(on("agents"))


async def test_only_the_newest_events_stay(world: World, events: AlertEvents) -> None:
    """A year of alerts is no burden."""
    for _ in range(102):
        await events.test(actor="olga")
        await sent(world)

    kept = [event.sequence for event in await events.log()]
    assert (len(kept), kept[0], kept[-1]) == (100, 102, 3)


async def test_a_former_leader_reports_nothing(world: World, events: AlertEvents) -> None:
    """Its term is over: another controller sends the alerts now."""
    with pytest.raises(OwnerLostError):
        await events.report(on("disk"), tenure=Tenure(loop="alerts", term=1))
    assert await events.log() == []


async def test_the_next_leader_goes_on_from_what_was_reported(
    world: World, events: AlertEvents
) -> None:
    """It begins with the levels of the last event, and turns nothing off at once."""
    await events.report(on("disk", "agents", severity=Severity.FAIL))
    await sent(world)
    now = 0.0

    levels = AlertLevels(await events_of(world).last_made(), monotonic=lambda: now)

    assert levels.observe(found()) == on("disk", "agents", severity=Severity.FAIL)
    assert not await events.report(levels.observe(found()))
    now = OFF_SECONDS
    assert levels.observe(found()) == {}


async def test_doctor_says_when_alerts_do_not_arrive(world: World, events: AlertEvents) -> None:
    """Without a URL it says that none are sent; the URL's secret is not shown."""

    async def check(receiver: str) -> Finding:
        doctor = Doctor(
            database=world.database,
            sessions=world.sessions,
            claim=world.claim,
            gateway_calls=GatewayCalls(monotonic=world.clock.monotonic),
            alarms=Alarms(),
            disk_alarm=world.disk_alarm,
            clock=world.clock,
            version="0",
            certificate_life=timedelta(hours=24),
            alone=True,
            alert_receiver=receiver,
        )
        (it,) = [f for f in (await doctor.examine()).findings if f.check == ALERTS_CHECK]
        return it

    none = await check("")
    fresh = await check(events.receiver)
    await events.report(on("disk"))
    waiting = await check(events.receiver)
    world.clock.advance(61)
    nobody = await check(events.receiver)
    await send(world, DeliveryOutcome.FAILED)
    failing = await check(events.receiver)
    world.clock.advance(10)
    await send(world, DeliveryOutcome.GONE, error="HTTP 410")
    stopped = await check(events.receiver)

    assert [each.verdict for each in (none, fresh, waiting)] == [Severity.OK] * 3
    assert [each.verdict for each in (nobody, failing, stopped)] == [Severity.WARN] * 3
    assert fresh.text == "the farm sends its alerts to https://ops.example:443"
    assert "no gateway has sent it" in nobody.text
    assert failing.text.endswith("(pending): HTTP 500")
    assert "alerts replay" in stopped.remedy
    assert "secret" not in repr((nobody, failing, stopped))


async def test_the_farm_is_what_doctor_says(world: World, events: AlertEvents) -> None:
    """A pause of all work, which doctor finds, becomes an alert and ends with it."""
    await world.furnish("a", "p1")
    doctor = Doctor(
        database=world.database,
        sessions=world.sessions,
        claim=world.claim,
        gateway_calls=GatewayCalls(monotonic=world.clock.monotonic),
        alarms=Alarms(),
        disk_alarm=world.disk_alarm,
        clock=world.clock,
        version="0",
        certificate_life=timedelta(hours=24),
        alone=False,
    )
    levels = AlertLevels({}, monotonic=world.clock.monotonic)

    async def turn() -> None:
        await events.report(levels.observe(await doctor.examine()))

    await world.pauses.pause(PauseScope.ALL, "", actor="olga", reason="moving house")
    await turn()
    world.clock.advance(ON_SECONDS)
    await turn()
    event = await sent(world)
    (pause,) = [alert for alert in event["alerts"] if alert["check"] == "pauses"]
    assert "moving house" in pause["problems"][0]["text"]
    assert pause["problems"][0]["remedy"] == "`phonefarm resume --all` ends the pause"
