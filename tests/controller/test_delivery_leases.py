"""Who is lent what: a few of each receiver, whatever waits behind them; and each attempt's line."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from phonefarm_common.timers import Timers
from phonefarm_common.wire_enums import DeliveryOutcome
from phonefarm_controller.callbacks.delivery import (
    GIVE_UP_SECONDS,
    MOST_PER_RECEIVER,
    CallbackDelivery,
    DeliveryReport,
)
from phonefarm_controller.model.items import CancelStrategy
from phonefarm_controller.model.receivers import LONGEST, receiver_of
from phonefarm_controller.processes.cancel import CancelRequest
from phonefarm_controller.store import delivery_leases
from phonefarm_controller.store.compiled_statements import Statement
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.deliveries import Delivery
from phonefarm_controller.store.delivery_attempts import MOST_KEPT
from sqlalchemy import text
from support.world import World, submission, world_on

DELIVERED, FAILED, GONE = (
    DeliveryOutcome.DELIVERED,
    DeliveryOutcome.FAILED,
    DeliveryOutcome.GONE,
)
LEASE, HOUR = Timers().callback_lease, 3600.0
DEAD, GOOD = "http://dead.example.com/cb", "https://good.example.com/cb"


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """Open a controller's operations on each engine."""
    async with world_on(database_url) as world:
        await world.furnish("a", "p1")
        yield world


@pytest.fixture
async def timed(tmp_path: Any) -> AsyncIterator[World]:
    """Open a controller's operations where time moves only when the test says so."""
    async with world_on(f"sqlite:///{tmp_path / 'farm.db'}") as world:
        await world.furnish("a", "p1")
        yield world


async def owe(world: World, count: int, url: str) -> list[str]:
    """Let *count* processes have something to tell the URL; return them."""
    made: list[str] = []
    while len(made) < count:
        few = min(100, count - len(made))
        answers = await world.enqueue([submission(callback_url=url) for _ in range(few)])
        for answer in answers:
            assert not isinstance(answer, Exception)
            made.append(answer.process_id)
    return made


def told(
    lent: Sequence[Delivery], outcome: DeliveryOutcome, *, status: int = 0, error: str = "no"
) -> list[DeliveryReport]:
    """Return a gateway's word on the attempts."""
    return [
        DeliveryReport(
            delivery_id=delivery.delivery_id,
            lease_token=delivery.lease_token or "",
            outcome=outcome,
            http_status=status,
            error=error,
            retry_after_seconds=0,
        )
        for delivery in lent
    ]


async def cancel(world: World, process_id: str) -> None:
    """Ask to cancel, which makes two more deliveries."""
    await world.cancel(
        CancelRequest(
            process_id=process_id,
            reason="test",
            requested_by="tester",
            strategy=CancelStrategy.SOFT,
            force_after_seconds=1,
        )
    )


@pytest.mark.parametrize(
    ("url", "receiver"),
    [
        ("http://a.example.com/x?y=1", "http://a.example.com:80"),
        ("https://A.Example.com/z", "https://a.example.com:443"),
        ("HTTP://a.example.com:80", "http://a.example.com:80"),
        ("http://user:secret@a.example.com:8080/", "http://a.example.com:8080"),
        ("http://[2001:DB8::1]:81/", "http://[2001:db8::1]:81"),
        ("http://a:notaport/", "http://a:notaport/"),
        ("", "://:0"),
        ("http://" + "a" * 5000, "http://" + "a" * (LONGEST - 7)),
    ],
)
def test_a_receiver_is_scheme_host_and_port(url: str, receiver: str) -> None:
    """Path, query, case and who signs in make no difference; nonsense is its own receiver."""
    assert receiver_of(url) == receiver


async def test_a_receiver_has_only_so_many_leases_at_a_time(world: World) -> None:
    """One settled makes room for one; another receiver has its own."""
    await owe(world, 20, DEAD)
    await owe(world, 3, GOOD)

    first = await world.deliver.lease(limit=100)
    second = await world.deliver.lease(limit=100)
    await world.deliver.settle(told(first[:2], DELIVERED))
    third = await world.deliver.lease(limit=100)

    assert Counter(d.url for d in first) == {DEAD: MOST_PER_RECEIVER, GOOD: 3}
    assert second == []
    assert [d.url for d in third] == [DEAD] * 2


async def test_a_limit_is_kept_over_all_receivers(world: World) -> None:
    """What a gateway can hold decides; the oldest goes first."""
    await owe(world, 3, DEAD)
    await owe(world, 3, GOOD)

    first = await world.deliver.lease(limit=4)
    second = await world.deliver.lease(limit=4)

    assert Counter(d.url for d in first) == {DEAD: 3, GOOD: 1}
    assert [d.url for d in second] == [GOOD] * 2


async def test_a_large_backlog_at_a_stuck_receiver_delays_nobody(world: World) -> None:
    """Many wait for one that never answers; what another is owed is lent at once."""
    await owe(world, 1500, DEAD)
    stuck = await world.deliver.lease(limit=100)
    await owe(world, 1, GOOD)

    began = time.process_time()  # what else the machine does costs nothing here
    (good,) = await world.deliver.lease(limit=100)
    spent = time.process_time() - began

    assert len(stuck) == MOST_PER_RECEIVER
    assert good.url == GOOD
    assert spent < 0.5


async def test_a_lease_does_not_read_what_waits(world: World) -> None:
    """Every look of a lender is a seek in an index that has no more than it needs."""
    await owe(world, 300, DEAD)
    await owe(world, 1, GOOD)
    await world.deliver.lease(limit=10)
    async with world.database.writing() as tx:
        await tx.connection.execute(text("ANALYZE deliveries"))
        held = await plan(tx, delivery_leases._HELD)
        receivers = await plan(tx, delivery_leases._RECEIVERS)
        now = round(tx.now.timestamp() * 1_000_000)
        values = {"receiver": receiver_of(GOOD), "now": now, "room": 8}
        oldest = await plan(tx, delivery_leases._OLDEST, **values)

    assert "ix_deliveries_leased" in held
    assert receivers.count("ix_deliveries_waiting") == 2
    assert "ix_deliveries_waiting" in oldest
    assert "ix_deliveries_unsettled" in oldest
    assert "TEMP B-TREE" not in receivers + oldest
    for shown in (held, receivers, oldest):
        assert "Seq Scan" not in shown
        assert not [line for line in shown.splitlines() if line.endswith("SCAN deliveries")]


async def plan(tx: Transaction, statement: Statement, **values: Any) -> str:
    """Return how the engine would run the statement."""
    compiled = statement._for(tx)
    if tx.connection.dialect.name != "postgresql":
        given = tuple(
            values[name] if name in values else compiled.constants[name] for name in compiled.names
        )
        return "\n".join(
            str(row[-1]) for row in await tx.rows(f"EXPLAIN QUERY PLAN {compiled.sql}", given)
        )
    # With a few hundred rows reading all of them is cheaper; it must be able to do without.
    await tx.connection.execute(text("SET LOCAL enable_seqscan = off"))
    sql = compiled.sql
    for place, name in enumerate(compiled.names, 1):
        value = values[name]
        sql = sql.replace(f"${place}", f"'{value}'" if isinstance(value, str) else str(value))
    return "\n".join(str(row[0]) for row in await tx.rows(f"EXPLAIN {sql}", ()))


async def test_what_waits_behind_a_failed_one_is_not_looked_at_before_its_time(
    timed: World,
) -> None:
    """A process's later deliveries are due no earlier than the one before them, then in order."""
    early, late = await owe(timed, 2, DEAD)
    await cancel(timed, early)  # known before the attempt fails
    lent = await timed.deliver.lease(limit=10)
    await timed.deliver.settle(told(lent, FAILED))
    await cancel(timed, late)  # comes while the first waits for its next attempt

    async with timed.database.reading() as tx:
        query = text("SELECT count(*) FROM deliveries WHERE due_at <= :now")
        now = round(tx.now.timestamp() * 1_000_000)
        due = (await tx.connection.execute(query, {"now": now})).scalar_one()
    timed.clock.advance(5.001)
    order = []
    while lent := await timed.deliver.lease(limit=10):
        order += [(d.process_id, d.sequence) for d in lent]
        await timed.deliver.settle(told(lent, DELIVERED))

    assert due == 0
    for process_id in (early, late):
        assert [n for p, n in order if p == process_id] == [1, 2, 3]


async def test_receivers_that_wait_hold_nobody_up_by_their_number(world: World) -> None:
    """Five hundred that failed and wait cost a lease little."""
    answers = await world.enqueue(
        [submission(callback_url=f"http://h{n}.example.com/") for n in range(500)]
    )
    assert not any(isinstance(answer, Exception) for answer in answers)
    while lent := await world.deliver.lease(limit=100):
        await world.deliver.settle(told(lent, FAILED))
    seconds = []
    for _ in range(3):
        await owe(world, 1, GOOD)
        began = time.process_time()
        (good,) = await world.deliver.lease(limit=100)
        seconds.append(time.process_time() - began)
        assert good.url == GOOD
        await world.deliver.settle(told([good], DELIVERED))

    assert min(seconds) < 0.5  # the best of three: what else the machine did is not meant


async def test_every_attempt_leaves_a_line(timed: World) -> None:
    """Failed, lapsed, delivered: when, by whom, what the receiver said."""
    (process_id,) = await owe(timed, 1, GOOD)
    (first,) = await timed.deliver.lease(limit=1, gateway_id="gw-1")
    await timed.deliver.settle(told([first], FAILED, status=503, error="HTTP 503: busy"))
    timed.clock.advance(10)
    await timed.deliver.lease(limit=1, gateway_id="gw-2")  # and is never heard of again
    timed.clock.advance(LEASE)
    (third,) = await timed.deliver.lease(limit=1, gateway_id="gw-1")
    await timed.deliver.settle(told([third], DELIVERED, status=204, error="ignored"))

    ((delivery, lines),) = [(one.delivery, one.log) for one in await timed.replay.log(process_id)]

    assert [(a.attempt, a.gateway_id, a.outcome, a.http_status, a.error) for a in lines] == [
        (1, "gw-1", "failed", 503, "HTTP 503: busy"),
        (2, "gw-2", "lapsed", 0, "the gateway did not report the result in time"),
        (3, "gw-1", "delivered", 204, ""),
    ]
    assert lines[1].ended_at == lines[2].ended_at
    assert delivery.attempts == 3
    assert delivery.last_error is None


async def test_the_log_of_a_delivery_is_bounded(timed: World) -> None:
    """However often it is tried and replayed, its newest lines are kept and no more."""
    (process_id,) = await owe(timed, 1, DEAD)
    for _ in range(MOST_KEPT + 7):
        (lent,) = await timed.deliver.lease(limit=1)
        await timed.deliver.settle(told([lent], FAILED))
        timed.clock.advance(await timed.deliver.seconds_until_due() or 0)
        if not await timed.deliver.seconds_until_due() and (await dead(timed, process_id)):
            await timed.replay(process_id, [], actor="test")

    (logged,) = await timed.replay.log(process_id)

    assert [line.attempt for line in logged.log] == list(range(8, MOST_KEPT + 8))


async def dead(world: World, process_id: str) -> bool:
    """Tell whether the process's first delivery was given up."""
    return (await world.replay.log(process_id))[0].delivery.state == "dead"


async def test_a_delivery_that_only_lapses_is_given_up_after_its_day(timed: World) -> None:
    """Gateways that die over it every time do so for a day, not for ever."""
    (process_id,) = await owe(timed, 1, DEAD)
    await cancel(timed, process_id)
    attempts = 0
    while lent := await timed.deliver.lease(limit=1):
        if lent[0].sequence != 1:
            break
        attempts += 1
        timed.clock.advance(HOUR)

    first, *_ = await timed.replay.log(process_id)

    assert attempts == GIVE_UP_SECONDS / HOUR + 1
    assert first.delivery.state == "dead"
    assert first.delivery.settled_at is not None
    assert {line.outcome for line in first.log} == {"lapsed"}
    assert len(first.log) == attempts


async def test_a_lapsed_delivery_has_one_more_attempt_however_late(timed: World) -> None:
    """No gateway for a week is not the receiver's fault: whoever comes back tries once more."""
    (process_id,) = await owe(timed, 1, GOOD)
    await timed.deliver.lease(limit=1)
    timed.clock.advance(7 * 24 * 3600)

    (again,) = await timed.deliver.lease(limit=1)
    await timed.deliver.settle(told([again], DELIVERED))

    assert (await timed.replay.log(process_id))[0].delivery.state == "delivered"


@pytest.mark.postgres
async def test_many_lenders_on_two_controllers_keep_every_rule(postgres_url: str) -> None:
    """Never more than a few of a receiver at once, never two of a process, never one twice."""
    async with world_on(postgres_url) as one, world_on(postgres_url) as two:
        await one.furnish("a", "p1")
        processes = [*await owe(one, 40, DEAD), *await owe(one, 20, GOOD)]
        await asyncio.gather(*(cancel(one, process_id) for process_id in processes))
        out: dict[str, Delivery] = {}
        story: list[tuple[str, int]] = []
        most: Counter[str] = Counter()

        async def gateway(world: World, name: str) -> None:
            while lent := await world.deliver.lease(limit=5, gateway_id=name):
                for delivery in lent:
                    assert delivery.delivery_id not in out
                    assert delivery.process_id not in {d.process_id for d in out.values()}
                    out[delivery.delivery_id] = delivery
                    story.append((delivery.process_id, delivery.sequence))
                now = Counter(d.receiver for d in out.values())
                most.update(
                    {name: now[name] - most[name] for name in now if now[name] > most[name]}
                )
                await asyncio.sleep(0)  # the receivers' turn
                for delivery in lent:
                    del out[delivery.delivery_id]
                await world.deliver.settle(told(lent, DELIVERED))

        while len(story) < 3 * len(processes):
            async with asyncio.timeout(180):
                await asyncio.gather(
                    *(gateway(world, f"gw-{n}") for n in range(3) for world in (one, two))
                )

        assert max(most.values()) <= MOST_PER_RECEIVER
        for process_id in processes:
            assert [n for p, n in story if p == process_id] == [1, 2, 3]


@pytest.mark.parametrize(("chance", "wait"), [(0.0, 4.0), (1.0, 6.0)])
async def test_waits_are_spread_by_chance(timed: World, chance: float, wait: float) -> None:
    """Give or take a fifth, so that what failed together does not come back together."""
    deliver = CallbackDelivery(
        database=timed.database,
        wakeups=timed.wakeups,
        time_scale=1.0,
        lease_seconds=LEASE,
        chance=lambda: chance,
    )
    await owe(timed, 1, DEAD)

    await deliver.settle(told(await deliver.lease(limit=1), FAILED))

    assert await deliver.seconds_until_due() == pytest.approx(wait, abs=0.01)
