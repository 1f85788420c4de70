"""Processes: the request rows."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, select

from phonefarm_controller.model.processes import Process
from phonefarm_controller.model.states import ProcessState
from phonefarm_controller.store.bulk_writes import update_columns_if
from phonefarm_controller.store.compiled_statements import Statement, among, columns_of, values_of
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.dialect import insert_into
from phonefarm_controller.store.schema.types import SafeText
from phonefarm_controller.store.schema.work import capability_requests, queue_items
from phonefarm_controller.store.transitions import note_made, note_moved, note_of

_p = capability_requests.c
_CHANGING = (
    "state",
    "executing_at",
    "retrying_at",
    "cancel_requested_at",
    "finished_at",
    "sequence",
)
_FIXED = (
    "process_id",
    "process_type",
    "request_id",
    "system",
    "user",
    "requested_by_metadata",
    "callback_url",
    "callback_metadata",
    "created_at",
    "single_target",
    "traceparent",
)
_NAMES = _FIXED + _CHANGING
COLUMNS = [capability_requests.c[name] for name in _NAMES]


_READS: Final = {"state": {str(state): state for state in ProcessState}.__getitem__}
_LOCK = Statement(
    select(*COLUMNS).where(among(_p.process_id, "ids")).order_by(_p.process_id).with_for_update(),
    reads=_READS,
)
# SQLite finds a list of request ids in the index, but reads every process for a list of tuples.
_ORIGINALS = Statement(
    select(*COLUMNS, _p.digest).where(
        _p.process_type == bindparam("process_type", type_=SafeText),
        _p.system == bindparam("system", type_=SafeText),
        among(_p.request_id, "ids"),
    ),
    reads=_READS,
)


@dataclass(frozen=True, kw_only=True)
class OriginalProcess:
    """The process that an earlier, equal request created."""

    process: Process
    digest: str


async def originals_of(
    tx: Transaction, keys: Iterable[tuple[str, str, str]]
) -> dict[tuple[str, str, str], OriginalProcess]:
    """Return the processes that already have these (process_type, system, request_id)."""
    wanted: dict[tuple[str, str], list[str]] = defaultdict(list)
    for process_type, system, request_id in set(keys):
        wanted[process_type, system].append(request_id)
    found = {}
    for (process_type, system), request_ids in wanted.items():
        rows = await _ORIGINALS.rows(tx, process_type=process_type, system=system, ids=request_ids)
        digests = [digest for *_, digest in rows]
        originals = values_of(Process, _NAMES, (row for *row, _ in rows))
        for process, digest in zip(originals, digests, strict=True):
            key = (process_type, system, process.request_id or "")
            found[key] = OriginalProcess(process=process, digest=digest)
    return found


async def insert_if_new(
    tx: Transaction,
    new: Sequence[Process],
    details: Mapping[str, Mapping[str, Any]],
    *,
    actors: Mapping[str, str] | None = None,
) -> set[str]:
    """Insert processes whose key is free; return the ids that were inserted.

    *details* gives per process id the columns that never change: mode, digest, target, inputs;
    *actors* who asked for it, where that is not the transaction's actor.
    """
    if not new:
        return set()
    rows = [
        {name: getattr(process, name) for name in _FIXED + _CHANGING}
        | dict(details[process.process_id])
        for process in new
    ]
    statement = (
        insert_into(tx, capability_requests)
        .on_conflict_do_nothing(index_elements=["process_type", "system", "request_id"])
        .returning(_p.process_id)
    )
    inserted = set((await tx.connection.execute(statement, rows)).scalars())
    fresh = [process for process in new if process.process_id in inserted]
    note_made(tx, fresh, actors=actors)
    return inserted


async def lock(tx: Transaction, process_ids: Iterable[str]) -> dict[str, Process]:
    """Return the processes by id, locked until the end, in the order of their ids."""
    rows = await _LOCK.rows(tx, ids=list(set(process_ids)))
    return {process.process_id: process for process in values_of(Process, _NAMES, rows)}


async def get(tx: Transaction, process_id: str) -> Process | None:
    """Return the process, None when there is none."""
    query = select(*COLUMNS).where(_p.process_id == process_id)
    row = (await tx.connection.execute(query)).one_or_none()
    return None if row is None else process_of(row)


async def save(tx: Transaction, before: Mapping[str, Process], after: Sequence[Process]) -> None:
    """Write changed processes, each only if its state and sequence are those of *before*."""
    if after:
        changed = sorted(after, key=lambda process: process.process_id)
        olds = [before[process.process_id] for process in changed]
        was = columns_of(olds, ("process_id", "state", "sequence"))
        columns = columns_of(changed, _CHANGING)
        await update_columns_if(tx, capability_requests, was=was, columns=columns)
        note_moved(tx, before, changed)


@dataclass(frozen=True, kw_only=True)
class StoredRequest:
    """The original request of a process; `rerun_as` is the process that repeats it."""

    digest: str
    target: str
    inputs: str
    verification: bool
    rerun_as: str | None


async def stored_request(tx: Transaction, process_id: str) -> StoredRequest:
    """Return the request from which the process was made."""
    again = capability_requests.alias()
    later = select(again.c.process_id).where(again.c.rerun_of == process_id).scalar_subquery()
    query = select(_p.digest, _p.target, _p.inputs, _p.verification, later.label("rerun_as"))
    row = (await tx.connection.execute(query.where(_p.process_id == process_id))).one()
    return StoredRequest(**row._asdict())


async def note_rerun(tx: Transaction, before: Process, after: Process) -> None:
    """Keep that *after* repeats the request of *before*; the timeline of each names the other."""
    await tx.connection.execute(
        capability_requests.update()
        .where(_p.process_id == after.process_id)
        .values(rerun_of=before.process_id)
    )
    note_of(tx, before, reason=f"rerun_as:{after.process_id}")
    note_of(tx, after, reason=f"rerun_of:{before.process_id}")


async def is_verification(tx: Transaction, process_id: str) -> bool:
    """Tell whether the process was asked for to prove its capability."""
    query = select(_p.verification).where(_p.process_id == process_id)
    return bool((await tx.connection.execute(query)).scalar_one_or_none())


async def note_cancel(tx: Transaction, process_id: str, *, requested_by: str) -> None:
    """Keep who asked to cancel."""
    await tx.connection.execute(
        capability_requests.update()
        .where(_p.process_id == process_id)
        .values(cancel_requested_by=requested_by)
    )


async def unfinished_without_work(tx: Transaction, *, limit: int) -> list[str]:
    """Return processes that are not terminal although all their items are: each is a bug."""
    open_items = (
        select(queue_items.c.item_id)
        .where(
            queue_items.c.process_id == _p.process_id,
            queue_items.c.state.not_in(("DONE", "DEAD_LETTER", "CANCELLED")),
        )
        .exists()
    )
    query = select(_p.process_id).where(_p.finished_at.is_(None), ~open_items).limit(limit)
    return list((await tx.connection.execute(query)).scalars())


def process_of(row: Any) -> Process:
    """Return the process of a row of COLUMNS."""
    values = {name: getattr(row, name) for name in _FIXED + _CHANGING}
    values["state"] = ProcessState(values["state"])
    return Process(**values)
