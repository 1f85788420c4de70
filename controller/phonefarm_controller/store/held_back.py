"""The conditions by which the claim's queries skip work that pauses and windows hold back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import ColumnElement, Float, TextClause, bindparam, null, or_

from phonefarm_controller.model.pauses import Pause, PauseScope
from phonefarm_controller.store.schema.fleet import accounts
from phonefarm_controller.store.schema.work import queue_items

Condition = ColumnElement[bool] | TextClause
_a = accounts.c
_i = queue_items.c


@dataclass(frozen=True, kw_only=True)
class HeldBack:
    """The work that may not begin now, on any phone.

    *longest* has the seconds that runs of a capability may take before its window closes; 0 if it
    is closed.
    """

    pauses: Sequence[Pause] = ()
    longest: Mapping[str, float] = field(default_factory=dict)

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Return the capabilities whose runs must be short, in an order that stays."""
        return tuple(sorted(self.longest))

    @property
    def parameters(self) -> dict[str, float]:
        """Return the parameters of the conditions."""
        return {f"longest_{n}": self.longest[name] for n, name in enumerate(self.capabilities)}


NOTHING_HELD_BACK: Final = HeldBack()


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """Conditions that exclude held-back accounts and items."""

    accounts: Sequence[Condition]
    items: Sequence[Condition]


def conditions_of(held_back: HeldBack) -> Allowed:
    """Return the conditions that leave out what is held back."""
    pauses = held_back.pauses
    names = {
        scope: sorted(pause.name for pause in pauses if pause.scope is scope)
        for scope in PauseScope
    }
    of_accounts: list[Condition] = []
    of_items: list[Condition] = []
    if names[PauseScope.APP]:
        of_accounts.append(_a.app.not_in(names[PauseScope.APP]))
        of_items.append(_i.app.not_in(names[PauseScope.APP]))
    if names[PauseScope.ACCOUNT]:
        of_accounts.append(_a.account_id.not_in(names[PauseScope.ACCOUNT]))
        others = _i.want_account_id.not_in(names[PauseScope.ACCOUNT])
        of_items.append(or_(_i.want_account_id.is_(null()), others))
    if names[PauseScope.CAPABILITY]:
        of_items.append(_i.capability.not_in(names[PauseScope.CAPABILITY]))
    of_items += short_of(held_back.capabilities)
    return Allowed(accounts=of_accounts, items=of_items)


def short_of(capabilities: Sequence[str]) -> list[Condition]:
    """Return the conditions that leave out runs of the capabilities that take too long.

    Names are part of the text, limits are parameters: it is one statement all day long.
    """
    return [
        or_(_i.capability != name, _i.cap_seconds <= bindparam(f"longest_{n}", type_=Float()))
        for n, name in enumerate(capabilities)
    ]
