"""Accounts."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, select, update

from phonefarm_controller.model.states import Condition
from phonefarm_controller.store.bulk_writes import in_parts
from phonefarm_controller.store.compiled_statements import Statement, among, values_of
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.dialect import upsert
from phonefarm_controller.store.schema.fleet import accounts

_a = accounts.c


@dataclass(frozen=True, kw_only=True)
class Account:
    """An account of an app, bound to a phone."""

    account_id: str
    phone_id: str | None
    app: str
    active: bool
    condition: Condition = Condition.OK
    condition_reason: str = ""


_NAMES = tuple(Account.__dataclass_fields__)
_COLUMNS = [accounts.c[name] for name in _NAMES]
READS: Final = {"condition": {str(value): value for value in Condition}.__getitem__}
_LOCK = Statement(
    select(*_COLUMNS).where(among(_a.account_id, "ids")).order_by(_a.account_id).with_for_update(),
    reads=READS,
)
_ALL = Statement(select(*_COLUMNS).order_by(_a.account_id), reads=READS)
_APPS_IN_USE = Statement(select(_a.app).where(_a.active.is_(True)).distinct())


async def put(tx: Transaction, given: Sequence[Account]) -> None:
    """Create the accounts, or replace all of each; in one order, as every lock is taken."""
    rows = [
        {name: getattr(account, name) for name in _NAMES}
        for account in sorted(given, key=lambda account: account.account_id)
    ]
    await upsert(tx, accounts, rows, key=["account_id"])


async def lock(tx: Transaction, account_ids: Iterable[str]) -> dict[str, Account]:
    """Return the accounts by id, locked until the end, in the order of their ids."""
    rows = await _LOCK.rows(tx, ids=list(set(account_ids)))
    return {account.account_id: account for account in values_of(Account, _NAMES, rows)}


async def named_or_on(
    tx: Transaction, account_ids: Iterable[str], phone_ids: Iterable[str]
) -> list[Account]:
    """Return the named accounts and all accounts on the named phones, by id."""
    found: dict[str, Account] = {}
    for column, names in ((_a.account_id, account_ids), (_a.phone_id, phone_ids)):
        for part in in_parts(names):
            query = select(*_COLUMNS).where(column.in_(part))
            rows = await tx.connection.execute(query)
            found |= {row.account_id: _account(row) for row in rows}
    return [found[account_id] for account_id in sorted(found)]


async def apps_on(
    tx: Transaction, phone_ids: Iterable[str], known: Container[str]
) -> dict[str, str]:
    """Return, by phone, the first by name of the *known* apps with an active account there."""
    found: dict[str, str] = {}
    for account in await named_or_on(tx, (), phone_ids):
        if account.active and account.phone_id is not None and account.app in known:
            first = found.get(account.phone_id, account.app)
            found[account.phone_id] = min(first, account.app)
    return found


async def apps_in_use(tx: Transaction) -> frozenset[str]:
    """Return the apps that have an active account."""
    return frozenset(app for (app,) in await _APPS_IN_USE.rows(tx))


async def all_of(tx: Transaction) -> Sequence[Account]:
    """Return every account, by id."""
    return values_of(Account, _NAMES, await _ALL.rows(tx))


async def delete(tx: Transaction, account_id: str) -> None:
    """Remove an account that nothing refers to."""
    await tx.connection.execute(accounts.delete().where(_a.account_id == account_id))


async def needs_attention(tx: Transaction, account_id: str, *, reason: str) -> None:
    """Keep the account from work until a person has examined it."""
    await tx.connection.execute(
        update(accounts)
        .where(_a.account_id == account_id)
        .values(condition=Condition.NEEDS_ATTENTION, condition_reason=reason)
    )


def _account(row: Row[Any]) -> Account:
    values = row._asdict()
    values["condition"] = Condition(values["condition"])
    return Account(**values)
