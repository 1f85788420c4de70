"""Golden jobs on simulated phones, by a real agent and executor: what a phone is asked to do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from phonefarm_controller.model.states import Health
from phonefarm_controller.store import phones as store
from phonefarm_simulator.farm import Farm as Phones
from phonefarm_simulator.farm import simulated_phones
from phonefarm_simulator.ledger import Kind
from sqlalchemy import text
from support.agents import PHONE_SCALE, agent_of, running_agent
from support.controller import PATIENCE, Farm, farm_on, request

WAKEUP, HOME = 224, 3
"""KeyEvent.KEYCODE_ of Android."""


@asynccontextmanager
async def farm_with_phone(place: Path) -> AsyncIterator[tuple[Farm, Phones]]:
    """Run a controller with golden jobs and an agent with one simulated phone, admitted."""
    async with (
        simulated_phones(1, place / "phones") as phones,
        farm_on(
            f"sqlite:///{place / 'farm.db'}",
            place / "data",
            scale=PHONE_SCALE,
            golden_every=timedelta(days=1),
        ) as farm,
        running_agent(agent_of(farm, place / "agent", phones, runtime="process")),
    ):
        async with asyncio.timeout(PATIENCE):
            while not (await farm.known_phones()):  # noqa: ASYNC110 - only asking tells
                await asyncio.sleep(0.02)
        yield farm, phones


async def rows(farm: Farm, query: str) -> list[Any]:
    """Return what the controller's database says."""
    async with farm.controller.database.reading() as tx:
        return [tuple(row) for row in await tx.connection.execute(text(query))]


async def golden_job(farm: Farm) -> str:
    """Return the process of the phone's golden job, once there is one."""
    async with asyncio.timeout(2 * PATIENCE):
        while True:
            found = await rows(
                farm, "SELECT process_id FROM queue_items WHERE capability = 'golden_job'"
            )
            if found:
                return str(found[0][0])
            await asyncio.sleep(0.02)


async def test_a_free_phone_shows_that_it_can_work(tmp_path: Path) -> None:
    """It is woken, goes home and shows its screen; no app is opened; the pictures are kept."""
    async with farm_with_phone(tmp_path) as (farm, phones):
        await farm.admit(["SIM0001"])

        record = await farm.until(await golden_job(farm), "completed", "failed")
        accepted = await farm.enqueue(request())
        work = await farm.until(accepted.process_id, "executing", "completed", "failed")
        async with asyncio.timeout(PATIENCE):
            while not await rows(  # noqa: ASYNC110 - only asking tells
                farm, "SELECT 1 FROM evidence WHERE name = 'golden.xml'"
            ):
                await asyncio.sleep(0.02)
        kept = await rows(farm, "SELECT name FROM evidence WHERE name LIKE 'golden%' ORDER BY 1")
        ledger = phones["SIM0001"].ledger()

    assert (record.status, record.error.code) == ("completed", "")
    assert [name for (name,) in kept] == ["golden.png", "golden.xml"]
    of_run = [entry for entry in ledger if entry.run == ledger_run(ledger)]
    codes = [code for e in of_run if e.kind is Kind.KEYS_PRESSED for code in e.detail["codes"]]
    assert codes[:2] == [WAKEUP, HOME]
    assert Kind.APP_STARTED not in {entry.kind for entry in of_run}
    assert work.status != "failed"


def ledger_run(ledger: Any) -> str:
    """Return the first run that drove the phone."""
    return str(next(entry.run for entry in ledger if entry.kind is Kind.KEYS_PRESSED))


@pytest.mark.long
async def test_behind_a_quarantine_it_comes_before_all_work(tmp_path: Path) -> None:
    """Time alone does not bring the phone back: its golden job does."""
    async with farm_with_phone(tmp_path) as (farm, _):
        await farm.admit(["SIM0001"])
        await farm.until(await golden_job(farm), "completed")
        (phone,) = await farm.known_phones()
        async with farm.controller.database.writing() as tx:
            before = await store.lock(tx, {phone.phone_id})
            verdict = replace(
                before[phone.phone_id].verdict,
                health=Health.QUARANTINED,
                reason="infra_failures: it failed 3 times",
                until=tx.now,
                rounds=1,
                round_at=tx.now,
            )
            await store.save(tx, [before[phone.phone_id].judged(verdict)])
        accepted = await farm.enqueue(request())

        await farm.until(accepted.process_id, "completed")
        (back,) = await farm.known_phones()
        ended = await rows(
            farm,
            "SELECT capability, queue_items.state FROM queue_items JOIN runs USING (item_id)"
            " ORDER BY runs.started_at",
        )

    assert ended == [
        ("golden_job", "DONE"),
        ("golden_job", "DONE"),
        ("keyword_warmup", "DONE"),
    ]
    assert back.health == "suspect"
    assert back.health_reason.startswith("quarantine_over: round 1 has ended, and the phone passed")
