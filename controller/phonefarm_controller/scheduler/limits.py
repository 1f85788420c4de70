"""Limits: operators set how many runs a day, how far apart, and how many at once."""

from collections.abc import Collection
from typing import Final, assert_never

from phonefarm_common.ids import new_id
from phonefarm_common.reasons import FieldProblem

from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.model.errors import invalid, invalid_field
from phonefarm_controller.model.hours import LONGEST_ZONE, zone_of
from phonefarm_controller.model.limits import MOST, SCOPES, Limit, LimitKind, LimitScope
from phonefarm_controller.store import accounts, agents, audit, groups, limits
from phonefarm_controller.store.database import Database, Transaction

LONGEST_REASON: Final = 500


class Limits:
    """Lists, sets and removes limits; each change is audited. *apps* are those that are known."""

    def __init__(self, *, database: Database, wakeups: WakeUps, apps: Collection[str]) -> None:
        self._database = database
        self._wakeups = wakeups
        self._apps = apps

    @uninterrupted
    async def all(self) -> list[Limit]:
        """Return every limit, by kind, scope and name."""
        async with self._database.reading() as tx:
            return await limits.all_of(tx)

    @uninterrupted
    async def put(
        self,
        kind: LimitKind,
        scope: LimitScope,
        name: str,
        *,
        value: int,
        zone: str,
        actor: str,
        reason: str,
    ) -> Limit:
        """Set the limit of this kind and scope; replace an earlier one.

        What has passed the start gate goes on. FarmError names each wrong field.
        """
        _check(kind, scope, value, zone)
        if not 0 < len(reason.strip()) <= LONGEST_REASON:
            raise invalid_field("reason", f"must have 1 to {LONGEST_REASON} characters")
        async with self._database.writing() as tx:
            await self._check_name(tx, scope, name)
            limit = Limit(
                kind=kind,
                scope=scope,
                name=name,
                value=value,
                zone=zone,
                since=tx.now,
                by=actor,
                reason=reason.strip(),
            )
            await limits.put(tx, limit)
            await _note(tx, actor, "put limit", f"{kind} {scope} {name}".strip(), reason)
        self._wakeups.fleet_changed()
        return limit

    @uninterrupted
    async def remove(
        self, kind: LimitKind, scope: LimitScope, name: str, *, actor: str, reason: str
    ) -> bool:
        """Remove a limit; return whether there was one."""
        async with self._database.writing() as tx:
            removed = await limits.remove(tx, kind, scope, name)
            if removed:
                await _note(tx, actor, "remove limit", f"{kind} {scope} {name}".strip(), reason)
        if removed:
            self._wakeups.fleet_changed()
        return removed

    async def _check_name(self, tx: Transaction, scope: LimitScope, name: str) -> None:
        match scope:
            case LimitScope.EVERY_ACCOUNT:
                if name:
                    raise invalid_field("name", "must be empty when scope is every_account")
                return
            case LimitScope.ACCOUNT:
                known = bool(await accounts.named_or_on(tx, {name}, set()))
            case LimitScope.GROUP:
                known = name in await groups.members_of(tx, "phone", {name})
            case LimitScope.APP:
                known = name in self._apps
            case LimitScope.AGENT:
                known = name in await agents.get(tx, {name})
            case _:
                assert_never(scope)
        if not known:
            what = "group of phones" if scope is LimitScope.GROUP else str(scope)
            raise invalid_field("name", f"is not the name of a known {what}")


def _check(kind: LimitKind, scope: LimitScope, value: int, zone: str) -> None:
    problems = []
    if scope not in SCOPES[kind]:
        known = ", ".join(each for each in LimitScope if each in SCOPES[kind])
        text = f"must be one of {known} for a limit of {kind}"
        problems.append(FieldProblem(field="scope", message=text))
    if not 0 < value <= MOST[kind]:
        text = f"must be a number from 1 to {MOST[kind]} for a limit of {kind}"
        problems.append(FieldProblem(field="value", message=text))
    if kind is LimitKind.RUNS_PER_DAY and zone_of(zone) is None:
        text = (
            f"must be the name of a time zone of the IANA database, for example Europe/Berlin or "
            f"UTC, with at most {LONGEST_ZONE} characters"
        )
        problems.append(FieldProblem(field="zone", message=text))
    if kind is not LimitKind.RUNS_PER_DAY and zone:
        text = f"must be empty for a limit of {kind}: it has no day"
        problems.append(FieldProblem(field="zone", message=text))
    if problems:
        raise invalid(*problems)


async def _note(tx: Transaction, actor: str, verb: str, what: str, reason: str) -> None:
    await audit.note(
        tx, audit_id=new_id(), actor=actor, verb=verb, subject=what, reason=reason.strip()
    )
