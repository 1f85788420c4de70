"""Agents of kept releases at a controller of today: the previous protocol works, older ones end."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from phonefarm.v1 import fleet_pb2
from phonefarm_common.channel import bearer
from support.controller import AGENT_TOKEN, KEY, PATIENCE, Farm, farm_on, request
from support.relay import relay
from support.releases import agent_of

SCALE = 0.1
DUMMY = ("--runtime", "dummy", "--dummy-phones", "1")
PROTOCOL = "phonefarm_controller.agents.handshake.PROTOCOL_VERSION"
REFUSED = 6


async def when(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(2 * PATIENCE):
        while not await holds():  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.02)


async def agents(farm: Farm) -> list[fleet_pb2.Agent]:
    """Return the farm's agents."""
    asked = fleet_pb2.ListAgentsRequest()
    return list((await farm.fleet.ListAgents(asked, metadata=bearer(KEY))).agents)


async def connected(farm: Farm) -> bool:
    """Tell whether the one agent is."""
    return [agent.connected for agent in await agents(farm)] == [True]


async def phones(farm: Farm) -> list[fleet_pb2.Phone]:
    """Return the farm's phones."""
    asked = fleet_pb2.ListPhonesRequest()
    return list((await farm.fleet.ListPhones(asked, metadata=bearer(KEY))).phones)


def lasting(seconds: float) -> str:
    """Return inputs of work that the dummy acts out for so long."""
    values = {"keywords": ["cats"], "videos_per_keyword": 1, "app": "shortvideo"}
    return json.dumps(values | {"dummy": {"seconds": seconds}})


async def test_an_agent_of_the_previous_protocol_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The released 0.1.0, at a controller one protocol ahead: from the claim to the clean phone."""
    monkeypatch.setattr(PROTOCOL, 2)
    async with farm_on(f"sqlite:///{tmp_path / 'farm.db'}", tmp_path / "data", scale=SCALE) as farm:
        address = f"127.0.0.1:{farm.controller.port}"
        old = agent_of(
            "0.1.0", tmp_path, *DUMMY, controller=address, token=AGENT_TOKEN, scale=SCALE
        )
        async with old:
            await when(lambda: connected(farm))
            (agent,) = await agents(farm)
            await farm.admit(["DUMMY0001"])
            for _ in range(2):
                accepted = await farm.enqueue(request())
                await farm.until(accepted.process_id, "completed")

    assert agent.version == "0.1.0"


@pytest.mark.long
async def test_an_agent_that_is_too_old_finishes_what_it_holds_and_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.1.0 at a controller two protocols ahead: its run ends and is told, and no other begins."""
    async with farm_on(f"sqlite:///{tmp_path / 'farm.db'}", tmp_path / "data", scale=SCALE) as farm:
        target = f"127.0.0.1:{farm.controller.port}"
        line = AsyncExitStack()
        address = await line.enter_async_context(relay("127.0.0.1:0", target))
        old = agent_of(
            "0.1.0", tmp_path, *DUMMY, controller=address, token=AGENT_TOKEN, scale=SCALE
        )
        async with line, old as process:
            await when(lambda: connected(farm))
            await farm.admit(["DUMMY0001"])
            held = await farm.enqueue(request(inputs_json=lasting(3.0)))
            await farm.until(held.process_id, "executing")
            waiting = await farm.enqueue(request())
            monkeypatch.setattr(PROTOCOL, 3)

            await line.aclose()  # and with it the session; the agent calls again
            async with relay(address, target):
                ended = await farm.until(held.process_id, "completed")
                async with asyncio.timeout(2 * PATIENCE):
                    code = await process.wait()
            left = await farm.get(waiting.process_id)
            (phone,) = await phones(farm)

    assert ended.status == "completed"
    assert code == REFUSED
    assert (left.status, phone.lease) == ("queued", "free")
    assert "agent_too_old" in (tmp_path / "agent.log").read_text()
