"""Groups of phones and of accounts, and the clean-up policy of a phone group."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from phonefarm_common.wire_enums import CleanupStep
from sqlalchemy import delete, select

from phonefarm_controller.store.bulk_writes import in_parts, insert_rows
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.dialect import insert_missing
from phonefarm_controller.store.schema.fleet import clean_ups, groups


@dataclass(frozen=True, kw_only=True)
class Group:
    """A named set of phones or of accounts; `kind` is phone or account."""

    kind: str
    name: str
    members: tuple[str, ...]
    clean_up: frozenset[CleanupStep] | None = None  # of a phone group; None without a policy


async def of_phones(tx: Transaction, phone_ids: Iterable[str]) -> dict[str, frozenset[str]]:
    """Return the names of the groups that each phone is in."""
    query = select(groups.c.member_id, groups.c.name).where(
        groups.c.kind == "phone", groups.c.member_id.in_(set(phone_ids))
    )
    found: dict[str, set[str]] = defaultdict(set)
    for row in await tx.connection.execute(query):
        found[row.member_id].add(row.name)
    return {phone_id: frozenset(names) for phone_id, names in found.items()}


async def members_of(
    tx: Transaction, kind: str, names: Iterable[str]
) -> Mapping[str, tuple[str, ...]]:
    """Return the members of the named groups of *kind*; unknown ones are missing."""
    wanted = set(names)
    if not wanted:
        return {}
    query = (
        select(groups.c.name, groups.c.member_id)
        .where(groups.c.kind == kind, groups.c.name.in_(wanted))
        .order_by(groups.c.member_id)
    )
    found: dict[str, list[str]] = defaultdict(list)
    for row in await tx.connection.execute(query):
        found[row.name].append(row.member_id)
    return {name: tuple(members) for name, members in found.items()}


async def all_of(tx: Transaction) -> list[Group]:
    """Return every group with its members, by kind and name."""
    query = select(groups).order_by(groups.c.kind, groups.c.name, groups.c.member_id)
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in await tx.connection.execute(query):
        found[row.kind, row.name].append(row.member_id)
    policies = await cleanup_policies(tx)
    return [
        Group(
            kind=kind,
            name=name,
            members=tuple(members),
            clean_up=policies.get(name) if kind == "phone" else None,
        )
        for (kind, name), members in found.items()
    ]


async def replace(tx: Transaction, kind: str, name: str, members: Sequence[str]) -> None:
    """Set the members of a group; a group without members loses its clean-up policy."""
    if kind == "phone" and not members:
        await put_cleanup_policy(tx, name, None)
    await tx.connection.execute(groups.delete().where(groups.c.kind == kind, groups.c.name == name))
    rows = [{"kind": kind, "name": name, "member_id": member} for member in dict.fromkeys(members)]
    await insert_rows(tx, groups, rows)


async def add(tx: Transaction, kind: str, name: str, members: Iterable[str]) -> None:
    """Add members to a group; those that are in it stay."""
    rows = [{"kind": kind, "name": name, "member_id": member} for member in sorted(set(members))]
    await insert_missing(tx, groups, rows)


async def remove(tx: Transaction, kind: str, name: str, members: Iterable[str]) -> None:
    """Remove members from a group; a group of phones that is empty then loses its policy."""
    of_group = groups.delete().where(groups.c.kind == kind, groups.c.name == name)
    for part in in_parts(members):
        await tx.connection.execute(of_group.where(groups.c.member_id.in_(part)))
    if kind == "phone" and not await members_of(tx, kind, [name]):
        await put_cleanup_policy(tx, name, None)


async def leave_all(tx: Transaction, kind: str, member_id: str) -> None:
    """Remove a phone or an account from every group."""
    in_any = groups.delete().where(groups.c.kind == kind, groups.c.member_id == member_id)
    await tx.connection.execute(in_any)


async def cleanup_policies(tx: Transaction) -> dict[str, frozenset[CleanupStep]]:
    """Return the clean-up steps of each phone group that has a policy."""
    rows = await tx.connection.execute(select(clean_ups.c.phone_group, clean_ups.c.steps))
    return {row.phone_group: frozenset(map(CleanupStep, json.loads(row.steps))) for row in rows}


async def put_cleanup_policy(
    tx: Transaction, phone_group: str, steps: frozenset[CleanupStep] | None
) -> None:
    """Set the clean-up steps of a phone group; None removes its policy."""
    await tx.connection.execute(delete(clean_ups).where(clean_ups.c.phone_group == phone_group))
    if steps is not None:
        row = {"phone_group": phone_group, "steps": json.dumps(sorted(steps))}
        await insert_rows(tx, clean_ups, [row])
