"""The time limits of phones and the budgets of recovery; docs/phones.md explains each."""

from dataclasses import dataclass, fields, replace
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class PhoneLimits:
    """Limits of a phone: seconds on the agent's monotonic clock, and counts."""

    identify: float = 30  # until a shell has said who the phone is
    boot: float = 180  # until Android says that it has booted
    conditions: float = 60  # until battery, storage and lock have answered for the first time
    answer_lasts: float = 300  # an answer older than this counts no longer

    hold: float = 2  # a transport is shown once it has held for so long
    recover_after: float = 10  # and helped once it has held for so long

    reconnect_every: float = 30
    reconnects: int = 6
    reconnects_within: float = 3600
    reboot_every: float = 300
    reboots: int = 2
    reboots_within: float = 24 * 3600
    clear_storage_every: float = 3600

    lost_within: float = 30  # phones that drop within this are lost together
    lost_lasts: float = 300  # after which each that is still away is a matter of its own

    def scaled(self, factor: float) -> Self:
        """Return the same limits with every time multiplied by *factor*; the counts stay."""
        times: dict[str, Any] = {
            f.name: getattr(self, f.name) * factor for f in fields(self) if f.name not in _COUNTS
        }
        return replace(self, **times)


_COUNTS = frozenset({"reconnects", "reboots"})
