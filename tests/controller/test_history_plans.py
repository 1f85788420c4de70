"""Beside a long history, what is done all the time reads what is open and not the history."""

import json
from typing import Any, Final

import pytest
from phonefarm_common.wire_enums import RunOutcome
from phonefarm_controller.model.run_reports import PhoneReleased, RunEnded
from phonefarm_controller.runs.lease_reaper import held_leases
from phonefarm_controller.store.database import Database
from phonefarm_controller.store.schema.work import capability_requests, leases, queue_items, runs
from sqlalchemy import cast, insert, literal, select, text
from sqlalchemy.types import String
from support.asked import statements
from support.backlog import numbers
from support.world import World, world_on

PAST: Final = 2000
READ_AT_MOST: Final = 150
"""Rows of the history's tables that one statement may look at."""
TABLES: Final = ("capability_requests", "queue_items", "runs", "leases")
SERIALS: Final = ("h01", "h02")


async def _finish_many(world: World) -> None:
    """Leave that many processes that are over, each with its item, its run and its lease."""
    process_id = await world.accept()
    (run,) = await world.claim(world.offers("north", SERIALS[0]))
    await world.begin(run)
    done = RunEnded(outcome=RunOutcome.DONE, failure=None, exit_code=0)
    await world.tell(run, 1, done, PhoneReleased(clean=True, reason="", residue=()))
    owned = {
        capability_requests: ("process_id", "request_id"),
        queue_items: ("process_id", "item_id"),
        runs: ("item_id", "run_id", "lease_id"),
        leases: ("process_id", "item_id", "run_id", "lease_id"),
    }
    only = {
        capability_requests: capability_requests.c.process_id == process_id,
        queue_items: queue_items.c.process_id == process_id,
        runs: runs.c.item_id == run.run.item_id,
        leases: leases.c.process_id == process_id,
    }
    async with world.database.writing() as tx:
        past = numbers(PAST)
        name = literal("past-") + cast(past.c.n, String)
        for table, names in owned.items():
            columns = [(name if c.name in names else c).label(c.name) for c in table.c]
            rows = select(*columns).select_from(table).join(past, literal(value=True))
            rows = rows.where(only[table])
            await tx.connection.execute(insert(table).from_select(list(table.c.keys()), rows))
        if tx.connection.dialect.name == "postgresql":  # as its autovacuum would
            await tx.connection.execute(text("ANALYZE"))


async def test_no_statement_reads_the_history(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From Enqueue to the acknowledged end, and what agents and loops repeat meanwhile."""
    async with world_on(database_url) as world:
        await world.furnish("north", *SERIALS)
        await _finish_many(world)
        with statements(world.database, monkeypatch) as asked:
            await world.accept()
            (run,) = await world.claim(world.offers("north", *SERIALS))
            await world.renew("north", world.terms["north"], [run.run])
            await world.desire("north")
            await held_leases(world.database)
            await world.begin(run)
            done = RunEnded(outcome=RunOutcome.DONE, failure=None, exit_code=0)
            await world.tell(run, 1, done, PhoneReleased(clean=True, reason="", residue=()))
            await world.phone_admin.admit(f"ph-{SERIALS[0]}", actor="test")
        read = {sql: await _read(world.database, sql, given) for sql, given in asked.items()}

    assert len(read) >= 25
    assert {sql: much for sql, much in read.items() if much > READ_AT_MOST} == {}


async def _read(database: Database, sql: str, parameters: Any) -> float:
    """Return how many rows of the tables the statement looks at; of SQLite, many or none."""
    async with database.reading() as tx:
        if tx.connection.dialect.name == "sqlite":
            partial = "SELECT name FROM sqlite_master WHERE type = 'index' AND sql LIKE '%WHERE%'"
            indexes = set((await tx.connection.exec_driver_sql(partial)).scalars())
            plan = await tx.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters)
            return PAST * any(_walks(row.detail, indexes) for row in plan)
        explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}"
        (found,) = (await tx.connection.exec_driver_sql(explain, parameters)).scalars()
        told = json.loads(found) if isinstance(found, str) else found
        return _rows_of(told[0]["Plan"])


def _walks(detail: str, partial: set[str]) -> bool:
    """Tell whether a step of SQLite's plan goes through a whole table, not only what is open."""
    scan, _, rest = detail.partition(" ")
    table, _, how = rest.partition(" ")
    return scan == "SCAN" and table in TABLES and how.split(" ")[-1] not in partial


def _rows_of(plan: dict[str, Any]) -> float:
    read = 0.0
    if plan.get("Relation Name") in TABLES:
        each = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        read = each * plan["Actual Loops"]
    return read + sum(_rows_of(part) for part in plan.get("Plans", ()))
