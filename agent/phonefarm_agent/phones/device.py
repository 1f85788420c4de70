"""One adb device: what was seen of it and when, and what follows from that."""

from dataclasses import dataclass, field

from phonefarm_agent.model.phone import PhoneReport, Readiness, Transport
from phonefarm_agent.phones.fitness import Fitness

MISSES = 3
"""So many probes in a row without an answer, and the phone is no longer called ready."""

_NEVER = -float("inf")


def transport_of(state: str) -> Transport:
    """Return what adb's word for a device's state means."""
    if state.startswith("no permissions"):
        return Transport.NO_PERMISSION
    match state:
        case "device":
            return Transport.ONLINE
        case "unauthorized":
            return Transport.UNAUTHORIZED
        case "recovery" | "sideload" | "rescue":
            return Transport.RECOVERY
        case "bootloader":
            return Transport.BOOTLOADER
        case _:  # offline, connecting, authorizing, host and what a newer adb may say
            return Transport.OFFLINE


@dataclass(kw_only=True)
class Device:
    """Times are seconds of the clock's monotonic()."""

    adb_serial: str
    transport: Transport = Transport.ABSENT
    since: float = _NEVER  # when `transport` was first seen
    shown: Transport = Transport.ABSENT  # what has held long enough to be told
    identified: bool = False  # ro.serialno was read over the present connection
    serialno: str = ""
    problem: str = ""  # why ro.serialno names no phone
    model: str = ""
    release: str = ""
    epoch: int = 0
    fitness: Fitness | None = None
    answered_at: float = _NEVER
    misses: int = 0
    silent_why: str = field(default="", compare=False)

    def see(self, transport: Transport, now: float) -> bool:
        """Take in a transport; true when it is news."""
        if transport is self.transport:
            return False
        self.transport = transport
        self.since = now
        self.misses = 0
        if transport is not Transport.ONLINE:
            # Another phone may answer at this place next time.
            self.identified = False
            self.answered_at = _NEVER
            self.fitness = None
        return True

    def settle(self, now: float, hold: float) -> None:
        """Show the transport once it held for *hold* seconds; online is shown at once.

        A phone blinks `offline` at every plug-in (openstf/adbkit#81).
        """
        if self.transport is Transport.ONLINE or now - self.since >= hold:
            self.shown = self.transport

    def answered(self, now: float) -> None:
        """Take in that a shell answered."""
        self.answered_at = now
        self.misses = 0

    def missed(self, why: str) -> None:
        """Take in that a shell did not answer: it is not known why, so no state changes but age."""
        self.misses += 1
        self.silent_why = why

    def could_work(self, now: float, fresh: float) -> bool:
        """Tell whether the phone itself could begin work at this moment."""
        return (
            self.transport is Transport.ONLINE
            and self.identified
            and not self.problem
            and self.fitness is not None
            and self.fitness.readiness is Readiness.READY
            and now - self.answered_at <= fresh
        )

    def report(self, *, withheld: str) -> PhoneReport:
        """Return the phone as it is shown; *withheld* is a reason that lies outside of it."""
        readiness, reason = self._verdict(withheld)
        return PhoneReport(
            serialno=self.serialno,
            adb_serial=self.adb_serial,
            transport=self.shown,
            readiness=readiness,
            reason=reason,
            model=self.model,
            android_release=self.release,
            epoch=self.epoch,
        )

    def _verdict(self, withheld: str) -> tuple[Readiness, str]:
        if withheld:
            return Readiness.UNKNOWN, withheld
        if self.shown is not Transport.ONLINE:
            return Readiness.UNKNOWN, self.shown.value
        if self.misses >= MISSES:
            return Readiness.UNKNOWN, "shell_silent"
        if self.problem:
            return Readiness.UNFIT, self.problem
        if not self.identified or self.fitness is None:
            return Readiness.UNKNOWN, "identifying"
        return self.fitness.readiness, self.fitness.reason
