"""What is done for phones that cannot work, and above all when nothing is."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from phonefarm.v1 import agent_pb2 as pb
from phonefarm_agent.app.settings import Settings
from phonefarm_agent.model.host import INCIDENTS_KEPT, HostIncident, IncidentKind, Incidents
from phonefarm_agent.phones.adb.client import Adb
from phonefarm_agent.phones.device import Device
from phonefarm_agent.phones.limits import PhoneLimits
from phonefarm_agent.phones.mass_disconnect import MassDisconnect
from phonefarm_agent.phones.recovery import Recovery
from phonefarm_agent.phones.recovery_policy import (
    RECOVERY_PLANS,
    PhoneProblem,
    RecoveryState,
    StepKind,
    budgets,
    problem_of,
)
from phonefarm_common.timers import Timers
from phonefarm_common.wire_enums import Transport
from phonefarm_simulator.farm import Farm, simulated_phones
from phonefarm_simulator.ledger import Kind
from support.agent_processes import agent_process, driving
from support.agents import PHONE_SCALE, assignment, phone_work, running_agent
from support.controller_script import TOKEN, ScriptedController

LIMITS = PhoneLimits()
QUICK = replace(PhoneLimits().scaled(PHONE_SCALE), recover_after=0.4, reconnect_every=1.0)


class Moments:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.off = 0.0  # seconds by which the date is ahead

    def monotonic(self) -> float:
        """Return the moment."""
        return self.at

    def now(self) -> datetime:
        """Return the same moment as a date."""
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.at + self.off)


def days_of(
    problem: PhoneProblem, *, seconds: int
) -> tuple[list[tuple[int, StepKind]], int | None]:
    """Return the steps that are taken for a trouble that lasts, and when hands are needed."""
    state, history = RecoveryState(), {step: list[float]() for step in StepKind}
    taken: list[tuple[int, StepKind]] = []
    needs_hands = None
    for now in range(seconds):
        state.update(problem, now, over=False)
        step = state.next_step(now, history, budgets(LIMITS))
        if step is not None:
            history[step].append(now)
            taken.append((now, step))
        if needs_hands is None and state.needs_hands:
            needs_hands = now
    return taken, needs_hands


@pytest.mark.parametrize(
    ("problem", "steps", "needs_hands"),
    [
        (PhoneProblem.OFFLINE, [(n * 30, StepKind.RECONNECT) for n in range(6)], 180),
        (PhoneProblem.UNAUTHORIZED, [], 0),
        (PhoneProblem.NO_PERMISSION, [], 0),
        (PhoneProblem.RECOVERY, [(0, StepKind.REBOOT)], 300),
        (PhoneProblem.BOOTLOADER, [(0, StepKind.REBOOT)], 300),
        (PhoneProblem.SHELL_SILENT, [(0, StepKind.RECONNECT), (30, StepKind.RECONNECT)], 60),
        (PhoneProblem.SERIAL, [], 0),
        (PhoneProblem.STUCK, [(0, StepKind.REBOOT), (300, StepKind.REBOOT)], 600),
        (PhoneProblem.STORAGE_LOW, [(0, StepKind.CLEAR_STORAGE)], 10),
        (PhoneProblem.SCREEN_LOCKED, [], 0),
        (PhoneProblem.SIDELOAD, [], 0),
        (PhoneProblem.DUPLICATE_ADB_SERIAL, [], 0),
        (PhoneProblem.NO_SERIAL, [], 0),
        (PhoneProblem.ANDROID_TOO_OLD, [], 0),
    ],
)
def test_each_trouble_has_its_steps_and_then_needs_hands(
    problem: PhoneProblem, steps: list[tuple[int, StepKind]], needs_hands: int
) -> None:
    """Within the first hour: no step more often than its budget allows, then a person."""
    assert days_of(problem, seconds=3600) == (steps, needs_hands)
    assert RECOVERY_PLANS[problem].needs_hands


def test_budgets_are_filled_again_with_time() -> None:
    """A day of a stuck phone has two reboots, an hour of an offline one six reconnects."""
    stuck, _ = days_of(PhoneProblem.STUCK, seconds=24 * 3600 + 400)
    offline, _ = days_of(PhoneProblem.OFFLINE, seconds=2 * 3600)

    assert len(stuck) == 4
    assert len([at for at, _ in stuck if at < 24 * 3600]) == 2
    assert len(offline) == 12


@pytest.mark.parametrize(
    ("hours", "again"),
    [
        pytest.param(2, False, id="ahead"),
        pytest.param(-2, False, id="behind"),
        pytest.param(2, True, id="ahead, in an earlier life"),
    ],
)
async def test_a_budget_is_counted_whatever_the_wall_clock_does(hours: int, *, again: bool) -> None:
    """The next step comes when it is due, no later and no earlier, once the date is right again."""
    kept = [""]
    clock = Moments()
    device = Device(adb_serial="usb1", limits=LIMITS)
    device.set_transport(Transport.OFFLINE, clock.at)
    recovery = _recovery(clock, kept)
    clock.at += LIMITS.recover_after
    recovery.update(device, clock.at, duplicate=False)
    clock.off = hours * 3600
    await recovery.perform(device, StepKind.RECONNECT)
    clock.off = 0
    if again:
        recovery = _recovery(clock, kept)

    due = []
    for _ in range(2):
        clock.at += LIMITS.reconnect_every / 2
        recovery.update(device, clock.at, duplicate=False)
        due.append(recovery.due(device, clock.at))

    assert due == [None, StepKind.RECONNECT]


def _recovery(clock: Moments, kept: list[str]) -> Recovery:
    """Return one whose adb server is away, with what *kept* has; there it keeps its own."""

    def keep(text: str) -> None:
        kept[0] = text

    return Recovery(
        adb=Adb(host="127.0.0.1", port=1),
        limits=LIMITS,
        agent_id="agent-1",
        addresses=(),
        clock=clock,
        kept=kept[0],
        keep=keep,
    )


def test_a_trouble_goes_on_over_a_blink_and_ends_when_the_phone_is_well() -> None:
    """A phone that restarts shows no trouble for a while; hands stay needed until it is well."""
    state = RecoveryState()
    state.update(PhoneProblem.UNAUTHORIZED, 0.0, over=False)
    state.next_step(0.0, {}, budgets(LIMITS))

    state.update(None, 1.0, over=False)
    between = state.needs_hands
    state.update(None, 2.0, over=True)

    assert between == RECOVERY_PLANS[PhoneProblem.UNAUTHORIZED].needs_hands
    assert state.needs_hands == ""


@pytest.mark.parametrize("transport", list(Transport))
def test_every_transport_is_a_trouble_or_none_for_good_reason(transport: Transport) -> None:
    """Absent phones are nobody's matter, online ones are judged by their stages."""
    device = Device(adb_serial="usb", limits=LIMITS)
    device.set_transport(transport, 0.0)

    early = problem_of(device, LIMITS.recover_after - 0.1, duplicate=False)
    late = problem_of(device, LIMITS.recover_after, duplicate=False)

    assert early is None
    assert (late is None) is (transport in {Transport.ABSENT, Transport.ONLINE})


def lost_phones(count: int) -> list[Device]:
    """Return phones that were online and identified, and fall absent at 100."""
    devices = []
    for number in range(count):
        device = Device(adb_serial=f"usb{number}", limits=LIMITS)
        device.set_transport(Transport.ONLINE, 0.0)
        device.name(serialno=f"P{number}", boot_id="", model="", release="", problem="", now=0.0)
        device.settle(0.0)
        devices.append(device)
    return devices


@pytest.mark.parametrize(
    ("phones", "lost", "together"),
    [(50, 3, True), (50, 2, False), (4, 2, True), (3, 2, True), (2, 1, False), (1, 1, False)],
)
def test_phones_that_drop_together_are_one_incident(
    phones: int, lost: int, *, together: bool
) -> None:
    """Three, or half of them and at least two; it ends when they are back."""
    incidents = Incidents(clock=Moments(), kept="", keep=lambda _: None, changed=lambda: None)
    mass_disconnect = MassDisconnect(limits=LIMITS, incidents=incidents)
    devices = lost_phones(phones)
    for device in devices[:lost]:
        device.set_transport(Transport.ABSENT, 100.0)
        device.settle(103.0)
        mass_disconnect.drop(device, 103.0)

    mass_disconnect.update(devices, 104.0)
    lasting = incidents.lasting(IncidentKind.PHONES_LOST)

    assert (lasting is not None) is together
    assert mass_disconnect.lasts is together
    if lasting is not None:
        assert lasting.serialnos == tuple(sorted(f"P{n}" for n in range(lost)))
        for device in devices[: lost - 1]:
            device.set_transport(Transport.ONLINE, 110.0)
            device.settle(110.0)
        mass_disconnect.update(devices, 111.0)
        assert not mass_disconnect.lasts
        assert incidents.lasting(IncidentKind.PHONES_LOST) is None


def test_phones_that_drop_one_by_one_are_no_incident() -> None:
    """Within the window they count together, beyond it each is a matter of its own."""
    incidents = Incidents(clock=Moments(), kept="", keep=lambda _: None, changed=lambda: None)
    mass_disconnect = MassDisconnect(limits=LIMITS, incidents=incidents)
    devices = lost_phones(50)
    for number, device in enumerate(devices[:5]):
        at = 100.0 + number * 20
        device.set_transport(Transport.OFFLINE, at)
        device.settle(at + 3)
        mass_disconnect.drop(device, at + 3)
        mass_disconnect.update(devices, at + 4)

    assert not mass_disconnect.lasts


def test_phones_that_drop_with_the_adb_server_are_its_incident_alone() -> None:
    """Every phone falls when the server does, and for a while after it is back."""
    incidents = Incidents(clock=Moments(), kept="", keep=lambda _: None, changed=lambda: None)
    mass_disconnect = MassDisconnect(limits=LIMITS, incidents=incidents)
    devices = lost_phones(50)
    mass_disconnect.ignore_drops(99.0)

    for device in devices:
        device.set_transport(Transport.ABSENT, 100.0)
        device.settle(103.0)
        mass_disconnect.drop(device, 103.0)
    mass_disconnect.update(devices, 104.0)

    assert not mass_disconnect.lasts


def test_phones_that_stay_lost_become_matters_of_their_own() -> None:
    """After five minutes the incident is over, and each is helped alone."""
    incidents = Incidents(clock=Moments(), kept="", keep=lambda _: None, changed=lambda: None)
    mass_disconnect = MassDisconnect(limits=LIMITS, incidents=incidents)
    devices = lost_phones(3)
    for device in devices:
        device.set_transport(Transport.OFFLINE, 100.0)
        device.settle(103.0)
        mass_disconnect.drop(device, 103.0)
    mass_disconnect.update(devices, 104.0)
    began = mass_disconnect.lasts

    mass_disconnect.update(devices, 104.0 + LIMITS.lost_lasts + 1)

    assert began
    assert not mass_disconnect.lasts


def test_incidents_outlive_the_agent_and_are_few() -> None:
    """What an earlier life kept is read back; one that lasts is never dropped for those ended."""
    kept: list[str] = [""]
    clock = Moments()

    def anew() -> Incidents:
        def keep(text: str) -> None:
            kept[0] = text

        return Incidents(clock=clock, kept=kept[0], keep=keep, changed=lambda: None)

    first = anew()
    first.update(IncidentKind.RUNTIME_DOWN, "docker: no answer")
    first.update(IncidentKind.RUNTIME_DOWN, "docker: no answer, again")
    for _ in range(INCIDENTS_KEPT + 5):
        clock.at += 1
        first.update(IncidentKind.ADB_DOWN, "exited with code -9", ["P1"])
        first.update(IncidentKind.ADB_DOWN, "")
    second = anew()
    second.update(IncidentKind.RUNTIME_DOWN, "")

    assert len(first.all()) == INCIDENTS_KEPT
    assert len(second.all()) == INCIDENTS_KEPT
    (runtime,) = [one for one in second.all() if one.kind is IncidentKind.RUNTIME_DOWN]
    assert runtime.error == "docker: no answer"
    assert runtime.ended_at is not None
    assert isinstance(second.all()[-1], HostIncident)


# With real adb and simulated phones.


@pytest.fixture
def timers() -> Timers:
    """Return the table, five times as fast, with more frequent looks."""
    return replace(Timers().scaled(PHONE_SCALE), probe=1.0, offer_fresh=1.5)


@pytest.fixture
async def farm(tmp_path: Path) -> AsyncIterator[Farm]:
    """Run four phones."""
    async with simulated_phones(4, tmp_path / "phones") as phones:
        yield phones


def helping(settings: Settings, farm: Farm) -> Settings:
    """Return the settings of an agent that helps the farm's phones soon."""
    return replace(
        settings,
        dummy_phones=0,
        connect=tuple(phone.address for phone in farm),
        time_scale=PHONE_SCALE,
        phone_limits=QUICK,
    )


async def test_freeing_storage_removes_only_what_this_farm_left(
    controller: ScriptedController, settings: Settings, farm: Farm
) -> None:
    """A full phone loses the folders of runs that are over, and nothing else."""
    phone = farm["SIM0001"].phone
    ours = ("/data/local/tmp/phonefarm/run-1", "/sdcard/Movies/phonefarm-run-2")
    others = (
        "/data/local/tmp/other",
        "/sdcard/Movies/holiday",
        "/sdcard/Movies/phonefarm-my.notes",
    )
    for folder in (*ours, *others):
        phone.write_file(f"{folder}/file", b"x" * 1000, parents=True)
    await farm["SIM0001"].fault("storage_full")
    async with running_agent(helping(settings, farm)):
        heard = controller.heard

        step = (await heard.until(heard.recovery))[0]

        assert (step.step, step.serialno, step.reason) == ("janitor", "SIM0001", "storage_low")
        assert step.outcome == "the agent removed 2 of 2 folders"
        assert not any(phone.files.exists(folder) for folder in ours)
        assert all(phone.files.exists(f"{folder}/file") for folder in others)
        await heard.until(lambda: "free space" in heard.hands(farm["SIM0001"].address))


@pytest.mark.long
async def test_a_phone_that_a_run_holds_is_never_helped(
    controller: ScriptedController, settings: Settings, farm: Farm
) -> None:
    """Stuck while a run holds it, a phone is left alone until the run is over; then it restarts."""
    stuck = replace(QUICK, answer_lasts=2.0)
    async with running_agent(helping(settings, farm), phone_limits=stuck):
        heard = controller.heard
        await heard.until(lambda: len(heard.offered()) == 4)
        work = assignment("SIM0001", actions=1, seconds=6.0)
        await controller.assign(work)
        await heard.until(lambda: "action_started" in heard.story(work.run.run_id))

        await farm["SIM0001"].fault("service_gone")
        await farm["SIM0002"].fault("service_gone")
        held = farm["SIM0001"].address
        other = await heard.until(heard.recovery)
        await heard.until(lambda: heard.phones()[held].reason.startswith("temperature_untold"))
        await heard.until(lambda: heard.ended(work.run.run_id))
        before = [step.serialno for step in heard.recovery()]
        await heard.until(lambda: "SIM0001" in [step.serialno for step in heard.recovery()])

        assert (other[0].serialno, other[0].step) == ("SIM0002", "reboot")
        assert before == ["SIM0002"]
        released = heard.released(work.run.run_id)
        assert released is not None
        assert released.clean


@pytest.mark.long
async def test_a_phone_held_since_an_earlier_life_is_left_alone_unnamed(
    controller: ScriptedController, settings: Settings, farm: Farm
) -> None:
    """The agent comes back to a run on a phone that is silent: it is not cut off to be helped."""
    wanted = replace(helping(settings, farm), runtime="process")
    async with agent_process(
        controller.address, TOKEN, wanted.state.parent, *driving(farm, "process"), scale=PHONE_SCALE
    ) as process:
        heard = controller.heard
        await heard.until(lambda: len(heard.offered()) == 4)
        work = phone_work(
            "SIM0001", ("launch_app", {}), ("search", {"keyword": "a"}), ("watch", {"seconds": 20})
        )
        await controller.assign(work)
        await heard.until(lambda: heard.story(work.run.run_id).count("action_started") == 3)
        process.kill()
        await process.wait()
    await farm["SIM0001"].fault("shell_hangs")
    await farm["SIM0002"].fault("shell_hangs")
    soon = replace(QUICK, identify=3.0)

    async with running_agent(wanted, phone_limits=soon):
        (first, *_) = await heard.until(heard.recovery)
        await heard.until(lambda: len(heard.recovery()) >= 2)

        assert {step.adb_serial for step in heard.recovery()} == {farm["SIM0002"].address}
        assert first.serialno == ""
        await farm["SIM0001"].clear()
        await heard.until(lambda: heard.ended(work.run.run_id), seconds=40)


async def test_a_network_phone_under_another_agents_lease_is_not_restarted(
    controller: ScriptedController, settings: Settings, farm: Farm
) -> None:
    """It may be at work for that agent: the step is told as left alone, and hands are needed."""
    lease = json.dumps({"epoch": 4, "run": "r", "agent": "agent-elsewhere"})
    farm["SIM0001"].phone.write_file("/data/local/tmp/phonefarm-lease", lease.encode() + b"\n")
    await farm["SIM0001"].fault("boot_stuck")
    limits = replace(QUICK, boot=1.0, reboot_every=1.0)
    async with running_agent(helping(settings, farm), phone_limits=limits):
        heard = controller.heard

        await heard.until(lambda: len(heard.recovery()) == 2)
        await heard.until(lambda: heard.hands(farm["SIM0001"].address))

        outcomes = {step.outcome for step in heard.recovery()}
        assert outcomes == {"no step: its last lease belongs to the agent agent-elsewhere"}
        assert not [entry for entry in farm["SIM0001"].ledger() if entry.kind is Kind.REBOOTED]


@pytest.mark.long
async def test_a_restart_of_the_agent_refills_no_budget(
    controller: ScriptedController, settings: Settings, farm: Farm
) -> None:
    """Two reboots in a day are two, however often the agent begins anew."""
    await farm["SIM0001"].fault("boot_stuck")
    limits = replace(QUICK, boot=0.8, reboot_every=1.0)
    wanted = helping(settings, farm)
    async with running_agent(wanted, phone_limits=limits) as running:
        heard = controller.heard
        await heard.until(lambda: len(heard.recovery()) == 1)
        await running.stop()
    address = farm["SIM0001"].address

    async with running_agent(wanted, phone_limits=limits):
        await heard.until(lambda: "check the phone" in heard.hands(address))

        assert [step.step for step in heard.recovery()].count("reboot") == 1
        rebooted = [entry for entry in farm["SIM0001"].ledger() if entry.kind is Kind.REBOOTED]
        assert len(rebooted) == 2


async def test_a_cable_that_takes_three_phones_is_one_incident(
    controller: ScriptedController, settings: Settings, farm: Farm
) -> None:
    """The host tells of one incident that names them, helps none alone, and tells its end."""
    async with running_agent(helping(settings, farm)):
        heard = controller.heard
        await heard.until(lambda: len(heard.offered()) == 4)

        lost = [farm[serial] for serial in ("SIM0001", "SIM0002", "SIM0003")]
        await asyncio.gather(*(phone.fault("offline") for phone in lost))
        (incident,) = await heard.until(lambda: heard.host().incidents)
        await asyncio.gather(*(phone.clear() for phone in lost))
        (ended,) = await heard.until(
            lambda: [one for one in heard.host().incidents if one.HasField("ended_at")], seconds=40
        )
        await heard.until(lambda: len(heard.offered()) == 4, seconds=40)

        assert incident.kind == "phones_lost"
        assert list(incident.serialnos) == ["SIM0001", "SIM0002", "SIM0003"]
        assert incident.incident_id == ended.incident_id
        assert not heard.host().withheld
        assert [p for p in heard.phones().values() if p.readiness != pb.READINESS_READY] == []
