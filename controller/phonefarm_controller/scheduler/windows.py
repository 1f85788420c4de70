"""Windows: operators set the weekly hours in which work of some scope may begin."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, assert_never

from phonefarm_common.ids import new_id
from phonefarm_common.reasons import FieldProblem

from phonefarm_controller.capabilities.catalog import CAPABILITIES
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.model.errors import invalid, invalid_field
from phonefarm_controller.model.hours import (
    LONGEST_ZONE,
    MOST_SPANS,
    Hours,
    normal_span,
    zone_of,
)
from phonefarm_controller.model.items import GOLDEN, NO_DEADLINE
from phonefarm_controller.model.windows import Window, WindowNow, WindowScope, seen_at
from phonefarm_controller.store import accounts, audit, groups, phones, windows
from phonefarm_controller.store.database import Database, Transaction

LONGEST_REASON: Final = 500


class Windows:
    """Lists, sets and removes windows; each change is audited.

    *max_wait* is the farm's own limit of waiting, in seconds; None for no limit.
    """

    def __init__(self, *, database: Database, wakeups: WakeUps, max_wait: float | None) -> None:
        self._database = database
        self._wakeups = wakeups
        self._max_wait = max_wait

    @uninterrupted
    async def all(self) -> list[WindowNow]:
        """Return every window, by scope and name."""
        async with self._database.reading() as tx:
            return [seen_at(window, tx.now) for window in await windows.all_of(tx)]

    @uninterrupted
    async def put(
        self,
        scope: WindowScope,
        name: str,
        *,
        zone: str,
        spans: Sequence[str],
        may_overrun: bool,
        actor: str,
        reason: str,
    ) -> WindowNow:
        """Let work of the scope begin in these weekly hours only; replace an earlier window.

        What runs goes on; what is claimed and has not passed the start gate is taken back if the
        window is closed. FarmError names each wrong field.
        """
        hours = _hours(zone, spans)
        if not 0 < len(reason.strip()) <= LONGEST_REASON:
            raise invalid_field("reason", f"must have 1 to {LONGEST_REASON} characters")
        async with self._database.writing() as tx:
            await _check_name(tx, scope, name)
            window = Window(
                scope=scope,
                name=name,
                hours=hours,
                may_overrun=may_overrun,
                since=tx.now,
                by=actor,
                reason=reason.strip(),
            )
            await windows.put(tx, window)
            await _note(tx, actor, "put window", f"{scope} {name}", reason)
            put = seen_at(window, tx.now)
        self._wakeups.fleet_changed()
        return put

    @uninterrupted
    async def remove(self, scope: WindowScope, name: str, *, actor: str, reason: str = "") -> bool:
        """Remove a window; return whether there was one.

        Work that waited in it, and has no deadline of its caller, gets the farm's own limit of
        waiting as from now.
        """
        async with self._database.writing() as tx:
            limit_at = NO_DEADLINE
            if self._max_wait is not None:
                limit_at = tx.now + timedelta(seconds=self._max_wait)
            removed = await windows.remove(tx, scope, name, limit_at=limit_at)
            if removed:
                await _note(tx, actor, "remove window", f"{scope} {name}", reason)
        if removed:
            self._wakeups.fleet_changed()
        return removed


def _hours(zone: str, spans: Sequence[str]) -> Hours:
    """Return the hours; FarmError names everything that is wrong with them."""
    problems = []
    if zone_of(zone) is None:
        text = (
            "must be a time zone of the IANA database, for example Europe/Berlin or UTC, and have "
            f"at most {LONGEST_ZONE} characters"
        )
        problems.append(FieldProblem(field="zone", message=text))
    if not 0 < len(spans) <= MOST_SPANS:
        text = (
            f"must contain 1 to {MOST_SPANS} texts; to let work begin at any time, remove the "
            "window"
        )
        problems.append(FieldProblem(field="hours", message=text))
    normal = []
    for place, text in enumerate(spans[:MOST_SPANS]):
        try:
            normal.append(normal_span(text))
        except ValueError as error:
            problems.append(FieldProblem(field=f"hours[{place}]", message=str(error)))
    if problems:
        raise invalid(*problems)
    return Hours(zone=zone, spans=tuple(normal))


async def _check_name(tx: Transaction, scope: WindowScope, name: str) -> None:
    match scope:
        case WindowScope.ACCOUNT:
            known = bool(await accounts.named_or_on(tx, {name}, set()))
        case WindowScope.PHONE:
            known = name in await phones.get(tx, {name})
        case WindowScope.GROUP:
            known = name in await groups.members_of(tx, "phone", {name})
        case WindowScope.CAPABILITY:
            known = name in {*CAPABILITIES, GOLDEN}
        case _:
            assert_never(scope)
    if not known:
        what = "group of phones" if scope is WindowScope.GROUP else str(scope)
        raise invalid_field("name", f"is not the name of a known {what}")


async def _note(tx: Transaction, actor: str, verb: str, what: str, reason: str) -> None:
    await audit.note(
        tx, audit_id=new_id(), actor=actor, verb=verb, subject=what, reason=reason.strip()
    )
