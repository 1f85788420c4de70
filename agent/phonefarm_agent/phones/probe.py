"""Probes: whether a phone is booted, cool, charged, unlocked and has free space; pure.

Each question has three answers: yes, no, and that it could not be told.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from phonefarm_common.wire_enums import Readiness

from phonefarm_agent.model.phone import PhoneFacts

BOOT: Final = "boot"
TEMPERATURE: Final = "temperature"
BATTERY: Final = "battery"
STORAGE: Final = "storage"
UNLOCK: Final = "unlock"
CONDITIONS: Final = (TEMPERATURE, BATTERY, STORAGE, UNLOCK)
"""The conditions that are checked after a phone has booted, in this order."""

COMMAND: Final = (
    "getprop sys.boot_completed; echo =battery; dumpsys battery; echo =storage; df /data;"
    " echo =trust; dumpsys trust"
)
"""The shell command of a probe; `parse` reads its output."""

MIN_LEVEL = 15
RECOVERED_LEVEL = 20
MAX_CELSIUS = 45.0
RECOVERED_CELSIUS = 42.0
MIN_FREE_KIB = 200 * 1024
RECOVERED_FREE_KIB = 300 * 1024

_LEVEL = re.compile(r"^\s*level:\s*(\d{1,3})\s*$", re.MULTILINE)
_NO_BATTERY = re.compile(r"^\s*present:\s*false\s*$", re.MULTILINE)
_TEMPERATURE = re.compile(r"^\s*temperature:\s*(-?\d{1,4})\s*$", re.MULTILINE)
# A line of each user (TrustManagerService.dumpUser, Android 6 to 15); one has the screen.
_LOCKED = re.compile(r"^ *User .*\(current\).*\bdeviceLocked=([01])", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The answer for one stage: READY is yes; anything else is no, with its reason."""

    readiness: Readiness = Readiness.READY
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Unanswered:
    """The phone gave no answer for a stage, for this reason."""

    error: str


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """The answers of a phone to a probe; a value that it did not give is None.

    `unanswered` has, for each stage without an answer, what the phone said instead.
    """

    booted: bool | None
    facts: PhoneFacts
    locked: bool | None
    unanswered: Mapping[str, str]


def parse(answer: str) -> ProbeResult:
    """Parse an answer to `COMMAND`; nothing that a phone writes makes this raise."""
    first, battery, storage, trust = _split_answer(answer)
    booted = {"1": True, "0": False, "": False}.get(first.strip()) if "=battery" in answer else None
    level, celsius, locked = (
        _LEVEL.search(battery),
        _TEMPERATURE.search(battery),
        _LOCKED.search(trust),
    )
    # A board without a battery says level 0 and a temperature of nothing (device-androidia#164).
    present = _NO_BATTERY.search(battery) is None
    if not present:
        level = celsius = None
    free = _free_kib(storage)
    percent = int(level[1]) if level and int(level[1]) <= 100 else None
    unanswered = {
        BOOT: _unexpected("getprop", first) if booted is None else "",
        TEMPERATURE: _unexpected("dumpsys battery", battery) if present and celsius is None else "",
        BATTERY: _unexpected("dumpsys battery", battery) if present and percent is None else "",
        STORAGE: _unexpected("df /data", storage) if free is None else "",
        UNLOCK: _unexpected("dumpsys trust", trust) if locked is None else "",
    }
    return ProbeResult(
        booted=booted,
        facts=PhoneFacts(
            battery_percent=percent,
            # Tenths of a degree (BatteryManager).
            battery_celsius=int(celsius[1]) / 10 if celsius else None,
            storage_free_bytes=None if free is None else free * 1024,
        ),
        locked=None if locked is None else locked[1] == "1",
        unanswered={stage: error for stage, error in unanswered.items() if error},
    )


def evaluate(
    result: ProbeResult, before: Mapping[str, Answered]
) -> Iterator[tuple[str, Answered | Unanswered]]:
    """Yield the answer for each stage, `boot` first; before a boot nothing else counts.

    A phone that failed a gate *before* must be a little better than the limit to pass it again.
    """
    if result.booted is not True:
        if result.booted is None:
            yield BOOT, Unanswered(error=result.unanswered[BOOT])
        else:
            not_yet = "sys.boot_completed is not set"
            yield BOOT, Answered(readiness=Readiness.PREPARING, reason=not_yet)
        return
    yield BOOT, Answered()
    for stage in CONDITIONS:
        if error := result.unanswered.get(stage):
            yield stage, Unanswered(error=error)
        else:
            failed = stage in before and before[stage].readiness is not Readiness.READY
            yield stage, _condition(stage, result, failed=failed)


def _condition(stage: str, result: ProbeResult, *, failed: bool) -> Answered:
    facts = result.facts
    if stage == TEMPERATURE and facts.battery_celsius is not None:
        if facts.battery_celsius >= (RECOVERED_CELSIUS if failed else MAX_CELSIUS):
            return Answered(
                readiness=Readiness.COOLING, reason=f"battery_hot:{facts.battery_celsius:g}"
            )
    elif stage == BATTERY and facts.battery_percent is not None:
        if facts.battery_percent < (RECOVERED_LEVEL if failed else MIN_LEVEL):
            return Answered(
                readiness=Readiness.UNFIT, reason=f"battery_low:{facts.battery_percent}"
            )
    elif stage == STORAGE and facts.storage_free_bytes is not None:
        free = facts.storage_free_bytes // 1024
        if free < (RECOVERED_FREE_KIB if failed else MIN_FREE_KIB):
            return Answered(readiness=Readiness.UNFIT, reason=f"storage_low:{free}KiB")
    elif stage == UNLOCK and result.locked:
        return Answered(readiness=Readiness.UNFIT, reason="screen_locked")
    return Answered()


def _split_answer(answer: str) -> tuple[str, str, str, str]:
    """Return the four parts of the answer; a missing one is empty."""
    first, _, rest = answer.partition("=battery\n")
    battery, _, rest = rest.partition("=storage\n")
    storage, _, trust = rest.partition("=trust\n")
    return first, battery, storage, trust


def _unexpected(command: str, said: str) -> str:
    text = " ".join(said.split())[:120]
    return f"{command}: {text}" if text else f"{command}: no answer"


def _free_kib(answer: str) -> int | None:
    """Return the "Available" column of df, whose unit is KiB on Android (toybox df)."""
    lines = answer.splitlines()
    for number, line in enumerate(lines[:-1]):
        words = line.split()
        if words[:1] == ["Filesystem"] and "Available" in words:
            row = lines[number + 1].split()
            column = words.index("Available")
            if len(row) > column and row[column].isascii() and row[column].isdigit():
                return int(row[column][:15])
    return None
