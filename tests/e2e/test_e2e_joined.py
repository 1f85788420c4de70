"""A gateway and an agent that joined: work from REST to phone, all of it over mutual TLS."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from gateway.support.receiver import Receiver
from phonefarm.v1 import access_pb2, access_pb2_grpc
from phonefarm_agent.app.settings import Settings as AgentSettings
from phonefarm_common.certificates import Member, read_member
from phonefarm_common.channel import bearer
from phonefarm_common.enrollment import join
from phonefarm_common.timers import Timers
from phonefarm_gateway.app import running
from phonefarm_gateway.settings import parse
from support.agents import SCALE, running_agent
from support.controller import KEY, PATIENCE, Farm, farm_on

WISH = {
    "request_id": "4b8e9f6e-0f57-4c7e-9a44-3f5ad2f9a001",
    "capability": "keyword_warmup",
    "mode": "manual",
    "target": {"routing": "queue"},
    "inputs": {"keywords": ["cats"], "videos_per_keyword": 1, "app": "shortvideo"},
    "requested_by": {"system": "tests"},
}


async def _join(farm: Farm, role: str, place: Path) -> Member:
    access = access_pb2_grpc.AccessServiceStub(farm.channel)
    wish = access_pb2.InviteRequest(role=role, member_id=f"{role}-1")
    token = (await access.Invite(wish, metadata=bearer(KEY))).token
    return await join(token, place, role=role)


@pytest.mark.long
async def test_a_farm_of_three_hosts_works_and_outlives_its_certificates(tmp_path: Path) -> None:
    """REST to gateway, gateway and agent by certificate; and again once the first ones ended."""
    doors: dict[str, Any] = {"tls": ("127.0.0.1", 0), "mtls": ("127.0.0.1", 0)}
    doors["certificate_life"] = timedelta(seconds=10)
    url = f"sqlite:///{tmp_path / 'farm.db'}"
    async with farm_on(url, tmp_path, scale=SCALE, **doors) as farm:
        first = await _join(farm, "gateway", tmp_path / "gateway")
        agent = await _join(farm, "agent", tmp_path / "agent")
        words = ["--listen", "127.0.0.1:0", "--state", str(tmp_path / "gateway")]
        words += ["--allow-callback-cidr", "127.0.0.0/8"]
        settings = replace(parse(words, {}), timers=Timers().scaled(SCALE))
        async with (
            Receiver.serving() as receiver,
            running_agent(_agent_settings(agent, tmp_path / "agent")),
            running(settings) as rest,
            aiohttp.ClientSession(
                f"http://{rest}", headers={"authorization": f"Bearer {KEY}"}
            ) as caller,
        ):
            async with asyncio.timeout(PATIENCE):
                while not await _phones(caller):  # noqa: ASYNC110 - only a call tells
                    await asyncio.sleep(0.05)
            await farm.admit(["DUMMY0001", "DUMMY0002"])

            async with caller.post(
                "/capability-requests/enqueue", json=WISH | {"callback": {"url": receiver.url()}}
            ) as answer:
                body = await answer.json()
                assert answer.status in {200, 201, 202}, body
            record = await farm.until(body["process_id"], "completed", "failed_terminal")

            assert record.status == "completed"
            assert await receiver.wait(1)
            async with asyncio.timeout(3 * PATIENCE):
                while datetime.now(UTC) <= first.facts.ends:  # noqa: ASYNC110 - a wall clock
                    await asyncio.sleep(0.1)
            assert len(await _phones(caller)) == 2
            kept = read_member(tmp_path / "gateway")
            assert kept is not None
            assert kept.facts.serial != first.facts.serial


async def _phones(caller: aiohttp.ClientSession) -> list[Any]:
    async with caller.get("/phones") as answer:
        assert answer.status == 200, await answer.text()
        body = await answer.json()
    return list(body["phones"])


def _agent_settings(member: Member, state: Path) -> AgentSettings:
    return AgentSettings(
        controllers=(),
        token="",
        joined=True,
        agent_id=member.member_id,
        state=state,
        runtime="dummy",
        image="unused",
        connect=(),
        adb_port=0,
        dummy_phones=2,
        ready_file=None,
        stop_runs_on_exit=False,
        production=False,
        time_scale=SCALE,
        timers=Timers().scaled(SCALE),
    )
