"""What a phone's answer says of its fitness: booted, cool, charged, with room, unlocked; pure.

Each question has three answers: yes, no, and that it could not be told.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from phonefarm_agent.model.phone import Facts, Readiness

BOOT: Final = "boot"
TEMPERATURE: Final = "temperature"
BATTERY: Final = "battery"
STORAGE: Final = "storage"
UNLOCK: Final = "unlock"
GATES: Final = (TEMPERATURE, BATTERY, STORAGE, UNLOCK)
"""What is looked at once a phone has booted, in this order."""

QUESTION: Final = (
    "getprop sys.boot_completed; echo =battery; dumpsys battery; echo =storage; df /data;"
    " echo =trust; dumpsys trust"
)
"""One shell command whose answer `read` takes apart."""

LEVEL_LEAST = 15
LEVEL_AGAIN = 20
CELSIUS_MOST = 45.0
CELSIUS_AGAIN = 42.0
FREE_KIB_LEAST = 200 * 1024
FREE_KIB_AGAIN = 300 * 1024

_LEVEL = re.compile(r"^\s*level:\s*(\d{1,3})\s*$", re.MULTILINE)
_TEMPERATURE = re.compile(r"^\s*temperature:\s*(-?\d{1,4})\s*$", re.MULTILINE)
# A line of each user (TrustManagerService.dumpUser, Android 6 to 15); one has the screen.
_LOCKED = re.compile(r"^ *User .*\(current\).*\bdeviceLocked=([01])", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Told:
    """An answer: READY is yes; anything else is no, with its reason."""

    readiness: Readiness = Readiness.READY
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Untold:
    """It could not be told, for this reason."""

    error: str


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A whole answer, taken apart; `untold` says of each stage without one what was said instead.

    Without an answer there is None.
    """

    booted: bool | None
    facts: Facts
    locked: bool | None
    untold: Mapping[str, str]


def read(answer: str) -> Reading:
    """Return what an answer to `QUESTION` says; nothing a phone may write makes this raise."""
    first, battery, storage, trust = _parts(answer)
    booted = {"1": True, "0": False, "": False}.get(first.strip()) if "=battery" in answer else None
    level, celsius, locked = (
        _LEVEL.search(battery),
        _TEMPERATURE.search(battery),
        _LOCKED.search(trust),
    )
    free = _free_kib(storage)
    percent = int(level[1]) if level and int(level[1]) <= 100 else None
    untold = {
        BOOT: _instead("getprop", first) if booted is None else "",
        TEMPERATURE: _instead("dumpsys battery", battery) if celsius is None else "",
        BATTERY: _instead("dumpsys battery", battery) if percent is None else "",
        STORAGE: _instead("df /data", storage) if free is None else "",
        UNLOCK: _instead("dumpsys trust", trust) if locked is None else "",
    }
    return Reading(
        booted=booted,
        facts=Facts(
            battery_percent=percent,
            # Tenths of a degree (BatteryManager).
            battery_celsius=int(celsius[1]) / 10 if celsius else None,
            storage_free_bytes=None if free is None else free * 1024,
        ),
        locked=None if locked is None else locked[1] == "1",
        untold={stage: error for stage, error in untold.items() if error},
    )


def judge(reading: Reading, before: Mapping[str, Told]) -> Iterator[tuple[str, Told | Untold]]:
    """Yield what *reading* says of each stage, `boot` first; before a boot nothing else counts.

    A phone that failed a gate *before* must be a little better than the limit to pass it again.
    """
    if reading.booted is not True:
        if reading.booted is None:
            yield BOOT, Untold(error=reading.untold[BOOT])
        else:
            not_yet = "sys.boot_completed is not set"
            yield BOOT, Told(readiness=Readiness.PREPARING, reason=not_yet)
        return
    yield BOOT, Told()
    for stage in GATES:
        if error := reading.untold.get(stage):
            yield stage, Untold(error=error)
        else:
            failed = stage in before and before[stage].readiness is not Readiness.READY
            yield stage, _gate(stage, reading, failed=failed)


def _gate(stage: str, reading: Reading, *, failed: bool) -> Told:
    facts = reading.facts
    if stage == TEMPERATURE and facts.battery_celsius is not None:
        if facts.battery_celsius >= (CELSIUS_AGAIN if failed else CELSIUS_MOST):
            return Told(
                readiness=Readiness.COOLING, reason=f"battery_hot:{facts.battery_celsius:g}"
            )
    elif stage == BATTERY and facts.battery_percent is not None:
        if facts.battery_percent < (LEVEL_AGAIN if failed else LEVEL_LEAST):
            return Told(readiness=Readiness.UNFIT, reason=f"battery_low:{facts.battery_percent}")
    elif stage == STORAGE and facts.storage_free_bytes is not None:
        free = facts.storage_free_bytes // 1024
        if free < (FREE_KIB_AGAIN if failed else FREE_KIB_LEAST):
            return Told(readiness=Readiness.UNFIT, reason=f"storage_low:{free}KiB")
    elif stage == UNLOCK and reading.locked:
        return Told(readiness=Readiness.UNFIT, reason="screen_locked")
    return Told()


def _parts(answer: str) -> tuple[str, str, str, str]:
    """Return what stands before, between and behind the marks; a missing part is empty."""
    first, _, rest = answer.partition("=battery\n")
    battery, _, rest = rest.partition("=storage\n")
    storage, _, trust = rest.partition("=trust\n")
    return first, battery, storage, trust


def _instead(command: str, said: str) -> str:
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
