"""What is done for a phone that cannot work, step by step and within budgets; pure.

docs/phones.md has this as a table, docs/adr/0015 says why no lease is needed for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from phonefarm_agent.model.phone import Transport
from phonefarm_agent.phones.device import Device
from phonefarm_agent.phones.limits import PhoneLimits
from phonefarm_agent.phones.probe import BOOT, GATES, STORAGE, UNLOCK
from phonefarm_agent.phones.readiness import IDENTIFY


class Step(StrEnum):
    """What the agent can do by itself."""

    RECONNECT = "reconnect"
    REBOOT = "reboot"
    JANITOR = "janitor"


class Trouble(StrEnum):
    """What is wrong with a phone, as far as it decides what is done."""

    OFFLINE = "offline"
    UNAUTHORIZED = "unauthorized"
    NO_PERMISSION = "no_permission"
    RECOVERY = "recovery"
    BOOTLOADER = "bootloader"
    SHELL_SILENT = "shell_silent"
    SERIAL = "serial"
    STUCK = "stuck"
    STORAGE_LOW = "storage_low"
    SCREEN_LOCKED = "screen_locked"


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A step, and how often it is tried for one trouble; None: as often as its budget allows."""

    step: Step
    tries: int | None = None


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """The rungs in order, and what a person must do when they have not helped."""

    rungs: Sequence[Rung]
    hands: str


LADDERS: Final[Mapping[Trouble, Ladder]] = {
    Trouble.OFFLINE: Ladder(
        rungs=[Rung(step=Step.RECONNECT)],
        hands="unplug the phone and plug it in again; if it stays offline, restart it",
    ),
    Trouble.UNAUTHORIZED: Ladder(
        rungs=[],
        hands="unlock the phone and accept this host's key, with `always allow`",
    ),
    Trouble.NO_PERMISSION: Ladder(
        rungs=[],
        hands="on the host: `phonefarm-agent install` writes the udev rule; then plug the phone in"
        " again",
    ),
    Trouble.RECOVERY: Ladder(
        rungs=[Rung(step=Step.REBOOT, tries=1)],
        hands="restart the phone into Android (recovery menu: reboot system now)",
    ),
    Trouble.BOOTLOADER: Ladder(
        rungs=[Rung(step=Step.REBOOT, tries=1)],
        hands="restart the phone into Android (`fastboot reboot`)",
    ),
    Trouble.SHELL_SILENT: Ladder(
        rungs=[Rung(step=Step.RECONNECT, tries=2)],
        hands="restart the phone: adb lists it, but its shell does not answer",
    ),
    Trouble.SERIAL: Ladder(
        rungs=[],
        hands="take the phone out of the farm: its ro.serialno cannot name it",
    ),
    Trouble.STUCK: Ladder(
        rungs=[Rung(step=Step.REBOOT)],
        hands="look at the phone: a shell answers, but Android does not come up",
    ),
    Trouble.STORAGE_LOW: Ladder(
        rungs=[Rung(step=Step.JANITOR, tries=1)],
        hands="make room on the phone: what fills it is not this farm's",
    ),
    Trouble.SCREEN_LOCKED: Ladder(
        rungs=[],
        hands="unlock the phone, and take its screen lock away for good",
    ),
}

_STUCK: Final = frozenset({f"{BOOT}_over_limit", *(f"{name}_untold" for name in (BOOT, *GATES))})

_TRANSPORTS: Final[Mapping[Transport, Trouble]] = {
    Transport.OFFLINE: Trouble.OFFLINE,
    Transport.UNAUTHORIZED: Trouble.UNAUTHORIZED,
    Transport.NO_PERMISSION: Trouble.NO_PERMISSION,
    Transport.RECOVERY: Trouble.RECOVERY,
    Transport.BOOTLOADER: Trouble.BOOTLOADER,
}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """At most once in *every* seconds, and *times* in *within* seconds, for one phone."""

    every: float
    times: int
    within: float


def budgets(limits: PhoneLimits) -> Mapping[Step, Budget]:
    """Return how often each step may be taken."""
    return {
        Step.RECONNECT: Budget(
            every=limits.reconnect_every, times=limits.reconnects, within=limits.reconnects_within
        ),
        Step.REBOOT: Budget(
            every=limits.reboot_every, times=limits.reboots, within=limits.reboots_within
        ),
        Step.JANITOR: Budget(every=limits.recover_after, times=1, within=limits.janitor_every),
    }


def trouble_of(device: Device, now: float, *, twice: bool) -> Trouble | None:
    """Return what is wrong with a phone; None for nothing, or nothing that anybody can mend.

    *twice*: another phone here claims the same serial.
    """
    limits = device.limits
    if device.transport is not Transport.ONLINE:
        if now - device.since < limits.recover_after:
            return None
        return _TRANSPORTS.get(device.transport)
    if device.silent:
        return Trouble.SHELL_SILENT
    if not device.identified:
        return Trouble.SHELL_SILENT if device.stages.over_limit(IDENTIFY, now) else None
    if device.problem or twice:
        return Trouble.SERIAL
    word = device.verdict(now)[1].partition(":")[0]
    if word in _STUCK and device.misses == 0:
        return Trouble.STUCK
    if device.stages.failed(STORAGE):
        return Trouble.STORAGE_LOW
    return Trouble.SCREEN_LOCKED if device.stages.failed(UNLOCK) else None


class Patient:
    """One phone's trouble, and what has been done for it. It holds until the phone is well."""

    def __init__(self) -> None:
        self.trouble: Trouble | None = None
        self.needs_hands = False
        self._began_at = 0.0
        self._shows = False  # the trouble is to be seen just now

    @property
    def hands(self) -> str:
        """Return what a person must do, empty while nobody is needed."""
        if self.trouble is None or not self.needs_hands:
            return ""
        return LADDERS[self.trouble].hands

    def see(self, trouble: Trouble | None, now: float, *, over: bool) -> None:
        """Take in what is wrong now; with None the last trouble goes on unless it is *over*.

        A phone that is connected anew or restarts shows no trouble for a while.
        """
        self._shows = trouble is not None
        if trouble is not None and trouble is not self.trouble:
            self.trouble, self.needs_hands, self._began_at = trouble, False, now
        elif trouble is None and over:
            self.trouble, self.needs_hands = None, False

    def next_step(
        self,
        now: float,
        history: Mapping[Step, Sequence[float]],
        budget_of: Mapping[Step, Budget],
    ) -> Step | None:
        """Return what is to be done now; *history* has when each step was taken.

        When all was tried and had its time to help, hands are needed. A phone that was told to
        restart is left to it.
        """
        if self.trouble is None or not self._shows:
            return None
        restarted = history.get(Step.REBOOT)
        if restarted and now - restarted[-1] < budget_of[Step.REBOOT].every:
            return None
        for rung in LADDERS[self.trouble].rungs:
            budget, taken = budget_of[rung.step], history.get(rung.step, ())
            if taken and now - taken[-1] < budget.every:
                return None  # it may still help
            if rung.tries is not None and _since(taken, self._began_at) >= rung.tries:
                continue
            if _since(taken, now - budget.within) >= budget.times:
                continue
            return rung.step
        self.needs_hands = True
        return None


def _since(taken: Sequence[float], moment: float) -> int:
    return sum(at >= moment for at in taken)
