"""Ingested contents of accounts, and the items that were created for them."""

from dataclasses import dataclass

from sqlalchemy import insert, select, update

from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.schema.work import contents

_c = contents.c


@dataclass(frozen=True, kw_only=True)
class Content:
    """One content of an account, and its item."""

    account_id: str
    content_id: str
    process_id: str
    item_id: str


async def get(tx: Transaction, account_id: str, content_id: str) -> Content | None:
    """Return the content, None when it was never taken in."""
    query = select(contents).where(_c.account_id == account_id, _c.content_id == content_id)
    row = (await tx.connection.execute(query)).one_or_none()
    return None if row is None else Content(**row._asdict())


async def insert_new(tx: Transaction, content: Content) -> None:
    """Insert the content; the lock on its account says that it is new."""
    values = {name: getattr(content, name) for name in Content.__dataclass_fields__}
    await tx.connection.execute(insert(contents).values(values))


async def reassign(tx: Transaction, *, item_id: str, by_process: str, by_item: str) -> None:
    """Say that what was that item is another one now, if it was a content."""
    values = {"process_id": by_process, "item_id": by_item}
    await tx.connection.execute(update(contents).where(_c.item_id == item_id).values(values))
