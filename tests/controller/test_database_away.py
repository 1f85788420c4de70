"""The database goes away under a running controller, and comes back."""

import asyncio
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from phonefarm.v1 import agent_pb2
from support.controller import farm_on, played_agent, request
from support.postgres_server import PostgresServer

pytestmark = pytest.mark.postgres


async def test_a_controller_outlives_its_database(
    postgres: PostgresServer, postgres_url: str, tmp_path: Path
) -> None:
    """Calls are refused as unavailable; what was accepted goes on when the server is back."""
    name = postgres_url.rpartition("/")[2]
    async with farm_on(postgres_url, tmp_path / "data") as farm:
        async with played_agent(farm, "A1") as agent:
            accepted = await farm.enqueue(request())
            postgres.shut_out(name)

            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await farm.enqueue(request())
            with suppress(asyncio.InvalidStateError):  # it may have ended by itself
                await agent.say(heartbeat=agent_pb2.Heartbeat(number=1))
            session = await agent.ended()
            postgres.let_in(name)

        assert session is grpc.StatusCode.UNAVAILABLE
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        async with played_agent(farm, "A1", incarnation=2) as agent:
            await agent.offer()
            (assignment,) = await agent.assigned()
            await agent.act_out(assignment)
            await farm.until(accepted.process_id, "completed")
