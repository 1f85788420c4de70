"""The recovery policy: which steps for which problem, and how often; pure.

docs/phones.md has this as a table, docs/adr/0015 says why no lease is needed for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from phonefarm_common.wire_enums import Transport

from phonefarm_agent.phones.device import Device
from phonefarm_agent.phones.limits import PhoneLimits
from phonefarm_agent.phones.probe import BOOT, CONDITIONS, STORAGE, UNLOCK
from phonefarm_agent.phones.readiness import IDENTIFY


class StepKind(StrEnum):
    """The recovery steps that the agent takes by itself."""

    RECONNECT = "reconnect"
    REBOOT = "reboot"
    CLEAR_STORAGE = "janitor"


class PhoneProblem(StrEnum):
    """The problems of a phone that recovery distinguishes."""

    OFFLINE = "offline"
    UNAUTHORIZED = "unauthorized"
    NO_PERMISSION = "no_permission"
    RECOVERY = "recovery"
    BOOTLOADER = "bootloader"
    SIDELOAD = "sideload"
    SHELL_SILENT = "shell_silent"
    SERIAL = "serial"
    DUPLICATE_ADB_SERIAL = "duplicate_adb_serial"
    NO_SERIAL = "no_serial"
    ANDROID_TOO_OLD = "android_too_old"
    STUCK = "stuck"
    STORAGE_LOW = "storage_low"
    SCREEN_LOCKED = "screen_locked"


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """A step, and how often it is tried for one problem; None: as often as its budget allows."""

    step: StepKind
    tries: int | None = None


@dataclass(frozen=True, kw_only=True)
class RecoveryPlan:
    """The steps for one problem, in order, and what a person must do if they fail."""

    steps: Sequence[PlannedStep]
    needs_hands: str


RECOVERY_PLANS: Final[Mapping[PhoneProblem, RecoveryPlan]] = {
    PhoneProblem.OFFLINE: RecoveryPlan(
        steps=[PlannedStep(step=StepKind.RECONNECT)],
        needs_hands=(
            "unplug the phone, and plug it in again; if the phone stays offline, restart it"
        ),
    ),
    PhoneProblem.UNAUTHORIZED: RecoveryPlan(
        steps=[],
        needs_hands="unlock the phone, and accept this host's key with `always allow`",
    ),
    PhoneProblem.NO_PERMISSION: RecoveryPlan(
        steps=[],
        needs_hands="on the host: `phonefarm-agent install` writes the udev rule; then plug the"
        " phone in again",
    ),
    PhoneProblem.RECOVERY: RecoveryPlan(
        steps=[PlannedStep(step=StepKind.REBOOT, tries=1)],
        needs_hands=(
            "restart the phone into Android (choose `reboot system now` in the recovery menu)"
        ),
    ),
    PhoneProblem.BOOTLOADER: RecoveryPlan(
        steps=[PlannedStep(step=StepKind.REBOOT, tries=1)],
        needs_hands="restart the phone into Android (`fastboot reboot`)",
    ),
    PhoneProblem.SIDELOAD: RecoveryPlan(
        steps=[],
        needs_hands=(
            "wait until the installation by `adb sideload` is finished; then restart the phone"
        ),
    ),
    PhoneProblem.DUPLICATE_ADB_SERIAL: RecoveryPlan(
        steps=[],
        needs_hands=(
            "disconnect all but one of the phones with this serial number: adb cannot tell them "
            "apart"
        ),
    ),
    PhoneProblem.NO_SERIAL: RecoveryPlan(
        steps=[],
        needs_hands="disconnect the phone: it has no serial number, so adb cannot address it",
    ),
    PhoneProblem.ANDROID_TOO_OLD: RecoveryPlan(
        steps=[],
        needs_hands="remove the phone from the farm: Phonefarm needs Android 7 or newer",
    ),
    PhoneProblem.SHELL_SILENT: RecoveryPlan(
        steps=[PlannedStep(step=StepKind.RECONNECT, tries=2)],
        needs_hands="restart the phone: adb lists it, but its shell does not answer",
    ),
    PhoneProblem.SERIAL: RecoveryPlan(
        steps=[],
        needs_hands="remove the phone from the farm: the value of ro.serialno does not identify it",
    ),
    PhoneProblem.STUCK: RecoveryPlan(
        steps=[PlannedStep(step=StepKind.REBOOT)],
        needs_hands="check the phone: a shell answers, but Android does not start",
    ),
    PhoneProblem.STORAGE_LOW: RecoveryPlan(
        steps=[PlannedStep(step=StepKind.CLEAR_STORAGE, tries=1)],
        needs_hands="free space on the phone: the files that fill it do not belong to this farm",
    ),
    PhoneProblem.SCREEN_LOCKED: RecoveryPlan(
        steps=[],
        needs_hands="unlock the phone, and turn off its screen lock",
    ),
}

_STUCK: Final = frozenset(
    {f"{BOOT}_over_limit", *(f"{name}_untold" for name in (BOOT, *CONDITIONS))}
)

_TRANSPORTS: Final[Mapping[Transport, PhoneProblem]] = {
    Transport.OFFLINE: PhoneProblem.OFFLINE,
    Transport.UNAUTHORIZED: PhoneProblem.UNAUTHORIZED,
    Transport.NO_PERMISSION: PhoneProblem.NO_PERMISSION,
    Transport.RECOVERY: PhoneProblem.RECOVERY,
    Transport.BOOTLOADER: PhoneProblem.BOOTLOADER,
}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A step's limit for one phone: once in *every* s, and *times* in *within* s."""

    every: float
    times: int
    within: float


def budgets(limits: PhoneLimits) -> Mapping[StepKind, Budget]:
    """Return how often each step may be taken."""
    return {
        StepKind.RECONNECT: Budget(
            every=limits.reconnect_every, times=limits.reconnects, within=limits.reconnects_within
        ),
        StepKind.REBOOT: Budget(
            every=limits.reboot_every, times=limits.reboots, within=limits.reboots_within
        ),
        StepKind.CLEAR_STORAGE: Budget(
            every=limits.recover_after, times=1, within=limits.clear_storage_every
        ),
    }


def problem_of(device: Device, now: float, *, duplicate: bool) -> PhoneProblem | None:
    """Return the problem of a phone; None when there is none that can be solved.

    *twice*: another phone here claims the same serial.
    """
    limits = device.limits
    if device.transport is not Transport.ONLINE:
        if now - device.since < limits.recover_after:
            return None
        if device.adb_state in {"sideload", "rescue"}:
            # Somebody may be writing the phone's system: nothing is done to it (adbkit#14).
            return PhoneProblem.SIDELOAD
        return _TRANSPORTS.get(device.transport)
    if device.unusable:
        return PhoneProblem(device.unusable)
    if device.second_way_of:
        return None
    if device.silent:
        return PhoneProblem.SHELL_SILENT
    if not device.identified:
        return PhoneProblem.SHELL_SILENT if device.stages.over_limit(IDENTIFY, now) else None
    if device.problem or duplicate:
        return PhoneProblem.SERIAL
    word = device.verdict(now)[1].partition(":")[0]
    if word in _STUCK and device.misses == 0:
        return PhoneProblem.STUCK
    if device.stages.failed(STORAGE):
        return PhoneProblem.STORAGE_LOW
    return PhoneProblem.SCREEN_LOCKED if device.stages.failed(UNLOCK) else None


class RecoveryState:
    """The problem of one phone and the progress of its recovery."""

    def __init__(self) -> None:
        self.problem: PhoneProblem | None = None
        self.exhausted = False
        self._began_at = 0.0
        self._shows = False  # the trouble is to be seen just now

    @property
    def needs_hands(self) -> str:
        """Return what a person must do, empty while nothing."""
        if self.problem is None or not self.exhausted:
            return ""
        return RECOVERY_PLANS[self.problem].needs_hands

    def update(self, problem: PhoneProblem | None, now: float, *, over: bool) -> None:
        """Record the present problem; with None the last one stays, unless it is *over*.

        A phone that reconnects or restarts shows no problem for a while.
        """
        self._shows = problem is not None
        if problem is not None and problem is not self.problem:
            self.problem, self.exhausted, self._began_at = problem, False, now
        elif problem is None and over:
            self.problem, self.exhausted = None, False

    def next_step(
        self,
        now: float,
        history: Mapping[StepKind, Sequence[float]],
        budget_of: Mapping[StepKind, Budget],
    ) -> StepKind | None:
        """Return the step that is due now; *history* has the times of each step.

        When all was tried and had its time to help, hands are needed. A phone that was told to
        restart is left to it.
        """
        if self.problem is None or not self._shows:
            return None
        restarted = history.get(StepKind.REBOOT)
        if restarted and now - restarted[-1] < budget_of[StepKind.REBOOT].every:
            return None
        for planned in RECOVERY_PLANS[self.problem].steps:
            budget, taken = budget_of[planned.step], history.get(planned.step, ())
            if taken and now - taken[-1] < budget.every:
                return None  # it may still help
            if planned.tries is not None and _since(taken, self._began_at) >= planned.tries:
                continue
            if _since(taken, now - budget.within) >= budget.times:
                continue
            return planned.step
        self.exhausted = True
        return None


def _since(taken: Sequence[float], moment: float) -> int:
    return sum(at >= moment for at in taken)
