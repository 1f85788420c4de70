"""Pauses: the work that an operator keeps from beginning for now."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final


class PauseScope(StrEnum):
    """What a pause holds back."""

    ALL = "all"
    APP = "app"
    ACCOUNT = "account"
    CAPABILITY = "capability"


@dataclass(frozen=True, kw_only=True)
class Pause:
    """Nothing in its scope begins; what runs goes on. `name` is empty for `all`."""

    scope: PauseScope
    name: str
    since: datetime
    by: str
    reason: str

    @property
    def told(self) -> str:
        """Return who paused it since when and why, for people."""
        what = "all work" if self.scope is PauseScope.ALL else f"{self.scope} {self.name}"
        return f"{what}, by {self.by}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class WaitingWork:
    """What waits in a scope: how many items, and the callers' deadlines that come soon."""

    items: int
    deadlines: int
    first_deadline: datetime | None


NOTHING_WAITS: Final = WaitingWork(items=0, deadlines=0, first_deadline=None)


def pause_of(
    pauses: Iterable[Pause], *, app: str, account_id: str | None, capability: str
) -> Pause | None:
    """Return the pause that stops this work from starting; None when no pause does."""
    named = {
        PauseScope.ALL: "",
        PauseScope.APP: app,
        PauseScope.ACCOUNT: account_id,
        PauseScope.CAPABILITY: capability,
    }
    return next((pause for pause in pauses if named[pause.scope] == pause.name), None)
