"""Decides which serials may name a phone, and which rows of adb are one phone; pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from phonefarm_common.ids import is_name

# Cheap phones leave the factory with one of these; many share it.
_PLACEHOLDERS = frozenset(
    {
        "unknown",
        "null",
        "none",
        "default",
        "android",
        "0123456789abcdef",
        "0123456789",
        "1234567890abcdef",
        "123456789abcdef",
        "1234567890",
        "12345678",
        "abcdef0123456789",
        "emulator",
    }
)


def serialno_problem(serialno: str) -> str:
    """Return why *serialno* cannot name a phone, such as `empty_serial`; empty when it can."""
    if not serialno:
        return "empty_serial"
    if serialno.lower() in _PLACEHOLDERS or len(set(serialno)) == 1:
        return "placeholder_serial"
    if not is_name(serialno):
        return "unusable_serial"
    return ""


NO_SERIAL = "(no serial number)"
"""The text that adb lists for a USB phone without a serial; no request can name it (adbkit#78)."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The phone that answered at an adb serial; it has one boot id, however it is reached."""

    serialno: str
    boot_id: str


def duplicates(named: Mapping[str, Identity]) -> frozenset[str]:
    """Return each ro.serialno that more than one phone claims; *named* is by adb serial."""
    boots: dict[str, set[str]] = {}
    rows: Counter[str] = Counter()
    for found in named.values():
        boots.setdefault(found.serialno, set()).add(found.boot_id)
        rows[found.serialno] += 1
    return frozenset(
        serialno
        for serialno, seen in boots.items()
        if len(seen) > 1 or ("" in seen and rows[serialno] > 1)
    )


def second_ways(named: Mapping[str, Identity]) -> Mapping[str, str]:
    """Return the adb serials that reach a phone another one reaches already, and which that is.

    A cable comes before the network, else the first by name (ws-scrcpy-web#532, scrcpy#178).
    """
    ways: dict[Identity, list[str]] = {}
    for adb_serial in sorted(named, key=lambda name: (_is_network(name), name)):
        if named[adb_serial].boot_id:
            ways.setdefault(named[adb_serial], []).append(adb_serial)
    return {other: first for first, *others in ways.values() for other in others}


def _is_network(adb_serial: str) -> bool:
    return ":" in adb_serial or adb_serial.endswith("._tcp")
