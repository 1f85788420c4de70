"""Whether a phone that answers can do work: booted, charged, cool, with room; pure."""

import re
from dataclasses import dataclass

from phonefarm_agent.model.phone import Readiness

QUESTION = "getprop sys.boot_completed; dumpsys battery; df /data"
"""One shell command whose answer `judge` reads."""

LEVEL_LEAST = 15
LEVEL_AGAIN = 20
CELSIUS_MOST = 45.0
CELSIUS_AGAIN = 42.0
FREE_KIB_LEAST = 200 * 1024

_LEVEL = re.compile(r"^\s*level:\s*(\d+)", re.MULTILINE)
_TEMPERATURE = re.compile(r"^\s*temperature:\s*(-?\d+)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Fitness:
    """A verdict; `reason` is empty when the phone is ready."""

    readiness: Readiness
    reason: str = ""


def judge(answer: str, before: Fitness | None) -> Fitness:
    """Return the verdict on an answer to `QUESTION`; what it does not tell holds nothing back.

    A phone found unfit *before* must be a little better than the limit to be ready again.
    """
    if answer.partition("\n")[0].strip() != "1":
        return Fitness(readiness=Readiness.PREPARING, reason="booting")
    was = before.reason.partition(":")[0] if before else ""
    celsius = _celsius(answer)
    if celsius is not None and celsius >= (CELSIUS_AGAIN if was == "battery_hot" else CELSIUS_MOST):
        return Fitness(readiness=Readiness.COOLING, reason=f"battery_hot:{celsius:g}")
    level = _LEVEL.search(answer)
    if level and int(level[1]) < (LEVEL_AGAIN if was == "battery_low" else LEVEL_LEAST):
        return Fitness(readiness=Readiness.UNFIT, reason=f"battery_low:{level[1]}")
    free = _free_kib(answer)
    if free is not None and free < FREE_KIB_LEAST:
        return Fitness(readiness=Readiness.UNFIT, reason=f"storage_low:{free}KiB")
    return Fitness(readiness=Readiness.READY)


def _celsius(answer: str) -> float | None:
    found = _TEMPERATURE.search(answer)
    return int(found[1]) / 10 if found else None  # Tenths of a degree (BatteryManager).


def _free_kib(answer: str) -> int | None:
    """Return the "Available" column of df, whose unit is KiB on Android (toybox df)."""
    lines = answer.splitlines()
    for number, line in enumerate(lines[:-1]):
        words = line.split()
        if words[:1] == ["Filesystem"] and "Available" in words:
            row = lines[number + 1].split()
            column = words.index("Available")
            if len(row) > column and row[column].isdigit():
                return int(row[column])
    return None
