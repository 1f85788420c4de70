"""What operators do to groups of phones and accounts; each change is audited."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from phonefarm_common.ids import is_name, new_id
from phonefarm_common.reasons import FarmError, FieldProblem, Reason
from phonefarm_common.wire_enums import CleanupStep

from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.model.errors import invalid_field
from phonefarm_controller.store import (
    accounts,
    audit,
    groups,
    phones,
)
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.groups import Group

MOST_MEMBERS: Final = 10_000
"""Of one group; a request for more than a thousand is refused anyway."""


class GroupAdmin:
    """Lists and changes groups, and the clean-up policies of phone groups."""

    def __init__(self, *, database: Database, wakeups: WakeUps) -> None:
        self._database = database
        self._wakeups = wakeups

    @uninterrupted
    async def all(self) -> list[Group]:
        """Return every group of phones or accounts, by kind and name."""
        async with self._database.reading() as tx:
            return await groups.all_of(tx)

    @uninterrupted
    async def put(
        self, kind: str, name: str, members: Sequence[str], *, actor: str, reason: str = ""
    ) -> tuple[str, ...]:
        """Replace the members of a group of phones or accounts; FarmError for unknown members."""
        if not is_name(name):
            raise invalid_field(
                "group.name", "must be 1 to 128 characters from A-Z a-z 0-9 . _ : -"
            )
        if len(members) > MOST_MEMBERS:
            raise invalid_field("group.member_ids", f"must contain at most {MOST_MEMBERS} ids")
        async with self._database.writing() as tx:
            if kind == "phone":
                known = set(await phones.get(tx, members))
                unknown = Reason.UNKNOWN_PHONE
            else:
                known = {a.account_id for a in await accounts.named_or_on(tx, members, ())}
                unknown = Reason.UNKNOWN_ACCOUNT
            for member in members:
                if member not in known:
                    problem = FieldProblem(
                        field="group.member_ids", message=f"names {member[:128]!r}"
                    )
                    message = f"there is no {kind} {member}"
                    raise FarmError(unknown, message, detail=member[:128], problems=(problem,))
            await groups.replace(tx, kind, name, members)
            await _note(tx, actor, f"put {kind} group", name, reason.strip())
        self._wakeups.fleet_changed()
        return tuple(dict.fromkeys(members))

    @uninterrupted
    async def set_clean_up(
        self, group: str, steps: frozenset[CleanupStep] | None, *, actor: str, reason: str
    ) -> Group:
        """Set which steps the clean-up of a phone group's phones has, None for no policy.

        FarmError `unknown_group` when no phone is in it.
        """
        async with self._database.writing() as tx:
            known = {g.name: g for g in await groups.all_of(tx) if g.kind == "phone"}
            if group not in known:
                problem = FieldProblem(field="name", message=f"names {group[:128]!r}")
                message = f"there is no group of phones {group[:128]!r}"
                raise FarmError(
                    Reason.UNKNOWN_GROUP, message, detail=group[:128], problems=(problem,)
                )
            await groups.put_cleanup_policy(tx, group, steps)
            told = "none" if steps is None else " ".join(sorted(steps)) or "nothing"
            await _note(tx, actor, f"set clean-up to {told}", group, reason)
        self._wakeups.fleet_changed()
        return replace(known[group], clean_up=steps)


async def _note(tx: Transaction, actor: str, verb: str, subject: str, reason: str) -> None:
    await audit.note(tx, audit_id=new_id(), actor=actor, verb=verb, subject=subject, reason=reason)
