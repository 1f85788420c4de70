"""One outbox, several gateways: a stuck receiver delays nobody, nobody is told two at once."""

import asyncio
import json
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
from aiohttp import web
from gateway.support.receiver import Received, Receiver
from gateway.support.sending import Sending, owing, sending
from phonefarm.v1 import process_pb2
from phonefarm_controller.alarms import DiskAlarm
from phonefarm_controller.app.controller import store_app_profiles
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.model.retry_policy import RetryPolicy
from phonefarm_controller.processes.enqueue import Enqueue
from phonefarm_controller.store.schema.delivery import deliveries
from sqlalchemy import func, select
from support.controller import GATEWAY_TOKEN
from support.world import submission

BACKLOG = 5000
AT_ONCE = 100
SCALE = 0.2  # a lease of 12 s, an attempt of 6 s


async def owe_many(it: Sending, url: str, count: int) -> None:
    """Let that many processes have something to tell *url*; quicker than by as many calls."""
    database = it.farm.controller.database
    enqueue = Enqueue(
        database=database,
        profiles=await store_app_profiles(database, Path("/nonexistent")),
        policy=RetryPolicy(),
        wakeups=WakeUps(),
        disk_alarm=DiskAlarm(),
        dummy_allowed=True,
    )
    for _ in range(count // AT_ONCE):
        answers = await enqueue([submission(callback_url=url) for _ in range(AT_ONCE)])
        assert not any(isinstance(answer, Exception) for answer in answers)


@pytest.mark.long
async def test_thousands_owed_to_a_stuck_receiver_delay_nobody(tmp_path: Path) -> None:
    """5,000 wait for one that answers nothing; another is told before one of those is given up."""
    async with (
        Receiver.serving() as stuck,
        Receiver.serving() as good,
        sending(tmp_path, gateways=2) as it,
    ):
        stuck.answer = never
        await owe_many(it, stuck.url(), BACKLOG)
        await it.owe(stuck.url())
        await stuck.wait(8)

        for number in range(1, 6):
            await it.owe(good.url())
            await good.wait(number)

        # A slow machine gives up the first attempts meanwhile: what counts is how many are out.
        out = select(func.count()).where(
            deliveries.c.state == "leased", deliveries.c.url == stuck.url()
        )
        async with it.farm.controller.database.reading() as tx:
            assert 1 <= (await tx.connection.execute(out)).scalar_one() <= 8


async def never(received: Received) -> web.StreamResponse:
    """Answer nothing."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


@dataclass
class Visit:
    """One request as the receiver saw it."""

    sequence: int
    begin: float
    end: float = float("inf")
    was_held: bool = False


@dataclass
class Book:
    """Keeps when each process's events came and were answered; can be told to hold them."""

    visits: dict[str, list[Visit]] = field(default_factory=lambda: defaultdict(list))
    holding: bool = False
    held: int = 0
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    moved: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def answer(self, received: Received) -> web.StreamResponse:
        """Answer well; while holding, only when told to go on."""
        event = received.event
        visit = Visit(sequence=event["sequence"], begin=time.monotonic())
        self.visits[event["process"]["process_id"]].append(visit)
        if self.holding:
            visit.was_held = True
            async with self.moved:
                self.held += 1
                self.moved.notify_all()
            await self.go_on.wait()
        else:
            await asyncio.sleep(0.005)  # an answer takes a moment, so that visits could overlap
        visit.end = time.monotonic()
        return web.Response(status=204)


@asynccontextmanager
async def gateway_process(it: Sending, folder: Path, name: str) -> AsyncIterator[int]:
    """Run the gateway as a process of its own; yield its process id."""
    ready = folder / f"{name}.json"
    with (folder / f"{name}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "phonefarm_gateway", "--listen", "127.0.0.1:0"),
            *("--controller", f"127.0.0.1:{it.farm.controller.port}"),
            *("--allow-callback-cidr", "127.0.0.0/8", "--ready-file", str(ready)),
            env={
                "PATH": os.environ["PATH"],
                "PHONEFARM_GATEWAY_TOKEN": GATEWAY_TOKEN,
                "PHONEFARM_TIME_SCALE": str(SCALE),
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        async with asyncio.timeout(180):
            while not ready.exists():
                assert process.returncode is None, (folder / f"{name}.log").read_text()
                await asyncio.sleep(0.05)
        yield json.loads(ready.read_text())["pid"]
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def holders(it: Sending) -> set[str]:
    """Return the ids of the gateways that hold leases."""
    query = select(deliveries.c.gateway_id).where(deliveries.c.state == "leased").distinct()
    async with it.farm.controller.database.reading() as tx:
        return {row.gateway_id for row in await tx.connection.execute(query)}


async def all_settled(it: Sending, *, within: float) -> None:
    """Return once nothing is left to send."""
    query = select(func.count()).where(deliveries.c.state.in_(("pending", "leased")))
    async with asyncio.timeout(within):
        while True:
            async with it.farm.controller.database.reading() as tx:
                if not (await tx.connection.execute(query)).scalar_one():
                    return
            await asyncio.sleep(0.05)


async def owe_three(it: Sending, url: str) -> str:
    """Let a process have three things to tell, one after the other."""
    process_id = await it.owe(url)
    await it.farm.cancel(process_id, process_pb2.CANCEL_STRATEGY_SOFT)
    return process_id


@pytest.mark.long
async def test_a_killed_gateways_deliveries_go_out_by_the_other(tmp_path: Path) -> None:
    """Two share the work; one dies with deliveries in hand; after their leases the other sends.

    A process is told in order, never of two things at once, and each thing once, but for what was
    in the dead one's hands: that is told again. What a gateway was lent and, because it stood
    still for too long, did not send, lapses as well and is told once.
    """
    book = Book()
    async with (
        Receiver.serving() as receiver,
        owing(tmp_path, scale=SCALE) as it,
        gateway_process(it, tmp_path, "a") as first,
    ):
        receiver.answer = book.answer
        (line,) = await it.until(await it.owe(receiver.url()), lambda lines: lines[0].log)
        name_of_first = line.log[0].gateway_id
        async with gateway_process(it, tmp_path, "b") as second:
            urls = [receiver.url()] * 40
            early = await asyncio.gather(*(owe_three(it, url) for url in urls))
            await all_settled(it, within=180)
            book.holding = True
            late = await asyncio.gather(*(owe_three(it, url) for url in urls))
            async with asyncio.timeout(180), book.moved:
                await book.moved.wait_for(lambda: book.held >= 8)

            doomed = await holders(it)
            os.kill(first if name_of_first in doomed else second, signal.SIGKILL)
            victim = name_of_first if name_of_first in doomed else doomed.pop()
            book.holding = False
            book.go_on.set()
            await all_settled(it, within=180)

            logs = {process_id: await it.log(process_id) for process_id in (*early, *late)}

    lapsed = 0
    for process_id, lines in logs.items():
        assert [one.status for one in lines] == ["delivered"] * 3
        visits = book.visits[process_id]
        told = [visit.sequence for visit in visits]
        assert sorted(set(told)) == [1, 2, 3]
        assert told == sorted(told)
        for before, after in pairwise(visits):
            assert before.end <= after.begin or before.was_held
        for one in lines:
            outcomes = [attempt.outcome for attempt in one.log]
            held = any(visit.was_held and visit.sequence == one.sequence for visit in visits)
            # Until eight were held the first can have waited longer than an attempt may take.
            given_up = [["failed", "delivered"]] if held else []
            assert outcomes in [["delivered"], ["lapsed", "delivered"], *given_up]
            assert told.count(one.sequence) <= len(outcomes)
            if outcomes[0] == "lapsed" and one.log[0].gateway_id == victim and held:
                lapsed += 1
                assert told.count(one.sequence) == 2
                assert one.log[1].gateway_id != victim
    assert 1 <= lapsed <= 8
    senders = {attempt.gateway_id for p in early for one in logs[p] for attempt in one.log}
    assert len(senders) == 2
