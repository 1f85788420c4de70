"""Runs and what they reported."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy import insert as insert_into
from sqlalchemy.dialects import postgresql, sqlite

from phonefarm_controller.domain.states import RunState
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.tables import action_results, agents, runs, runtime_snapshots
from phonefarm_controller.store.writes import any_of, update_if

_r = runs.c
_CHANGING = ("state", "container", "last_sequence", "outcome", "started_at", "ended_at")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One attempt of an item."""

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
_OWN_SNAPSHOT = runtime_snapshots.c.account_id == bindparam("of_account_id")
_OWN_AGENT = agents.c.agent_id == bindparam("of_agent_id")
_INSERT = insert_into(runs).values(
    {name: bindparam(f"of_{name}") for name in _FIXED + _CHANGING}
    | {
        "snapshot_id": select(runtime_snapshots.c.snapshot_id)
        .where(_OWN_SNAPSHOT)
        .scalar_subquery(),
        "snapshot": select(runtime_snapshots.c.body).where(_OWN_SNAPSHOT).scalar_subquery(),
        "runtime": select(agents.c.runtime).where(_OWN_AGENT).scalar_subquery(),
    }
)
_GET = select(*_COLUMNS).where(_r.run_id.in_(any_of("ids")))
_RESULTS = (
    select(action_results.c.run_id, action_results.c.kind, action_results.c.body)
    .where(action_results.c.run_id.in_(any_of("ids")))
    .order_by(action_results.c.run_id, action_results.c.epoch, action_results.c.sequence)
)


async def insert(tx: Transaction, new: Sequence[Run]) -> None:
    """Insert new runs, each with its account's snapshot and its agent's runtime as of now."""
    rows = [{f"of_{name}": getattr(run, name) for name in _FIXED + _CHANGING} for run in new]
    if rows:
        await tx.connection.execute(_INSERT, rows)


async def get(tx: Transaction, run_ids: Iterable[str]) -> dict[str, Run]:
    """Return the runs by id; their process and item locks guard them."""
    found = {}
    for row in await tx.connection.execute(_GET, {"ids": list(set(run_ids))}):
        values = row._asdict()
        values["state"] = RunState(values["state"])
        found[row.run_id] = Run(**values)
    return found


async def runtime_of(tx: Transaction, run_id: str) -> str:
    """Return what the run ran in; empty when its agent did not say."""
    query = select(_r.runtime).where(_r.run_id == run_id)
    return (await tx.connection.execute(query)).scalar_one() or ""


async def save(tx: Transaction, before: Mapping[str, Run], after: Sequence[Run]) -> None:
    """Write changed runs, each only if its state and last sequence are those of *before*."""
    rows = [
        {name: getattr(run, name) for name in _CHANGING}
        | {
            "was_run_id": run.run_id,
            "was_state": before[run.run_id].state,
            "was_last_sequence": before[run.run_id].last_sequence,
        }
        for run in sorted(after, key=lambda run: run.run_id)
    ]
    keys = ("run_id", "state", "last_sequence")
    await update_if(tx, runs, keys=keys, changes=_CHANGING, rows=rows)


async def keep_results(tx: Transaction, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep reported lines; one that is kept already stays as it is."""
    if not rows:
        return
    build = postgresql.insert if tx.connection.dialect.name == "postgresql" else sqlite.insert
    statement = build(action_results).on_conflict_do_nothing(
        index_elements=["run_id", "epoch", "sequence"]
    )
    await tx.connection.execute(statement, list(rows))


async def results_of(tx: Transaction, run_ids: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
    """Return (kind, body) of everything each run reported, in order."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in await tx.connection.execute(_RESULTS, {"ids": list(set(run_ids))}):
        found[row.run_id].append((row.kind, row.body))
    return found
