"""The owner of a loop that one controller runs for all: a row with a term that only rises."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import Update, select, update

from phonefarm_controller.model.errors import OwnerLostError
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.dialect import insert_unless_there
from phonefarm_controller.store.schema.cluster import loop_leases

_l = loop_leases.c


@dataclass(frozen=True, kw_only=True)
class Tenure:
    """A controller's ownership of a loop; each write of the loop checks it."""

    loop: str
    term: int


@dataclass(frozen=True, kw_only=True)
class LoopLease:
    """The row; if it has not changed, the owner was silent. A row without an owner is free."""

    owner: str
    term: int
    beats: int


async def get(tx: Transaction, loop: str) -> LoopLease | None:
    """Return the lease, None before its first owner."""
    query = select(_l.owner, _l.term, _l.beats).where(_l.loop == loop)
    row = (await tx.connection.execute(query)).one_or_none()
    return None if row is None else LoopLease(**row._asdict())


async def take_if_unchanged(
    tx: Transaction, loop: str, *, seen: LoopLease | None, owner: str
) -> Tenure | None:
    """Begin a new term; None when the row is not as it was *seen* any more."""
    if seen is None:
        values = {"loop": loop, "owner": owner, "term": 1, "beats": 0}
        taken = await insert_unless_there(tx, loop_leases, values)
        return Tenure(loop=loop, term=1) if taken else None
    result = await tx.connection.execute(
        update(loop_leases)
        .where(_l.loop == loop, _l.term == seen.term, _l.beats == seen.beats)
        .where(_l.owner == seen.owner)
        .values(owner=owner, term=seen.term + 1, beats=0)
    )
    return Tenure(loop=loop, term=seen.term + 1) if result.rowcount == 1 else None


async def beat_if_owned(tx: Transaction, tenure: Tenure) -> bool:
    """Renew the owner's lease of the loop; False when another controller owns the loop."""
    result = await tx.connection.execute(_owned(tenure).values(beats=_l.beats + 1))
    return result.rowcount == 1


async def leave_if_owned(tx: Transaction, tenure: Tenure) -> None:
    """Give up the loop, so that another controller can take it at once."""
    await tx.connection.execute(_owned(tenure).values(owner="", beats=_l.beats + 1))


@asynccontextmanager
async def owning(database: Database, tenure: Tenure | None) -> AsyncIterator[Transaction]:
    """Run a transaction that writes for a loop; OwnerLostError when the term is over.

    The term cannot end before the transaction does. None: nobody else could own it.
    """
    async with database.writing() as tx:
        if tenure is not None:
            query = select(_l.owner).where(_l.loop == tenure.loop, _l.term == tenure.term)
            held = (await tx.connection.execute(query.with_for_update(read=True))).scalar()
            if not held:
                raise OwnerLostError(f"{tenure.loop}: term {tenure.term} is over")
        yield tx


def _owned(tenure: Tenure) -> Update:
    return update(loop_leases).where(_l.loop == tenure.loop, _l.term == tenure.term)
