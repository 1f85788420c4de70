"""What happens at one controller is known at the other at once, though both look only rarely."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from phonefarm.v1 import callback_pb2, fleet_pb2, inspect_pb2, process_pb2
from phonefarm_common.channel import bearer
from phonefarm_controller.processes import watch
from phonefarm_controller.scheduler import dispatcher
from support.controller import GATEWAY_TOKEN, KEY, Farm, farm_on, played_agent, request
from support.postgres_server import PostgresServer

pytestmark = pytest.mark.postgres
RARELY = 3600.0
"""Seconds: longer than any test waits."""


@pytest.fixture
async def farms(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Farm, Farm]]:
    """Run two controllers on one database that learn of each other's deeds by notices alone."""
    monkeypatch.setattr(dispatcher, "POLL_SECONDS", RARELY)
    monkeypatch.setattr(watch, "POLL_SECONDS", RARELY)
    async with (
        farm_on(postgres_url, tmp_path / "one", desired=RARELY) as one,
        farm_on(postgres_url, tmp_path / "two", desired=RARELY) as two,
    ):
        yield one, two


async def test_work_and_its_cancel_reach_an_agent_of_the_other_controller(
    farms: tuple[Farm, Farm],
) -> None:
    """An enqueue here is assigned there, and a cancel here stops the run there."""
    here, there = farms
    async with played_agent(there, "A1") as agent:
        await agent.offer()

        accepted = await here.enqueue(request())
        (assignment,) = await agent.assigned()
        (verdict,) = await agent.start(assignment.run)
        await here.cancel(accepted.process_id, process_pb2.CANCEL_STRATEGY_HARD)
        async with asyncio.timeout(180):
            while not (stops := list((await agent.hear("desired")).stops)):
                continue

    assert assignment.process_id == accepted.process_id
    assert verdict.WhichOneof("verdict") == "go"
    assert [stop.run.run_id for stop in stops] == [assignment.run.run_id]


async def test_a_watcher_and_a_gateway_hear_of_the_other_controllers_work(
    farms: tuple[Farm, Farm],
) -> None:
    """An event stream and a gateway that waits are woken by a commit elsewhere."""
    here, there = farms
    accepted = await here.enqueue(request())
    await there.settle(await there.lease_deliveries())
    watch = there.inspect.WatchProcess(
        inspect_pb2.WatchProcessRequest(process_id=accepted.process_id), metadata=bearer(KEY)
    )
    async with asyncio.timeout(180):
        first = await watch.read()
        waiting = asyncio.ensure_future(_wait_for_deliveries(there))
        await here.cancel(accepted.process_id)
        last = await watch.read()
        delivered = await waiting
    watch.cancel()

    assert first.process.status == "queued"
    assert last.process.status == "cancelled"
    assert [delivery.process_id for delivery in delivered] == [accepted.process_id]


async def _wait_for_deliveries(farm: Farm) -> list[callback_pb2.Delivery]:
    answer = await farm.callbacks.LeaseDeliveries(
        callback_pb2.LeaseDeliveriesRequest(gateway_id="gw", limit=10, wait_seconds=15),
        metadata=(("x-phonefarm-gateway-token", GATEWAY_TOKEN),),
    )
    return list(answer.deliveries)


async def _until_answered(farm: Farm) -> None:
    async with asyncio.timeout(180):
        while True:
            try:
                await farm.fleet.ListPhones(fleet_pb2.ListPhonesRequest(), metadata=bearer(KEY))
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.05)
            else:
                return


async def test_a_controller_that_lost_its_line_hears_again(
    farms: tuple[Farm, Farm], postgres: PostgresServer, postgres_url: str
) -> None:
    """A server that cut every connection: what was told meanwhile is looked for, then heard."""
    here, there = farms
    name = postgres_url.rpartition("/")[2]
    async with played_agent(there, "A1") as agent:
        await agent.hear("desired")  # or its reading is cut, and the session with it
        postgres.shut_out(name)
        postgres.let_in(name)
        await _until_answered(here)
        await _until_answered(there)
        await agent.offer()

        accepted = await here.enqueue(request())
        (assignment,) = await agent.assigned()

    assert assignment.process_id == accepted.process_id
