"""Checks the host: its disk space and its clocks."""

import ctypes
import os
import time

from phonefarm_common.disk_space import GIB, RequiredFree, disk_figures

from phonefarm_agent.app.settings import Settings
from phonefarm_agent.host.checks.finding import Finding, fail, ok, warn

SCARCE = RequiredFree(share=0.10, size=5 * GIB)

_UNSYNCHRONISED = 5  # TIME_ERROR, adjtimex(2)
_TIMEX_BYTES = 256  # more than struct timex has


async def check_disk(settings: Settings) -> list[Finding]:
    """Check the free space of the state directory."""
    there = settings.state
    while not there.exists():
        there = there.parent
    findings = []
    if not settings.state.exists():
        findings.append(
            warn("state", f"{settings.state} does not exist yet", "phonefarm-agent install")
        )
    elif not os.access(settings.state, os.R_OK | os.W_OK | os.X_OK):
        findings.append(
            fail(
                "state",
                f"this user has no access to {settings.state}",
                "phonefarm-agent install, as root",
            )
        )
    usage = disk_figures(there)
    text = f"{usage.free / GIB:.1f} GiB free of {usage.total / GIB:.1f} at {there}"
    remedy = f"free some space, or move {settings.state} to a larger disk"
    if usage.shortage(settings.least_free):
        return [*findings, fail("disk", text, remedy)]
    if usage.shortage(SCARCE):
        return [*findings, warn("disk", text, remedy)]
    return [*findings, ok("disk", text)]


async def check_clock(synchronised: bool | None = None) -> list[Finding]:
    """Check the clock that leases are counted on, and that the wall clock is synchronised.

    How far it is from the controller's cannot be told: the protocol carries no time, because no
    promise rests on two machines' clocks agreeing.
    """
    try:
        boot, monotonic = (
            time.clock_gettime(time.CLOCK_BOOTTIME),
            time.clock_gettime(time.CLOCK_MONOTONIC),
        )
    except OSError as error:
        return [
            fail("clock", f"CLOCK_BOOTTIME does not work: {error}", "use Linux 2.6.39 or newer")
        ]
    findings = [
        ok(
            "clock",
            (
                f"CLOCK_BOOTTIME works (up for {boot:.0f} s, including "
                f"{max(0.0, boot - monotonic):.0f} s suspended)"
            ),
        )
    ]
    synchronised = _synchronised() if synchronised is None else synchronised
    if synchronised:
        return [*findings, ok("wall clock", "the kernel reports that the clock is synchronised")]
    return [
        *findings,
        warn(
            "wall clock",
            (
                "the kernel does not report that the clock is synchronised; times in "
                "logs may be wrong (leases do not depend on the clock)"
            ),
            "run `timedatectl set-ntp true`, or use another NTP client",
        ),
    ]


def _synchronised() -> bool:
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes 0: only ask
    state: int = ctypes.CDLL(None).adjtimex(timex)
    return 0 <= state < _UNSYNCHRONISED
