"""The wall clocks that faults set, and when the moments that they showed really were.

The machine's own clock is that of REST, receivers and phones, and nobody sets it.
"""

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from support.stepped_program import set_off

DATABASE_CLOCK: Final = "database"
"""The clock that decides not_before, deadlines and back-offs; the others have a program's name."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A clock was set to be `off` seconds ahead of the machine's, behind when negative.

    It was done between two moments, in seconds since 1970 by the machine's clock.
    """

    clock: str
    off: float
    began: float
    ended: float


class Clocks:
    """Sets clocks, and keeps what was done; `right` is how far each is off when it is right."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self.settings: list[Setting] = []
        self.right = dict.fromkeys(files, 0.0)
        self._files = files

    @property
    def programs(self) -> list[str]:
        """Return the programs with a clock of their own."""
        return [name for name in self._files if name != DATABASE_CLOCK]

    def set_off(self, name: str, seconds: float) -> None:
        """Set a clock to be so far ahead of what is right for it, or behind."""
        off, began = self.right[name] + seconds, time.time()
        set_off(self._files[name], off)
        self.settings.append(Setting(clock=name, off=off, began=began, ended=time.time()))


@dataclass(frozen=True, kw_only=True)
class _Stretch:
    """A time, in microseconds by the machine's clock, in which a clock was off by as many."""

    since: float
    until: float
    off: int


class Shown:
    """What a clock showed and when, in microseconds; one that nobody set shows the machine's."""

    def __init__(
        self, settings: Iterable[Setting], *, began: float = -math.inf, ended: float = math.inf
    ) -> None:
        """Take how it was set, and between which moments it was read."""
        self._stretches = list(_stretches(list(settings), began, ended))

    def times(self, shown: int) -> list[int]:
        """Return each moment at which it may have shown this, the earliest first.

        There are several where it was set back, and then its own word where it showed it never.
        """
        found = [
            shown - one.off for one in self._stretches if one.since <= shown - one.off <= one.until
        ]
        return sorted(found) or [shown]

    def latest(self, since: float, until: float) -> float:
        """Return the latest moment that it showed between two."""
        return max(min(until, one.until) + one.off for one in self._between(since, until))

    def set_back(self, since: float, until: float) -> bool:
        """Tell whether it was set back between two moments."""
        offs = [one.off for one in self._between(since, until)]
        return any(after < before for before, after in pairwise(offs))

    def least_off(self, since: float, until: float) -> int:
        """Return how far it was ahead at the least, at some moment between two."""
        return min(one.off for one in self._between(since, until))

    def _between(self, since: float, until: float) -> list[_Stretch]:
        return [one for one in self._stretches if one.since <= until and since <= one.until]


def _stretches(settings: list[Setting], began: float, ended: float) -> Iterator[_Stretch]:
    """Yield them in order; while a clock is being set it may show the old time or the new."""
    since, off = began * 1e6, 0.0
    for setting in settings:
        yield _Stretch(since=since, until=setting.ended * 1e6, off=round(off * 1e6))
        since, off = setting.began * 1e6, setting.off
    yield _Stretch(since=since, until=ended * 1e6, off=round(off * 1e6))
