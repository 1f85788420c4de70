"""Decides whether a ro.serialno can name a phone; pure."""

from collections.abc import Mapping

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


def duplicates(named: Mapping[str, str]) -> frozenset[str]:
    """Return each ro.serialno that *named* has for more than one adb serial."""
    seen: set[str] = set()
    duplicate: set[str] = set()
    for serialno in named.values():
        (duplicate if serialno in seen else seen).add(serialno)
    return frozenset(duplicate)
