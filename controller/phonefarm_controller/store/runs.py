"""Runs and their reports."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, or_, select
from sqlalchemy import insert as insert_into
from sqlalchemy.dialects import postgresql, sqlite

from phonefarm_controller.model.states import RunState
from phonefarm_controller.store.bulk_writes import update_columns_if
from phonefarm_controller.store.compiled_statements import Statement, among, columns_of, values_of
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.schema.fleet import agents, runtime_snapshots
from phonefarm_controller.store.schema.work import action_results, queue_items, runs

_r = runs.c
_CHANGING = ("state", "container", "last_sequence", "outcome", "started_at", "ended_at")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One attempt at an item."""

    run_id: str
    item_id: str
    attempt: int
    phone_id: str
    account_id: str
    agent_id: str
    lease_id: str
    epoch: int
    state: RunState
    created_at: datetime
    container: str | None = None
    last_sequence: int = 0
    outcome: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


_FIXED = tuple(name for name in Run.__dataclass_fields__ if name not in _CHANGING)
_COLUMNS = [runs.c[name] for name in _FIXED + _CHANGING]
_NAMES = _FIXED + _CHANGING
_OWN_SNAPSHOT = runtime_snapshots.c.account_id == bindparam("of_account_id")
_OWN_AGENT = agents.c.agent_id == bindparam("of_agent_id")
_INSERT = Statement(
    insert_into(runs).values(
        {name: bindparam(f"of_{name}") for name in _NAMES}
        | {
            "snapshot_id": select(runtime_snapshots.c.snapshot_id)
            .where(_OWN_SNAPSHOT)
            .scalar_subquery(),
            "snapshot": select(runtime_snapshots.c.body).where(_OWN_SNAPSHOT).scalar_subquery(),
            "runtime": select(agents.c.runtime).where(_OWN_AGENT).scalar_subquery(),
        }
    )
)
_GET = Statement(
    select(*_COLUMNS).where(among(_r.run_id, "ids")),
    reads={"state": {str(state): state for state in RunState}.__getitem__},
)
_RESULTS = Statement(
    select(action_results.c.run_id, action_results.c.kind, action_results.c.body)
    .where(among(action_results.c.run_id, "ids"))
    .order_by(action_results.c.run_id, action_results.c.epoch, action_results.c.sequence)
)
_DONE_ACTIONS = Statement(
    select(action_results.c.run_id, action_results.c.body)
    .where(among(action_results.c.run_id, "ids"), action_results.c.kind == "action_done")
    .order_by(action_results.c.run_id, action_results.c.epoch, action_results.c.sequence)
)
_ENDED_ACTIONS = Statement(
    select(action_results.c.run_id, action_results.c.body, action_results.c.received_at)
    .where(
        among(action_results.c.run_id, "ids"),
        or_(action_results.c.kind == "action_done", action_results.c.kind == "action_failed"),
        action_results.c.late.is_(False),
    )
    .order_by(action_results.c.run_id, action_results.c.epoch, action_results.c.sequence)
)
RESULT = ("run_id", "epoch", "sequence", "kind", "body", "late", "received_at")
_KEPT = ["run_id", "epoch", "sequence"]
_KEEP_HERE = Statement(
    sqlite.insert(action_results).on_conflict_do_nothing(index_elements=_KEPT), columns=RESULT
)
_KEEP_THERE = Statement(
    postgresql.insert(action_results).on_conflict_do_nothing(index_elements=_KEPT), columns=RESULT
)


async def insert(tx: Transaction, new: Sequence[Run]) -> None:
    """Insert new runs, each with its account's snapshot and its agent's runtime as of now."""
    if new:
        columns = columns_of(new, _NAMES)
        await _INSERT.each(tx, {f"of_{name}": column for name, column in columns.items()})


async def get(tx: Transaction, run_ids: Iterable[str]) -> dict[str, Run]:
    """Return the runs by id; their process and item locks guard them."""
    rows = await _GET.rows(tx, ids=list(set(run_ids)))
    return {run.run_id: run for run in values_of(Run, _NAMES, rows)}


async def runtime_of(tx: Transaction, run_id: str) -> str:
    """Return the runtime of the run; empty when its agent did not report one."""
    query = select(_r.runtime).where(_r.run_id == run_id)
    return (await tx.connection.execute(query)).scalar_one() or ""


async def save(tx: Transaction, before: Mapping[str, Run], after: Sequence[Run]) -> None:
    """Write changed runs, each only if its state and last sequence are those of *before*."""
    if after:
        changed = sorted(after, key=lambda run: run.run_id)
        olds = [before[run.run_id] for run in changed]
        was = columns_of(olds, ("run_id", "state", "last_sequence"))
        await update_columns_if(tx, runs, was=was, columns=columns_of(changed, _CHANGING))


async def keep_results(tx: Transaction, rows: Sequence[tuple[Any, ...]]) -> None:
    """Keep reported lines, as RESULT names their values; one that is kept stays as it is."""
    if rows:
        columns = dict(zip(RESULT, zip(*rows, strict=True), strict=True))
        keep = _KEEP_THERE if tx.connection.dialect.name == "postgresql" else _KEEP_HERE
        await keep.each(tx, columns)


async def results_of(tx: Transaction, run_ids: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
    """Return (kind, body) of everything each run reported, in order."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for run_id, kind, body in await _RESULTS.rows(tx, ids=list(set(run_ids))):
        found[run_id].append((kind, body))
    return found


@dataclass(frozen=True, kw_only=True)
class EndedAction:
    """An action that is done or has failed, and when its report was stored."""

    kind: str
    index: int
    seconds: float
    stored_at: datetime
    code: str | None  # of its failure


async def ended_actions_of(tx: Transaction, run_ids: Iterable[str]) -> dict[str, list[EndedAction]]:
    """Return the actions that each run has ended while it was current, in order."""
    found: dict[str, list[EndedAction]] = defaultdict(list)
    for run_id, body, stored_at in await _ENDED_ACTIONS.rows(tx, ids=list(set(run_ids))):
        told = json.loads(body)
        failure = told.get("failure")
        found[run_id].append(
            EndedAction(
                kind=told["kind"],
                index=told["index"],
                seconds=told["seconds"],
                stored_at=stored_at,
                code=None if failure is None else failure["code"],
            )
        )
    return found


async def done_actions_of(tx: Transaction, run_ids: Iterable[str]) -> dict[str, list[str]]:
    """Return the body of every `action_done` of each run, in order."""
    found: dict[str, list[str]] = defaultdict(list)
    for run_id, body in await _DONE_ACTIONS.rows(tx, ids=list(set(run_ids))):
        found[run_id].append(body)
    return found


async def of_item(tx: Transaction, item_id: str) -> list[Run]:
    """Return every attempt of the item, the first one first."""
    query = select(_r.run_id).where(_r.item_id == item_id)
    known = await get(tx, (await tx.connection.execute(query)).scalars())
    return sorted(known.values(), key=lambda run: run.attempt)


async def of_items(tx: Transaction, item_ids: Iterable[str]) -> list[Run]:
    """Return every attempt of the items."""
    query = select(_r.run_id).where(_r.item_id.in_(set(item_ids)))
    return list((await get(tx, (await tx.connection.execute(query)).scalars())).values())


async def begun_of(tx: Transaction, process_id: str) -> list[Run]:
    """Return the runs of the process that had a container or an ending, oldest first."""
    query = (
        select(*_COLUMNS)
        .join(queue_items, queue_items.c.item_id == _r.item_id)
        .where(queue_items.c.process_id == process_id, _r.state != RunState.VOIDED)
        .where(_r.container.is_not(None) | (_r.state == RunState.ENDED))
        .order_by(_r.created_at, _r.run_id)
    )
    rows = await tx.connection.execute(query)
    return [Run(**row._asdict()) for row in rows]
