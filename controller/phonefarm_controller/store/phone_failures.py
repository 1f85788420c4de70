"""The failures of phones that count against them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, select, update

from phonefarm_controller.model.health import Blame
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.dialect import insert_missing
from phonefarm_controller.store.schema.fleet import phone_failures

_f = phone_failures.c


@dataclass(frozen=True, kw_only=True)
class PhoneFailure:
    """A failure of a phone in one run.

    `counts`: not while its host has an incident, nor once somebody has looked at the phone.
    """

    run_id: str
    phone_id: str
    agent_id: str
    process_id: str
    at: datetime
    blame: Blame
    code: str
    message: str
    counts: bool = True


async def of_phones(
    tx: Transaction, phone_ids: Iterable[str], since: datetime
) -> dict[str, list[PhoneFailure]]:
    """Return what each phone was charged since then, oldest first."""
    query = (
        select(phone_failures)
        .where(_f.phone_id.in_(set(phone_ids)), _f.at > since)
        .order_by(_f.at, _f.run_id)
    )
    found: dict[str, list[PhoneFailure]] = defaultdict(list)
    for row in await tx.connection.execute(query):
        found[row.phone_id].append(_charge(row))
    return found


async def of_hosts(
    tx: Transaction, agent_ids: Iterable[str], since: datetime
) -> dict[str, list[PhoneFailure]]:
    """Return what phones of each agent were charged since then."""
    query = select(phone_failures).where(_f.agent_id.in_(set(agent_ids)), _f.at > since)
    found: dict[str, list[PhoneFailure]] = defaultdict(list)
    for row in await tx.connection.execute(query):
        found[row.agent_id].append(_charge(row))
    return found


async def recent(tx: Transaction, phone_id: str, *, limit: int) -> list[PhoneFailure]:
    """Return what the phone was charged last, newest first."""
    query = (
        select(phone_failures)
        .where(_f.phone_id == phone_id)
        .order_by(_f.at.desc(), _f.run_id)
        .limit(limit)
    )
    return [_charge(row) for row in await tx.connection.execute(query)]


async def keep(tx: Transaction, new: Sequence[PhoneFailure]) -> None:
    """Keep charges; a run that was charged before keeps its first."""
    rows = [{n: getattr(charge, n) for n in PhoneFailure.__dataclass_fields__} for charge in new]
    await insert_missing(tx, phone_failures, rows)


async def excuse(tx: Transaction, run_ids: Iterable[str]) -> None:
    """Let charges no longer count."""
    await tx.connection.execute(
        update(phone_failures).where(_f.run_id.in_(set(run_ids))).values(counts=False)
    )


async def forgive(tx: Transaction, phone_id: str) -> None:
    """Let nothing that the phone was charged so far count any more."""
    of_it = (_f.phone_id == phone_id) & _f.counts
    await tx.connection.execute(update(phone_failures).where(of_it).values(counts=False))


async def forget(tx: Transaction, phone_ids: Iterable[str], before: datetime) -> None:
    """Drop what the phones were charged before then."""
    of_them = _f.phone_id.in_(set(phone_ids)) & (_f.at < before)
    await tx.connection.execute(delete(phone_failures).where(of_them))


def _charge(row: Row[Any]) -> PhoneFailure:
    values = row._asdict()
    values["blame"] = Blame(values["blame"])
    return PhoneFailure(**values)
