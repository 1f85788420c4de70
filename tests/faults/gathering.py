"""Reads what a farm left behind: while it works only whether it came to rest, afterwards all."""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from faults.ground import Ground
from faults.history import History, JournalRun
from phonefarm_common.clock import SystemClock
from phonefarm_controller.store.database import open_database
from support.snapshots import Row, Snapshot, snapshot

_OPEN = (
    "SELECT (SELECT count(*) FROM capability_requests WHERE finished_at IS NULL),"
    " (SELECT count(*) FROM deliveries WHERE state IN ('pending', 'leased')),"
    " (SELECT count(*) FROM leases WHERE state <> 'ended')"
)


def unrest(ground: Ground) -> str:
    """Return what of the farm still moves, in words; empty once it rests."""
    if ground.server is not None:
        found = ground.server.query("farm", _OPEN).split("|")
    else:
        path = ground.folder / "controller" / "farm.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as connection:
            found = [str(value) for value in connection.execute(_OPEN).fetchone()]
    journal = [
        run
        for agent in ground.agents
        for run in journal_of(ground.folder, agent)
        if run.phase != "forgotten" or run.unacknowledged
    ]
    names = ("processes", "deliveries", "leases", "runs in journals")
    counts = dict(zip(names, [*map(int, found), len(journal)], strict=True))
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


async def rows_of(url: str) -> Snapshot:
    """Return the database's rows; no controller runs any more."""
    async with open_database(url, SystemClock()) as database:
        return await snapshot(database)


def ledgers_of(folder: Path) -> Mapping[str, tuple[Row, ...]]:
    """Return what each phone recorded."""
    return {
        path.name.removesuffix(".ledger.jsonl"): tuple(
            json.loads(line) for line in path.read_text().splitlines()
        )
        for path in sorted(folder.rglob("*.ledger.jsonl"))
    }


def journal_of(folder: Path, agent: str) -> list[JournalRun]:
    """Return the runs in an agent's journal."""
    path = folder / agent / "journal.sqlite"
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as connection:
        waiting: dict[str, list[int]] = {}
        for run_id, sequence in connection.execute("SELECT run_id, sequence FROM records"):
            waiting.setdefault(run_id, []).append(sequence)
        return [
            JournalRun(
                agent_id=agent,
                run_id=run_id,
                phase=phase,
                last_sequence=json.loads(state)["last_sequence"],
                unacknowledged=tuple(sorted(waiting.get(run_id, ()))),
            )
            for run_id, phase, state in connection.execute("SELECT run_id, phase, state FROM runs")
        ]


def kept(history: History) -> dict[str, Any]:
    """Return the whole history as JSON values."""
    return {
        "asks": [asdict(ask) for ask in history.asks],
        "rows": {name: list(rows.values()) for name, rows in vars(history.rows).items()},
        "arrivals": [asdict(arrival) for arrival in history.arrivals],
        "journal": [asdict(run) for run in history.journal],
        "began": history.began,
        "ended": history.ended,
        "settings": [asdict(setting) for setting in history.settings],
        "ledgers": {serial: list(entries) for serial, entries in history.ledgers.items()},
    }
