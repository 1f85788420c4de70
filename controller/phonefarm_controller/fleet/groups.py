"""What operators do to groups of phones and accounts; each change is audited."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from phonefarm_common.ids import is_name, new_id
from phonefarm_common.reasons import FarmError, FieldProblem, Reason
from phonefarm_common.wire_enums import CleanupStep

from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.model.errors import invalid, invalid_field
from phonefarm_controller.store import (
    accounts,
    audit,
    groups,
    phones,
)
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.groups import Group

MOST_MEMBERS: Final = 10_000
"""The most members of a group; a request for more than 1,000 of them is refused."""
_NAME_RULE: Final = "must be 1 to 128 characters from A-Z a-z 0-9 . _ : -"


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
            raise invalid_field("group.name", _NAME_RULE)
        if len(members) > MOST_MEMBERS:
            raise invalid_field("group.member_ids", f"must contain at most {MOST_MEMBERS} ids")
        async with self._database.writing() as tx:
            await _check_known(tx, kind, members, field="group.member_ids")
            await groups.replace(tx, kind, name, members)
            await _note(tx, actor, f"put {kind} group", name, reason.strip())
        self._wakeups.fleet_changed()
        return tuple(dict.fromkeys(members))

    @uninterrupted
    async def change(
        self,
        kind: str,
        name: str,
        *,
        add: Sequence[str],
        remove: Sequence[str],
        actor: str,
        reason: str = "",
    ) -> Group:
        """Add members to a group and remove others; return it as it is then, perhaps empty.

        FarmError for unknown members to add, and for more than MOST_MEMBERS.
        """
        problems = [
            *([] if is_name(name) else [FieldProblem(field="name", message=_NAME_RULE)]),
            *(
                FieldProblem(field=field, message=f"must contain at most {MOST_MEMBERS} ids")
                for field, ids in (("add_ids", add), ("remove_ids", remove))
                if len(ids) > MOST_MEMBERS
            ),
        ]
        if not add and not remove:
            message = "must contain an id, unless remove_ids does"
            problems.append(FieldProblem(field="add_ids", message=message))
        if twice := sorted(set(add) & set(remove)):
            message = f"must not contain what add_ids contains: {twice[0][:128]!r}"
            problems.append(FieldProblem(field="remove_ids", message=message))
        if problems:
            raise invalid(*problems)
        async with self._database.writing() as tx:
            await _check_known(tx, kind, add, field="add_ids")
            await groups.add(tx, kind, name, add)
            await groups.remove(tx, kind, name, remove)
            members = (await groups.members_of(tx, kind, [name])).get(name, ())
            if len(members) > MOST_MEMBERS:
                raise invalid_field("add_ids", f"make the group larger than {MOST_MEMBERS} members")
            policies = await groups.cleanup_policies(tx) if kind == "phone" else {}
            verb = f"change {kind} group"
            await _note(tx, actor, verb, name, reason.strip())
        self._wakeups.fleet_changed()
        return Group(kind=kind, name=name, members=members, clean_up=policies.get(name))

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


async def _check_known(tx: Transaction, kind: str, members: Sequence[str], *, field: str) -> None:
    if kind == "phone":
        known = set(await phones.get(tx, members))
        unknown = Reason.UNKNOWN_PHONE
    else:
        known = {a.account_id for a in await accounts.named_or_on(tx, members, ())}
        unknown = Reason.UNKNOWN_ACCOUNT
    for member in members:
        if member not in known:
            problem = FieldProblem(field=field, message=f"names {member[:128]!r}")
            message = f"there is no {kind} {member}"
            raise FarmError(unknown, message, detail=member[:128], problems=(problem,))


async def _note(tx: Transaction, actor: str, verb: str, subject: str, reason: str) -> None:
    await audit.note(tx, audit_id=new_id(), actor=actor, verb=verb, subject=subject, reason=reason)
