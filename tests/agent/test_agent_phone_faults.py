"""Each fault of the simulator leads to the state, reason and recovery that docs/phones.md names."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from phonefarm.v1 import agent_pb2 as pb
from phonefarm_agent.app.settings import Settings
from phonefarm_agent.phones.limits import PhoneLimits
from phonefarm_common.timers import Timers
from phonefarm_simulator.farm import Farm, SimulatedPhone, simulated_phones
from phonefarm_simulator.faults import Fault
from support.agents import PHONE_SCALE, running_agent
from support.controller_script import Heard, ScriptedController

PAGE = Path(__file__).parents[2] / "docs" / "phones.md"
NO_STATE = {
    Fault.FILES_STAY,
    Fault.APP_STAYS,
    Fault.IGNORES_HOME,
    Fault.LOGGED_OUT,
    Fault.CONSENT_DIALOG,
    Fault.POST_SLOW,
    Fault.POST_FAILS,
    Fault.POST_CRASHES,
    # Of a run: what real phones do, and stay ready.
    Fault.NEVER_IDLE,
    Fault.DISPLAY_TIMES_OUT,
    Fault.KEYGUARD_SWIPE,
    Fault.WAKE_FAILS,
    Fault.DUMP_KILLED,
    Fault.UI_AUTOMATION_TAKEN,
    Fault.UI_SERVER_DIES,
    Fault.UI_SERVER_KILLED_AT_START,
    Fault.UI_SERVER_PORT_TAKEN,
    Fault.UI_SERVER_SLOW,
    Fault.UI_SERVER_HANGS,
    Fault.UI_SERVER_OVERFLOWS,
    Fault.UI_SERVER_NOT_CONNECTED,
    Fault.UI_SERVER_EMPTY,
    Fault.UI_SERVER_BLIND,
    Fault.UI_SERVER_STALE,
    Fault.UI_SERVER_HTTP_500,
    Fault.LETTERS_LOST,
    Fault.SET_TEXT_IGNORED,
    Fault.CLIPBOARD_DENIED,
    Fault.AM_WAIT_HANGS,
    Fault.AM_START_DENIED,
    Fault.SCREENCAP_WARNS,
    Fault.SCREENCAP_FAILS,
    Fault.SECOND_DISPLAY,
    Fault.KEYBOARD_CLAIMED,
    Fault.LANDSCAPE,
    Fault.SCREEN_SLIDES,
    Fault.FOREIGN_HELPER,
    Fault.PACKAGE_MANAGER_GONE,
    Fault.INSTALL_RESTRICTED,
    Fault.STACK_TRACES,
    # Of live screens.
    Fault.ENCODER_FAILS_ABOVE,
    Fault.SERVER_CRASHES,
    Fault.SCREEN_SERVER_SLOW,
    Fault.API_GONE,
    Fault.INJECT_DENIED,
    Fault.SECURE_WINDOW,
}
"""Faults of the app or of a run: the phone itself stays as it was."""

HOW: dict[Fault, dict[str, Any]] = {
    Fault.RECOVERY: {"stays": True},
    Fault.REBOOT: {"seconds": 2.0, "boot_seconds": 2.0},
    Fault.SLOW: {"milliseconds": 20},
}

SOON = PhoneLimits(
    identify=30.0,
    boot=4.0,
    conditions=3.0,
    answer_lasts=8.0,
    hold=0.3,
    recover_after=0.5,
    reconnect_every=1.0,
    reconnects=2,
    reboot_every=6.0,
    reboots=1,
    lost_within=0.0,  # here fifteen phones drop at once, and each is a matter of its own
)


@pytest.fixture
def timers() -> Timers:
    """Return the table, five times as fast, with more frequent looks."""
    return replace(Timers().scaled(PHONE_SCALE), probe=1.0, offer_fresh=1.5)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A row: how the phone is shown, which steps are taken for it, whether hands are needed."""

    shown: str
    steps: frozenset[str] = field(default_factory=frozenset)
    hands: bool = False


def documented() -> dict[Fault, Outcome]:
    """Return the rows of the page's last table."""
    rows = re.findall(
        r"^\| `(\w+)` \| (.*?) \| (.*?) ?\| (yes)? ?\|$",
        PAGE.read_text().partition("## What each simulator fault leads to")[2],
        re.MULTILINE,
    )
    return {
        Fault(fault): Outcome(
            shown=" / ".join(part.strip("` ") for part in shown.split("/")),
            steps=frozenset(steps.replace(",", " ").split()),
            hands=hands == "yes",
        )
        for fault, shown, steps, hands in rows
    }


@pytest.fixture
async def farm(tmp_path: Path) -> AsyncIterator[Farm]:
    """Run a phone for each fault that concerns the phone's state."""
    async with simulated_phones(len(Fault) - len(NO_STATE), tmp_path / "phones") as phones:
        yield phones


def shown(report: pb.PhoneReport) -> str:
    """Return a report in the words of the page."""
    transport = pb.Transport.Name(report.transport).removeprefix("TRANSPORT_").lower()
    readiness = pb.Readiness.Name(report.readiness).removeprefix("READINESS_").lower()
    return f"{transport} / {readiness} / {report.reason.partition(':')[0]}"


def outcome(heard: Heard, phone: SimulatedPhone, wanted: Outcome) -> Outcome:
    """Return what was heard of a phone: the last state, or the wanted one if it was ever shown."""
    reports = [
        report
        for message in heard.messages
        for report in message.inventory.phones
        if report.adb_serial == phone.address
    ]
    states = [shown(report) for report in reports]
    steps = [step for step in heard.recovery() if step.adb_serial == phone.address]
    last = states[-1] if states else ""
    return Outcome(
        shown=wanted.shown if wanted.shown in states else last,
        steps=frozenset(step.step for step in steps),
        hands=bool(reports and reports[-1].needs_hands),
    )


def test_the_page_names_every_fault() -> None:
    """A new fault fails this test until its row, or its word among the others, is written."""
    named = set(
        re.findall(r"`(\w+)`", PAGE.read_text().partition("Some other faults concern the app")[2])
    )

    assert set(documented()) == set(Fault) - NO_STATE
    assert {fault.value for fault in NO_STATE} <= named


@pytest.mark.long
async def test_each_fault_leads_to_what_the_page_says(
    controller: ScriptedController, settings: Settings, farm: Farm, timers: Timers
) -> None:
    """Real adb, one phone for each fault, all at once; when the faults end all are offered."""
    rows = documented()
    patients = dict(zip(rows, farm, strict=True))
    wanted = replace(
        settings,
        dummy_phones=0,
        connect=tuple(phone.address for phone in farm),
        time_scale=PHONE_SCALE,
        phone_limits=SOON,
        timers=timers,
    )
    # Who a phone is, is asked once for each connection, and so are its features.
    for early in (Fault.DUPLICATE_SERIAL, Fault.NO_SHELL_V2):
        await patients[early].fault(early)
    async with running_agent(wanted):
        heard = controller.heard
        await heard.until(lambda: len(heard.offered()) == len(farm) - 2, seconds=30)
        for fault, phone in patients.items():
            await phone.fault(fault, **HOW.get(fault, {}))

        def found() -> dict[Fault, Outcome]:
            return {fault: outcome(heard, phone, rows[fault]) for fault, phone in patients.items()}

        try:
            await heard.until(lambda: found() == rows, seconds=40)
        except TimeoutError:
            assert found() == rows
        well = {patients[fault].serial for fault, row in rows.items() if " / ready / " in row.shown}
        withheld = set(heard.offered()) - well - {patients[Fault.REBOOT].serial}
        for phone in farm:
            await phone.clear()

        def unwell() -> dict[str, str]:
            return {
                report.serialno: f"{shown(report)} {report.needs_hands}"
                for report in heard.phones().values()
                if report.serialno not in heard.offered() or report.needs_hands
            }

        try:
            await heard.until(lambda: not unwell(), seconds=30)
        except TimeoutError:
            assert unwell() == {}

    assert not withheld
    numbers = [step.number for step in heard.recovery()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert not heard.host().incidents
