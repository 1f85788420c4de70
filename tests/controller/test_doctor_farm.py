"""The doctor sees the farm: phones, pauses, drains, hosts, gateways, receivers and what waits."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from phonefarm.v1 import callback_pb2, doctor_pb2, doctor_pb2_grpc
from phonefarm_common.channel import bearer
from phonefarm_common.wire_enums import DeliveryOutcome, Readiness, Transport
from phonefarm_controller.agents.inventory import ReportedHost
from phonefarm_controller.alarms import Alarms, Finding, Severity
from phonefarm_controller.callbacks.delivery import DeliveryReport
from phonefarm_controller.callbacks.gateway_calls import (
    CALLING_SECONDS,
    MOST,
    REFUSED_SECONDS,
    GatewayCalls,
)
from phonefarm_controller.model.pauses import PauseScope
from phonefarm_controller.model.phone_reports import HostReport, PhoneReport, UnidentifiedDevice
from phonefarm_controller.model.states import Condition, Health, Intent
from phonefarm_controller.monitoring.doctor import Doctor, Examination
from phonefarm_controller.monitoring.host_findings import findings_of_gateways
from support.controller import GATEWAY_TOKEN, KEY, farm_on
from support.situations import ON_P1, bound, change_phone, connect, offer
from support.world import World, seen_phone, world_on

FAULTS: dict[str, dict[str, Any]] = {
    "gone": {"transport": Transport.ABSENT},
    "asks": {"transport": Transport.UNAUTHORIZED},
    "full": {"readiness": Readiness.UNFIT, "reason": "storage full"},
    "flat": {"readiness": Readiness.UNFIT, "report": PhoneReport(needs_hands="charge it")},
}


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """Open a database with one agent, connected, that offers two phones."""
    async with world_on(database_url) as world:
        await world.furnish("a", "p1", "p2")
        connect(world, "a")
        offer(world, "p1", "p2")
        yield world


@pytest.fixture
def gateway_calls(world: World) -> GatewayCalls:
    """Know of one gateway, which signs."""
    calls = GatewayCalls(monotonic=world.clock.monotonic)
    calls.accept("1", name="gw-1", signs=True)
    return calls


@pytest.fixture
def doctor(world: World, gateway_calls: GatewayCalls) -> Doctor:
    """Return the doctor of the only controller."""
    return Doctor(
        database=world.database,
        sessions=world.sessions,
        claim=world.claim,
        gateway_calls=gateway_calls,
        alarms=Alarms(),
        disk_alarm=world.disk_alarm,
        clock=world.clock,
        version="0",
        certificate_life=timedelta(hours=24),
        alone=True,
    )


def wrong(examination: Examination, check: str = "") -> list[tuple[str, str]]:
    """Return text and remedy of what is not ok (of one check), but for the test's two clocks."""
    return [
        (finding.text, finding.remedy)
        for finding in examination.findings
        if finding.verdict is not Severity.OK
        and finding.check != "clock"
        and check in {"", finding.check}
    ]


async def test_a_farm_that_is_well_has_no_problem(doctor: Doctor) -> None:
    """Every check is ok, and one line counts phones and hosts."""
    told = await doctor.examine()

    assert wrong(told) == []
    assert told.summary == "2 phones: 2 free; 1 of 1 host connected"


async def test_each_phone_stands_in_one_class(world: World, doctor: Doctor) -> None:
    """Each class has its phones and what helps; what a person must repair comes before plans."""
    many = [f"n{number}" for number in range(7)]
    others = ["dirt", "ill", "kept", *FAULTS]
    await world.furnish("a", "p1", "p2", *others)
    seen = [seen_phone(serial, **FAULTS.get(serial, {})) for serial in ("p1", "p2", *others, *many)]
    await world.inventory("a", world.terms["a"], seen)
    quarantined = {"health": Health.QUARANTINED, "health_until": None}
    await change_phone(world, "ph-dirt", **quarantined, health_reason="dirty: phone_absent")
    await change_phone(world, "ph-ill", **quarantined, health_reason="adb_failed: no answer")
    await change_phone(world, "ph-kept", intent=Intent.MAINTENANCE)
    await change_phone(world, "ph-p2", intent=Intent.DRAINING)
    connect(world, "a")
    offer(world, "p1", "dirt", "ill", "kept", "p2", *many)

    told = await doctor.examine()

    found = {text.split(": ")[0]: (text, remedy) for text, remedy in wrong(told, "phones")}
    assert {text for text, _ in found.values()} == {
        "1 phone is dirty: ph-dirt",
        "1 phone is quarantined until somebody returns it: ph-ill",
        "1 phone is absent: ph-gone",
        "1 phone is unauthorized: ph-asks",
        "1 phone is unfit: ph-full",
        "1 phone needs hands: ph-flat",
        "1 phone is drained: ph-p2",
        "7 phones are not admitted: ph-n0, ph-n1, ph-n2, ph-n3, ph-n4, and 2 more",
    }
    assert "`phonefarm phones return ph-dirt --reason TEXT`" in found["1 phone is dirty"][1]
    assert "charge it" in found["1 phone needs hands"][1]
    assert found["7 phones are not admitted"][1].endswith(
        "`phonefarm phones admit ph-n0 ph-n1 ph-n2 ph-n3 ph-n4`"
    )
    assert told.summary.startswith("16 phones: ")
    assert "1 in maintenance" in told.summary
    assert "1 free" in told.summary


async def test_a_device_that_nobody_can_identify(world: World, doctor: Doctor) -> None:
    """It is no phone yet, and a person must allow debugging on its screen."""
    device = UnidentifiedDevice(
        adb_serial="usb-7", transport=Transport.UNAUTHORIZED, reason="", needs_hands="allow it"
    )
    phones = [seen_phone("p1"), seen_phone("p2")]
    await world.inventory("a", world.terms["a"], phones, unidentified=[device])

    ((text, remedy),) = wrong(await doctor.examine())

    assert text == "1 device that adb lists cannot be identified: usb-7 at a (unauthorized)"
    assert "`phonefarm phones needs-hands`" in remedy


async def test_a_paused_farm_is_seen_at_once(world: World, doctor: Doctor) -> None:
    """The pause of all work comes first, with who, why and how it ends."""
    await world.pauses.pause(PauseScope.APP, "shortvideo", actor="ada", reason="it is broken")
    await world.pauses.pause(PauseScope.ALL, "", actor="backup", reason="restored")

    ((text, remedy),) = wrong(await doctor.examine())

    assert text.startswith("paused: all work, by backup: restored (since 20")
    assert "app shortvideo, by ada: it is broken" in text
    assert "`phonefarm resume --all`" in remedy


async def test_drained_hosts_and_hosts_in_trouble(world: World, doctor: Doctor) -> None:
    """A drain says by whom; a host without Docker says what its agent says."""
    await world.drain.agent("a", actor="ada", reason="a new kernel")
    withheld = HostReport(withheld="the Docker engine does not answer")
    host = ReportedHost(incarnation=1, report=withheld)
    phones = [seen_phone("p1"), seen_phone("p2")]
    await world.inventory("a", world.terms["a"], phones, host=host)

    told = wrong(await doctor.examine())

    assert told == [
        (
            "a withholds all of its phones: the Docker engine does not answer",
            "run `phonefarm-agent doctor` on that host to find out what to repair",
        ),
        (
            "drained: a (by ada: a new kernel)",
            "to give a host work again, run `phonefarm agents undrain a --reason TEXT`",
        ),
    ]


async def test_why_work_waits_is_one_line(world: World, doctor: Doctor) -> None:
    """Work that an account keeps waiting needs a person; what goes on by itself does not."""
    await bound(world)
    ready = await doctor.examine()
    needy = {"phone_id": "ph-p1", "condition": Condition.NEEDS_ATTENTION}
    await world.put_account("acc-p1", **needy)
    await world.accept(target=ON_P1)

    ((text, remedy),) = wrong(await doctor.examine())

    assert wrong(ready) == []
    assert text == "2 items wait: account_needs_attention (2)"
    assert "`phonefarm accounts clear acc-p1 --reason TEXT`" in remedy


async def test_receivers_that_fail_are_named(world: World, doctor: Doctor) -> None:
    """How many callbacks wait for the receiver, since when, the last error, and an example."""
    process_id = await bound(world)
    (lent,) = await world.deliver.lease(limit=10)
    report = DeliveryReport(
        delivery_id=lent.delivery_id,
        lease_token=lent.lease_token or "",
        outcome=DeliveryOutcome.FAILED,
        http_status=0,
        error="connection refused",
        retry_after_seconds=0,
    )
    before = wrong(await doctor.examine())
    await world.deliver.settle([report])

    ((text, remedy),) = wrong(await doctor.examine())

    assert before == []
    assert text.startswith(f"1 callback undelivered to {lent.receiver}, the oldest since 20")
    assert text.endswith(": connection refused")
    assert f"`phonefarm processes deliveries {process_id}`" in remedy


def words(found: Sequence[Finding]) -> list[tuple[str, str, str]]:
    """Return check, verdict and text of each finding."""
    return [(each.check, str(each.verdict), each.text) for each in found]


def test_gateways_are_known_for_a_while() -> None:
    """One that is silent is gone; a refusal is told until the gateway is accepted, or is old."""
    now = [0.0]
    calls = GatewayCalls(monotonic=lambda: now[0])

    calls.refuse("gw-1", member_id="gw-1", why="certificate_refused")
    calls.accept("1", name="gw-2", signs=False)
    both = words(findings_of_gateways(calls.calling(), calls.refused(), alone=True))
    remedies = [each.remedy for each in findings_of_gateways([], calls.refused(), alone=True)]
    calls.accept("2", name="gw-1", signs=None)
    better = words(findings_of_gateways(calls.calling(), calls.refused(), alone=True))
    now[0] = CALLING_SECONDS + 1
    silent = words(findings_of_gateways(calls.calling(), calls.refused(), alone=True))
    shared = words(findings_of_gateways(calls.calling(), calls.refused(), alone=False))
    calls.refuse("gw-3", member_id="", why="gateway_token_refused")
    now[0] += REFUSED_SECONDS + 1

    assert both == [
        ("gateways", "ok", "connected: gw-2"),
        ("gateways", "warn", "refused: gw-1 (certificate_refused)"),
        ("signing", "warn", "these gateways send callbacks without a signature: gw-2"),
    ]
    assert "`phonefarm gateways invite --gateway-id gw-1`" in remedies[0]
    assert better[0][2] == "connected: gw-1, gw-2"
    assert silent == [
        (
            "gateways",
            "warn",
            "no gateway calls this controller: REST does not work, and no callbacks are sent",
        )
    ]
    assert [verdict for _, verdict, _ in shared] == ["ok"]
    assert calls.refused() == []


def test_strangers_cannot_fill_the_memory() -> None:
    """However many call, and are refused, the newest are kept."""
    calls = GatewayCalls(monotonic=lambda: 0.0)

    for number in range(2 * MOST):
        calls.refuse(f"ipv4:{number}", member_id="", why="gateway_token_refused")
        calls.accept(str(number), name=f"gw-{number}", signs=True)

    assert len(calls.refused()) == len(calls.calling()) == MOST
    assert calls.calling()[-1].name == "gw-199"


async def test_the_controller_tells_of_the_gateways_that_call(tmp_path: Path) -> None:
    """One shows a wrong token, one says that it does not sign, one of an older release nothing."""
    async with farm_on(f"sqlite:///{tmp_path / 'farm.db'}", tmp_path / "data") as farm:
        stub: Any = doctor_pb2_grpc.DoctorServiceStub(farm.channel)
        lease = callback_pb2.LeaseDeliveriesRequest(gateway_id="new", limit=1, signs=False)
        with pytest.raises(grpc.aio.AioRpcError):
            await farm.callbacks.LeaseDeliveries(
                lease, metadata=(("x-phonefarm-gateway-token", "wrong"),)
            )
        refused = await stub.Examine(doctor_pb2.ExamineRequest(), metadata=bearer(KEY))
        await farm.callbacks.LeaseDeliveries(
            lease, metadata=(("x-phonefarm-gateway-token", GATEWAY_TOKEN),)
        )
        unsigned = await stub.Examine(doctor_pb2.ExamineRequest(), metadata=bearer(KEY))

    told = {finding.text: finding for finding in refused.findings}
    after = {finding.check: finding for finding in unsigned.findings}
    assert "refused: ipv4:127.0.0.1 (gateway_token_refused)" in told
    assert after["gateways"].text == "connected: ipv4:127.0.0.1"
    assert after["signing"].verdict == doctor_pb2.VERDICT_WARN
    assert unsigned.summary == "no phone yet; 0 of 0 hosts connected"
