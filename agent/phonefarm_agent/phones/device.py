"""The state of one adb device: what the agent saw, and when."""

from dataclasses import dataclass, field
from typing import TypeVar

from phonefarm_common.wire_enums import Readiness, StageState, Transport

from phonefarm_agent.model.phone import PhoneFacts, PhoneReport, Stage
from phonefarm_agent.phones.adb.client import DUPLICATE
from phonefarm_agent.phones.identity import NO_SERIAL, Identity
from phonefarm_agent.phones.limits import PhoneLimits
from phonefarm_agent.phones.probe import Answered, ProbeResult, Unanswered, evaluate
from phonefarm_agent.phones.readiness import IDENTIFY, TRANSPORT, ReadinessStages

MISSES = 3
"""After this many probes in a row without an answer, the phone is not ready any more."""

_NEVER = -float("inf")
_T = TypeVar("_T")


def _unusable(adb_serial: str, state: str) -> str:
    if adb_serial == NO_SERIAL:
        return "no_serial"
    return "duplicate_adb_serial" if state == DUPLICATE else ""


def transport_of(state: str) -> Transport:
    """Return the transport for adb's word for a device's state."""
    if state.startswith("no permissions"):
        return Transport.NO_PERMISSION
    if state == DUPLICATE:
        return Transport.ONLINE
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
    """One adb device; times are seconds of the monotonic clock."""

    adb_serial: str
    limits: PhoneLimits
    transport: Transport = Transport.ABSENT
    since: float = _NEVER  # when `transport` was first seen
    shown: Transport = Transport.ABSENT  # what has held long enough to be told
    identified: bool = False  # ro.serialno was read over the present connection
    serialno: str = ""
    adb_state: str = ""  # adb's own word
    boot_id: str = ""
    second_way_of: str = ""  # the adb serial by which this phone is used instead
    unusable: str = ""  # why adb or this agent cannot use it at all, whoever it is
    problem: str = ""  # why ro.serialno names no phone
    model: str = ""
    release: str = ""
    epoch: int = 0
    facts: PhoneFacts = field(default_factory=PhoneFacts)
    answered_at: float = _NEVER
    probed_at: float = _NEVER  # when fitness was last asked for, over the present connection
    misses: int = 0
    silent_why: str = ""
    recovering: bool = False  # a step of recovery is under way
    recovery_began_at: float = _NEVER  # when the last one was begun
    stages: ReadinessStages = field(init=False)

    def __post_init__(self) -> None:
        self.stages = ReadinessStages(self.limits)

    def take_listing(self, state: str, now: float) -> bool:
        """Take in adb's word for the device; true when its transport is news."""
        news = state != self.adb_state
        self.adb_state = state
        if news:
            self.unusable = _unusable(self.adb_serial, state)
        return self.set_transport(transport_of(state), now)

    def set_transport(self, transport: Transport, now: float) -> bool:
        """Set the transport; true when it has changed."""
        if transport is self.transport:
            return False
        self.transport = transport
        self.since = now
        self.misses = 0
        # Another phone may answer at this place next time.
        self.identified = False
        self.boot_id = ""
        self.answered_at = self.probed_at = _NEVER
        if transport is Transport.ONLINE:
            self.stages.begin(now)
        else:
            self.stages.end()
        return True

    def settle(self, now: float) -> bool:
        """Show a transport that has lasted, or is online; true when the shown one changes.

        A phone blinks `offline` at every plug-in (openstf/adbkit#81).
        """
        if self.shown is self.transport:
            return False
        if self.transport is not Transport.ONLINE and now - self.since < self.limits.hold:
            return False
        self.shown = self.transport
        return True

    def answered(self, now: float) -> None:
        """Record that a shell has answered."""
        self.answered_at = now
        self.misses = 0

    def missed(self, why: str, now: float) -> None:
        """Record that a shell did not answer; that alone changes no other state."""
        self.misses += 1
        self.silent_why = why
        if not self.identified:
            self.stages.take_answer(IDENTIFY, Unanswered(error=why), now)

    def name(
        self, *, serialno: str, boot_id: str, model: str, release: str, problem: str, now: float
    ) -> None:
        """Take in who the phone is."""
        self.boot_id = boot_id
        if serialno != self.serialno:
            self.stages.forget_previous_phone()
            self.facts = PhoneFacts()
        self.serialno, self.model, self.release = serialno, model, release
        self.problem = problem
        self.identified = True
        answer = Answered(readiness=Readiness.UNFIT, reason=problem) if problem else Answered()
        self.stages.take_answer(IDENTIFY, answer, now)

    def unname(self, now: float) -> None:
        """Forget the identity: another phone answers at this address now."""
        self.identified = False
        self.probed_at = _NEVER
        self.stages.begin(now)

    def take_probe(self, result: ProbeResult, now: float) -> None:
        """Record the result of a probe; values without an answer stay as they were."""
        self.probed_at = now
        for stage, answer in evaluate(result, self.stages.answers()):
            self.stages.take_answer(stage, answer, now)
        seen, known = result.facts, self.facts
        self.facts = PhoneFacts(
            battery_percent=_newer(seen.battery_percent, known.battery_percent),
            battery_celsius=_newer(seen.battery_celsius, known.battery_celsius),
            storage_free_bytes=_newer(seen.storage_free_bytes, known.storage_free_bytes),
        )

    @property
    def identity(self) -> Identity:
        """Return who answered here last."""
        return Identity(serialno=self.serialno, boot_id=self.boot_id)

    @property
    def silent(self) -> bool:
        """Tell whether a phone that adb lists as online has not answered for too long."""
        return self.transport is Transport.ONLINE and self.misses >= MISSES

    def could_work(self, now: float, fresh: float) -> bool:
        """Tell whether the phone itself is fit for work at this moment."""
        return (
            self.transport is Transport.ONLINE
            and self.identified
            and not self.recovering
            and not self.unusable
            and not self.second_way_of
            and now - self.answered_at <= fresh
            and self.stages.verdict(now)[0] is Readiness.READY
        )

    def report(self, now: float, *, withheld: str = "", needs_hands: str = "") -> PhoneReport:
        """Return the report of the phone; *withheld* is a reason outside of the phone."""
        readiness, reason = self.verdict(now)
        if withheld:
            readiness, reason = Readiness.UNKNOWN, withheld
        return PhoneReport(
            serialno=self.serialno,
            adb_serial=self.adb_serial,
            transport=self.shown,
            readiness=readiness,
            reason=reason,
            model=self.model,
            android_release=self.release,
            epoch=self.epoch,
            stages=(self._transport_stage(now), *self.stages.report(now)),
            needs_hands=needs_hands,
            facts=self.facts,
        )

    def verdict(self, now: float) -> tuple[Readiness, str]:
        """Return the readiness of the phone, and the reason."""
        if self.shown is not Transport.ONLINE:
            return Readiness.UNKNOWN, self.shown.value
        if self.unusable:
            return Readiness.UNFIT, self.unusable
        if self.identified and self.silent:
            return Readiness.UNKNOWN, "shell_silent"
        return self.stages.verdict(now)

    def _transport_stage(self, now: float) -> Stage:
        state, error = StageState.PASSED, ""
        if self.transport is not Transport.ONLINE:
            state, error = StageState.FAILED, self.transport.value
        elif self.silent:
            state, error = StageState.UNTOLD, self.silent_why
        held = 0.0 if self.since == _NEVER else now - self.since
        return Stage(
            name=TRANSPORT,
            state=state,
            limit_seconds=self.limits.recover_after,
            seconds=round(held, 3),
            error=error,
        )


def _newer(seen: _T | None, known: _T | None) -> _T | None:
    return known if seen is None else seen
