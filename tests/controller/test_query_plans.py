"""Beside a backlog, what is done all the time reads what it needs and not the backlog."""

import json
from typing import Any

import pytest
from phonefarm_controller.model.items import NO_APP
from phonefarm_controller.model.limits import LimitKind, LimitScope
from phonefarm_controller.model.pauses import PauseScope
from phonefarm_controller.store import queue
from phonefarm_controller.store.database import Database
from phonefarm_controller.store.schema.work import runs
from sqlalchemy import insert, select, text
from support.asked import Asked, statements
from support.backlog import SERIALS, SHAPES, furnish, pile_up
from support.world import World, world_on

WAITING = 3000
READ_AT_MOST = 150
"""Rows that one statement may look at: a few for each of twenty phones."""


def _of_the_queue(asked: Asked) -> Asked:
    return {sql: parameters for sql, parameters in asked.items() if "queue_items" in sql}


async def _what_is_asked(world: World, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Do what is done all the time, once."""
    with statements(world.database, monkeypatch) as asked:
        await world.claim(world.offers("north", *SERIALS))
        await world.due_items.next_due()
        await world.due_items.requeue()
        await world.due_items.expire()
        async with world.database.reading() as tx:
            await queue.open_phone_only(tx, [f"ph-{serial}" for serial in SERIALS])
            await queue.golden_jobs_since(tx, tx.now)
            await queue.any_without_app(tx)
            await queue.first_bound_without_app(tx, [f"ph-{serial}" for serial in SERIALS])
            await queue.first_open(tx, app=NO_APP, phone_group=None, limit=5)
    return _of_the_queue(asked)


@pytest.mark.parametrize("shape", SHAPES)
async def test_no_statement_reads_the_backlog(
    database_url: str, shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it waits for phones here, for others, for tomorrow or for an account."""
    async with world_on(database_url) as world:
        await furnish(world)
        await pile_up(world, WAITING, SHAPES[shape])
        asked = await _what_is_asked(world, monkeypatch)
        read = {sql: await _read(world.database, sql, given) for sql, given in asked.items()}

    assert len(read) >= 8
    assert {sql: much for sql, much in read.items() if much > READ_AT_MOST} == {}


@pytest.mark.parametrize("shape", SHAPES)
async def test_the_first_claim_is_what_a_look_at_everything_would_choose(
    database_url: str, shape: str
) -> None:
    """The walk down the indexes leaves nothing out: priority, then age."""
    async with world_on(database_url) as world:
        await furnish(world)
        await pile_up(world, 200, SHAPES[shape])
        ids = [await world.accept(priority=priority) for priority in (4, 8, 6)]
        (run,) = await world.claim(world.offers("north", SERIALS[1]))

    assert run.process_id == ids[1]


async def test_what_has_become_due_is_walked_from_then_on(database_url: str) -> None:
    """A thousand items that come due together are claimed by priority, and read once."""
    async with world_on(database_url) as world:
        world.database._now = world.clock.now  # also of PostgreSQL: it is to become tomorrow
        await furnish(world)
        await pile_up(world, 1000, SHAPES["later"])
        world.clock.advance(86_401)
        urgent = await world.accept(priority=10)
        async with world.database.reading() as tx:
            before = len(await queue.unpromoted(tx, limit=5000))
        first, second = await world.claim(world.offers("north", *SERIALS[:2]))
        async with world.database.reading() as tx:
            after = len(await queue.unpromoted(tx, limit=5000))

    assert first.process_id == urgent
    assert second.process_id.startswith("backlog-")
    assert (before, after) == (1000, 0)


async def test_what_is_paused_when_it_becomes_due_is_read_once_as_well(database_url: str) -> None:
    """Not by every claim for as long as the pause lasts."""
    async with world_on(database_url) as world:
        world.database._now = world.clock.now
        await furnish(world)
        await pile_up(world, 1000, SHAPES["later"])
        pause = {"actor": "test", "reason": "test"}
        await world.pauses.pause(PauseScope.CAPABILITY, "keyword_warmup", **pause)
        world.clock.advance(86_401)
        claimed = await world.claim(world.offers("north", *SERIALS[:2]))
        async with world.database.reading() as tx:
            left = await queue.any_unpromoted(tx)

    assert claimed == []
    assert not left


@pytest.mark.parametrize("shape", SHAPES)
async def test_what_is_paused_beyond_its_time_is_not_read_again_and_again(
    database_url: str, shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pause of all work keeps it from ending, and the ticker from looking at it."""
    async with world_on(database_url) as world:
        world.database._now = world.clock.now
        await furnish(world)
        await pile_up(world, WAITING, SHAPES[shape])
        await world.pauses.pause(PauseScope.ALL, "", actor="test", reason="test")
        world.clock.advance(30 * 86_400)
        with statements(world.database, monkeypatch) as asked:
            expired = await world.due_items.expire()
        asked = _of_the_queue(asked)
        read = {sql: await _read(world.database, sql, given) for sql, given in asked.items()}

    assert expired == 0
    assert len(read) == 1
    assert {sql: much for sql, much in read.items() if much > READ_AT_MOST} == {}


async def test_what_limits_count_is_read_without_the_history(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look, the claim and the gate read the runs of their accounts, not those of all others."""
    async with world_on(database_url) as world:
        await furnish(world)
        await _put_limits(world)
        await world.accept()
        (old,) = await world.claim(world.offers("north", SERIALS[0]))
        async with world.database.writing() as tx:
            found = select(runs).where(runs.c.run_id == old.run.run_id)
            row = (await tx.connection.execute(found)).one()._asdict()
            others = [
                row
                | {"run_id": f"r{n}", "attempt": n + 2, "account_id": f"other-{n % 500}"}
                | {"state": "ENDED", "started_at": tx.now, "ended_at": tx.now}
                for n in range(WAITING)
            ]
            await tx.connection.execute(insert(runs), others)
            if tx.connection.dialect.name == "postgresql":
                await tx.connection.execute(text("ANALYZE runs"))
        await world.accept()
        with statements(world.database, monkeypatch) as asked:
            (run,) = await world.claim(world.offers("north", SERIALS[1]))
            go = await world.begin(run)
        counted = {sql: of for sql, of in asked.items() if "runs" in sql and "GROUP BY" in sql}
        read = {sql: await _read(world.database, sql, of, "runs") for sql, of in counted.items()}
        joined = {sql: of for sql, of in asked.items() if "FROM leases JOIN queue_items" in sql}
        read |= {sql: await _read(world.database, sql, of) for sql, of in joined.items()}

    assert go.stop is None
    assert len(read) == 2
    assert {sql: much for sql, much in read.items() if much > READ_AT_MOST} == {}


async def _put_limits(world: World) -> None:
    """Put one of each kind, so wide that it refuses nothing."""
    why = {"actor": "test", "reason": "test"}
    every = LimitScope.EVERY_ACCOUNT
    await world.limits.put(LimitKind.RUNS_PER_DAY, every, "", value=50, zone="UTC", **why)
    await world.limits.put(LimitKind.SECONDS_BETWEEN_RUNS, every, "", value=5, zone="", **why)
    app = LimitScope.APP
    await world.limits.put(LimitKind.RUNS_AT_ONCE, app, "shortvideo", value=50, zone="", **why)


async def _read(database: Database, sql: str, parameters: Any, table: str = "queue_items") -> float:
    """Return how many rows of the table the statement looks at; of SQLite, many or none."""
    async with database.reading() as tx:
        if tx.connection.dialect.name == "sqlite":
            rows = await tx.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters)
            return WAITING * any(_walks(row.detail, table) for row in rows)
        explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}"
        (found,) = (await tx.connection.exec_driver_sql(explain, parameters)).scalars()
        plan = json.loads(found) if isinstance(found, str) else found
        return _rows_of(plan[0]["Plan"], table)


def _walks(detail: str, table: str) -> bool:
    """Tell whether a step of SQLite's plan goes through the table."""
    if not detail.startswith(f"SCAN {table}"):
        return False
    # Each stops at one row of what is claimable.
    first_of_index = {"ix_queue_items_bound_ready", "ix_queue_items_without_app_ready"}
    return detail.rpartition(" USING INDEX ")[2] not in first_of_index


def _rows_of(plan: dict[str, Any], table: str) -> float:
    read = 0.0
    if plan.get("Relation Name") == table:
        each = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        read = each * plan["Actual Loops"]
    return read + sum(_rows_of(part, table) for part in plan.get("Plans", ()))
