"""Agents that joined, at work over mutual TLS with a real controller."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from phonefarm.v1 import access_pb2, access_pb2_grpc, fleet_pb2
from phonefarm_agent.app.settings import Settings
from phonefarm_agent.host.checks.controller import check_certificate, check_controller
from phonefarm_agent.host.checks.finding import Verdict
from phonefarm_common.certificates import Member, read_member
from phonefarm_common.channel import bearer
from phonefarm_common.enrollment import join
from phonefarm_common.timers import Timers
from phonefarm_controller.store.schema.work import queue_items, runs
from sqlalchemy import func, select
from support.agents import SCALE, running_agent
from support.controller import KEY, PATIENCE, Farm, farm_on, request

DOORS: dict[str, Any] = {"tls": ("127.0.0.1", 0), "mtls": ("127.0.0.1", 0)}
PHONES = ("DUMMY0001", "DUMMY0002")


@asynccontextmanager
async def _farm(place: Path, **more: Any) -> AsyncIterator[Farm]:
    url = f"sqlite:///{place / 'farm.db'}"
    async with farm_on(url, place, scale=SCALE, **(DOORS | more)) as farm:
        yield farm


async def _join(farm: Farm, place: Path) -> Member:
    access = access_pb2_grpc.AccessServiceStub(farm.channel)
    invite = access_pb2.InviteRequest(role="agent", member_id="host-1")
    answer = await access.Invite(invite, metadata=bearer(KEY))
    return await join(answer.token, place, role="agent")


def _settings(member: Member, state: Path) -> Settings:
    return Settings(
        controllers=(member.controller,),
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


async def _agents(farm: Farm) -> list[fleet_pb2.Agent]:
    asked = fleet_pb2.ListAgentsRequest()
    return list((await farm.fleet.ListAgents(asked, metadata=bearer(KEY))).agents)


async def _until_connected(farm: Farm, *, yes: bool = True) -> None:
    async with asyncio.timeout(PATIENCE):
        while [agent.connected for agent in await _agents(farm)] != [yes]:  # noqa: ASYNC110 - only a call tells
            await asyncio.sleep(0.02)


async def _runs(farm: Farm, process_id: str) -> int:
    async with farm.controller.database.reading() as tx:
        query = select(func.count()).select_from(runs.join(queue_items))
        query = query.where(queue_items.c.process_id == process_id)
        return int((await tx.connection.execute(query)).scalar_one())


async def _work(farm: Farm, seconds: float = 0.0) -> str:
    inputs: dict[str, Any] = {"keywords": ["cats"], "videos_per_keyword": 1, "app": "shortvideo"}
    if seconds:
        inputs |= {"dummy": {"seconds": seconds}}
    return (await farm.enqueue(request(inputs_json=json.dumps(inputs)))).process_id


async def test_work_is_done_over_mutual_tls(tmp_path: Path) -> None:
    """A host with nothing but its certificate gives its phones and does what it is given."""
    state = tmp_path / "state"
    async with _farm(tmp_path) as farm:
        member = await _join(farm, state)
        async with running_agent(_settings(member, state)):
            await _until_connected(farm)
            await farm.admit(PHONES)

            record = await farm.until(await _work(farm), "completed", "failed_terminal")

            assert record.status == "completed"


@pytest.mark.long
async def test_a_certificate_is_renewed_under_work_that_goes_on(tmp_path: Path) -> None:
    """At half life another one takes over: the session begins anew, the run is the same."""
    state = tmp_path / "state"
    async with _farm(tmp_path, certificate_life=timedelta(seconds=12)) as farm:
        first = await _join(farm, state)
        async with running_agent(_settings(first, state)):
            await _until_connected(farm)
            await farm.admit(PHONES)
            process_id = await _work(farm, seconds=2)

            async with asyncio.timeout(PATIENCE):
                while (kept := read_member(state)) == first:  # noqa: ASYNC110 - a file has no event
                    await asyncio.sleep(0.05)
            record = await farm.until(process_id, "completed", "failed_terminal")

            assert kept is not None
            assert datetime.now(UTC) < kept.facts.ends
            assert record.status == "completed"
            assert await _runs(farm, process_id) == 1


async def test_a_revoked_host_is_cut_off_and_comes_back_by_an_invitation(tmp_path: Path) -> None:
    """The agent stays up, says what to do, and takes the new certificate up by itself."""
    state = tmp_path / "state"
    async with _farm(tmp_path) as farm:
        member = await _join(farm, state)
        settings = _settings(member, state)
        async with running_agent(settings):
            await _until_connected(farm)
            access = access_pb2_grpc.AccessServiceStub(farm.channel)
            revoke = access_pb2.RevokeMemberRequest(role="agent", member_id="host-1")

            await access.RevokeMember(revoke, metadata=bearer(KEY))

            await _until_connected(farm, yes=False)
            (refused,) = await check_controller(settings)
            await _join(farm, state)
            await _until_connected(farm)
            (taken,) = await check_controller(settings)
    assert (refused.verdict, taken.verdict) == (Verdict.FAIL, Verdict.OK)
    assert "UNAUTHENTICATED" in refused.text
    assert "phonefarm-agent join TOKEN" in refused.remedy


async def test_the_doctor_reads_the_certificate(tmp_path: Path) -> None:
    """Good, late, over, or none: each is told, with what to do."""
    state = tmp_path / "state"
    async with _farm(tmp_path) as farm:
        member = await _join(farm, state)
    settings, facts = _settings(member, state), member.facts
    seen = {}
    for name, now in {
        "good": facts.begins + timedelta(hours=2),
        "late": facts.ends - timedelta(hours=2),
        "over": facts.ends,
        "early": facts.begins - timedelta(hours=2),
    }.items():
        (seen[name],) = await check_certificate(settings, now)
    (state / "member.json").unlink()
    (gone,) = await check_certificate(settings)

    assert {name: finding.verdict for name, finding in seen.items()} == {
        "good": Verdict.OK,
        "late": Verdict.WARN,
        "over": Verdict.FAIL,
        "early": Verdict.FAIL,
    }
    assert "agent host-1, valid until" in seen["good"].text
    assert "phonefarm-agent join TOKEN" in seen["over"].remedy
    assert gone.verdict is Verdict.FAIL
