"""What agents tell of phones and hosts beside the axes: kept when it is news, audited once."""

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from phonefarm.v1 import agent_pb2, fleet_pb2
from phonefarm_common.channel import bearer
from phonefarm_controller.model.phone_reports import PhoneReport, is_news
from phonefarm_controller.store.schema.fleet import phone_looks, phones
from sqlalchemy import event
from support.controller import KEY, Farm, PlayedAgent, played_agent, told

KEYED = bearer(KEY)
PASSED, FAILED = agent_pb2.STAGE_STATE_PASSED, agent_pb2.STAGE_STATE_FAILED


def phone(serialno: str, **changes: object) -> agent_pb2.PhoneReport:
    """Return a phone that is fit; *changes* replace fields."""
    values: dict[str, object] = {
        "serialno": serialno,
        "adb_serial": f"usb-{serialno}",
        "transport": agent_pb2.TRANSPORT_ONLINE,
        "readiness": agent_pb2.READINESS_READY,
        "stages": [agent_pb2.Stage(name="boot", state=PASSED, limit_seconds=60, seconds=3)],
        "battery_percent": 80,
        "battery_celsius": 30.0,
        "storage_free_bytes": 10**10,
    }
    return agent_pb2.PhoneReport(**(values | changes))  # type: ignore[arg-type] # fields by name


def step(number: int, serialno: str = "A1", adb_serial: str = "") -> agent_pb2.RecoveryStep:
    """Return a step of recovery."""
    return agent_pb2.RecoveryStep(
        number=number,
        serialno=serialno,
        adb_serial=adb_serial,
        step="reconnect",
        reason="offline",
        outcome="online",
    )


async def tell(agent: PlayedAgent, *reports: agent_pb2.PhoneReport, **host: object) -> None:
    """Send an inventory, and wait until it is taken."""
    whole = agent_pb2.HostReport(**host)  # type: ignore[arg-type] # fields by name
    await agent.say(inventory=agent_pb2.Inventory(phones=reports, host=whole))
    await agent.hear("phone_names")


async def details(farm: Farm, phone_id: str = "ph-a1") -> fleet_pb2.PhoneDetails:
    """Return everything that is known of the phone."""
    found: fleet_pb2.PhoneDetails = await farm.fleet.ShowPhone(
        fleet_pb2.ShowPhoneRequest(phone_id=phone_id), metadata=KEYED
    )
    return found


async def audit(farm: Farm, **request: object) -> list[fleet_pb2.AuditEntry]:
    """Return the audit, newest first."""
    asked = fleet_pb2.ListAuditRequest(**request)  # type: ignore[arg-type] # fields by name
    return list((await farm.fleet.ListAudit(asked, metadata=KEYED)).entries)


async def test_the_details_tell_the_axes_the_stages_and_the_facts(farm: Farm) -> None:
    """Each axis with its writer and since when, each stage with its limit and last error."""
    async with played_agent(farm, "A1") as agent:
        boot = agent_pb2.Stage(
            name="boot", state=FAILED, limit_seconds=60, seconds=61, error="not in time"
        )
        report = phone("A1", readiness=agent_pb2.READINESS_UNFIT, reason="boot", stages=[boot])
        await tell(agent, report)

        found = await details(farm)

    axes = {axis.axis: axis for axis in found.axes}
    assert {name: axis.value for name, axis in axes.items()} == {
        "transport": "online",
        "readiness": "unfit",
        "health": "good",
        "lease": "free",
        "intent": "in_service",
    }
    assert (axes["transport"].by, axes["health"].by) == ("agent:agent-1", "controller")
    assert axes["intent"].by.startswith("operator:")
    assert axes["readiness"].since.ToNanoseconds() > axes["transport"].since.ToNanoseconds() > 0
    assert list(found.stages) == [boot]
    assert (found.battery_percent, found.battery_celsius) == (80, 30.0)
    assert found.storage_free_bytes == 10**10
    assert [reason.reason for reason in found.phone.reasons] == ["phone_unfit"]
    assert "the agent then offers the phone again by itself" in found.phone.reasons[0].remedy
    assert [entry.verb for entry in found.audit] == ["admit"]


async def test_an_offered_phone_has_nothing_against_it(farm: Farm) -> None:
    """And one that is not has every reason, each with its remedy."""
    async with played_agent(farm, "A1") as agent:
        await tell(agent, phone("A1"))
        await agent.offer("A1")
        await agent.beat()
        good = await details(farm)
        await farm.fleet.MaintainPhone(
            fleet_pb2.MaintainPhoneRequest(phone_id="ph-a1", reason="battery"), metadata=KEYED
        )
        hot = phone("A1", readiness=agent_pb2.READINESS_COOLING, reason="battery_hot")
        await tell(agent, hot, withheld="storage_full: 1 MiB")
        await agent.offer("none")
        await agent.beat()
        bad = await details(farm)

    assert (good.phone.offered, list(good.phone.reasons)) == (True, [])
    assert not bad.phone.offered
    assert [reason.reason for reason in bad.phone.reasons] == [
        "phone_in_maintenance",
        "host_incident",
        "phone_unfit",
    ]
    assert all(reason.remedy for reason in bad.phone.reasons)
    assert bad.host.withheld == "storage_full: 1 MiB"
    assert bad.host.withheld_since.ToNanoseconds() > 0


async def test_an_unknown_phone_has_no_details(farm: Farm) -> None:
    """It is refused by name."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await details(farm, "ph-nobody")

    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert told(refused)[0] == "unknown_phone:ph-nobody"


async def test_an_inventory_that_says_nothing_new_writes_nothing(farm: Farm) -> None:
    """Of fifty phones none is written, although their charge and their clocks go on."""
    serials = [f"P{n}" for n in range(50)]
    writes: list[str] = []

    def note(*execution: object) -> None:
        statement = str(execution[2])
        if statement.startswith(("UPDATE", "INSERT", "DELETE")):
            writes.append(statement.split(" SET ", maxsplit=1)[0])

    async with played_agent(farm, *serials, admit=False) as agent:
        await tell(agent, *(phone(serial) for serial in serials), recovery=[step(1)])
        event.listen(farm.controller.database.writer.sync_engine, "before_cursor_execute", note)
        later = agent_pb2.Stage(name="boot", state=PASSED, limit_seconds=60, seconds=9)
        drifted = [
            phone(s, stages=[later], battery_percent=79, battery_celsius=30.4) for s in serials
        ]
        await tell(agent, *drifted, recovery=[step(1)])

    cold = (phones.name, phone_looks.name, "audit", "host", "strangers")
    assert [write for write in writes if any(name in write for name in cold)] == []
    assert any("agents" in write for write in writes)  # it was heard: one row


def test_what_drifts_is_news_once_it_has_moved() -> None:
    """A charge that falls slowly is written every two percent, a first fact at once."""
    base = PhoneReport(battery_percent=80, battery_celsius=30.0, storage_free_bytes=1000)

    assert not is_news(
        base, PhoneReport(battery_percent=79, battery_celsius=30.9, storage_free_bytes=991)
    )
    assert is_news(
        base, PhoneReport(battery_percent=78, battery_celsius=30.0, storage_free_bytes=1000)
    )
    assert is_news(
        base, PhoneReport(battery_percent=80, battery_celsius=31.0, storage_free_bytes=1000)
    )
    assert is_news(
        base, PhoneReport(battery_percent=80, battery_celsius=30.0, storage_free_bytes=990)
    )
    assert is_news(base, PhoneReport())
    assert is_news(None, base)
    assert not is_news(None, PhoneReport())


async def test_each_step_of_recovery_is_audited_once(farm: Farm) -> None:
    """Told again, by another session and by another life of the agent: numbers begin anew there."""
    async with played_agent(farm, "A1") as agent:
        await tell(agent, phone("A1"), recovery=[step(1), step(2)])
        await tell(agent, phone("A1"), recovery=[step(1), step(2), step(3)])
    async with played_agent(farm, "A1", admit=False) as again:
        await tell(again, phone("A1"), recovery=[step(1), step(2), step(3)])
    async with played_agent(farm, "A1", admit=False, incarnation=2) as later:
        await tell(later, phone("A1"), recovery=[step(1), step(2, "", "usb-9")])

    found = (await details(farm)).recovery
    entries = await audit(farm)

    assert [(e.actor, e.verb, e.reason) for e in found] == [
        ("agent:agent-1", "recover reconnect", "offline: online")
    ] * 4
    assert [e.verb for e in entries if e.subject == "usb-9"] == ["recover reconnect"]


async def test_incidents_of_a_host_are_kept_until_its_agent_ends_them(farm: Farm) -> None:
    """One that a dead life of the agent left open ends when the next one does not know it."""
    began = Timestamp(seconds=1_700_000_000)
    down = agent_pb2.HostIncident(
        incident_id="i1", kind="adb_down", error="no answer", began_at=began, serialnos=["A1", "Z"]
    )
    over = agent_pb2.HostIncident()
    over.CopyFrom(down)
    over.ended_at.seconds = began.seconds + 60
    full = agent_pb2.HostIncident(incident_id="i2", kind="storage_full", began_at=began)
    async with played_agent(farm, "A1") as agent:
        await tell(agent, phone("A1"), incidents=[down], withheld="adb_down")
        during = (await details(farm)).host
        await tell(agent, phone("A1"), incidents=[over, full])
    async with played_agent(farm, "A1", admit=False, incarnation=2) as later:
        await tell(later, phone("A1"))
        after = (await details(farm)).host

    (told_of,) = during.incidents
    assert (told_of.kind, list(told_of.phones), told_of.seen_by) == (
        "adb_down",
        ["ph-a1", "Z"],
        "agent",
    )
    assert not told_of.HasField("ended_at")
    assert {i.incident_id: i.HasField("ended_at") for i in after.incidents} == {
        "i1": True,
        "i2": True,
    }
    assert after.withheld == ""


async def test_what_a_person_must_do_is_listed(farm: Farm) -> None:
    """Also at what nobody could identify; it leaves the list when it is done."""
    allow = "allow debugging on its screen"
    stranger = agent_pb2.PhoneReport(
        adb_serial="usb-7", transport=agent_pb2.TRANSPORT_UNAUTHORIZED, needs_hands=allow
    )
    ask = fleet_pb2.ListNeedsHandsRequest()
    async with played_agent(farm, "A1", "B2") as agent:
        sick = phone("B2", needs_hands="charge it: 3 %")
        await tell(agent, phone("A1"), sick, stranger)
        needed = (await farm.fleet.ListNeedsHands(ask, metadata=KEYED)).needed
        await tell(agent, phone("A1"), sick, stranger)
        again = (await farm.fleet.ListNeedsHands(ask, metadata=KEYED)).needed
        await tell(agent, phone("A1"), phone("B2"))
        done = (await farm.fleet.ListNeedsHands(ask, metadata=KEYED)).needed

    assert [(n.phone_id, n.agent_id, n.adb_serial, n.reason) for n in needed] == [
        ("", "agent-1", "usb-7", allow),
        ("ph-b2", "agent-1", "usb-B2", "charge it: 3 %"),
    ]
    assert all(n.since.ToNanoseconds() for n in needed)
    assert again == needed
    assert list(done) == []


async def test_the_audit_is_read_by_subject_and_moment(farm: Farm) -> None:
    """Newest first, at most as many as asked for."""
    async with played_agent(farm, "A1", "B2"):
        pass

    everything = await audit(farm)
    of_one = await audit(farm, subject="ph-b2")
    one = await audit(farm, limit=1)
    none = await audit(farm, since=Timestamp(seconds=everything[0].at.seconds + 5))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await audit(farm, limit=1001)

    assert {entry.subject for entry in everything} >= {"ph-a1", "ph-b2", "acc-A1"}
    assert [entry.verb for entry in of_one] == ["admit"]
    assert one == everything[:1]
    assert none == []
    assert told(refused) == ("invalid_request", ["limit"])


async def test_an_agent_may_tell_nonsense(farm: Farm) -> None:
    """Numbers no phone has, moments no calendar has: it is cut to size, and the talk goes on."""
    nowhen = Timestamp(seconds=2**60)
    odd = agent_pb2.HostIncident(incident_id="x" * 999, kind="?", began_at=nowhen)
    stage = agent_pb2.Stage(name="n" * 999, limit_seconds=float("nan"), seconds=float("inf"))
    report = phone("A1", stages=[stage] * 99, battery_celsius=float("inf"), needs_hands="x" * 9999)
    async with played_agent(farm, "A1") as agent:
        await tell(agent, report, incidents=[odd], recovery=[step(-1), step(2**62)])
        await tell(agent, report, incidents=[odd, odd], recovery=[step(2**62)])

        found = await details(farm)

    assert len(found.stages) == 30
    assert found.battery_celsius == 0.0
    assert len(found.recovery) == 1
