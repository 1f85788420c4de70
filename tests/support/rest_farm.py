"""A real controller and a real gateway in this process, a caller, and an agent a test plays."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import aiohttp
from gateway.support.caller import Answer, Caller
from gateway.support.receiver import Receiver
from phonefarm.v1 import agent_pb2, fleet_pb2
from phonefarm_common.address_policy import Address
from phonefarm_common.channel import bearer
from phonefarm_gateway.app import running
from phonefarm_gateway.settings import Settings
from support.controller import GATEWAY_TOKEN, KEY, Farm, PlayedAgent, farm_on, played_agent
from support.live_farm import eventually

LOOPBACK = (ip_network("127.0.0.0/8"),)
PHONES = ("SIM1", "SIM2", "SIM3")


@dataclass(frozen=True, kw_only=True)
class RestFarm:
    """Everything of a farm whose phones only its test moves."""

    caller: Caller
    farm: Farm
    agent: PlayedAgent
    receiver: Receiver

    async def enqueue(self, **changes: Any) -> str:
        """Enqueue a keyword_warmup, with *changes*; return the process id."""
        answer = await self.post("/capability-requests/enqueue", self.body(**changes))
        assert answer.status == 202, answer.body
        return str(answer.body["process_id"])

    def body(self, **changes: Any) -> dict[str, Any]:
        """Return a body that is accepted, with *changes*; None removes a key."""
        body = {
            "request_id": "r-1",
            "capability": "keyword_warmup",
            "mode": "manual",
            "target": {"routing": "direct", "account_id": "acc-SIM1"},
            "inputs": {"keywords": ["tea"], "videos_per_keyword": 1},
            "callback": {"url": self.receiver.url()},
            "requested_by": {"system": "contract"},
        }
        return {name: value for name, value in (body | changes).items() if value is not None}

    async def post(self, path: str, body: Any) -> Answer:
        """Send a body."""
        return await self.caller.call("POST", path, body)

    async def get(self, path: str) -> Any:
        """Return the JSON of a path that is there."""
        answer = await self.caller.call("GET", path)
        assert answer.status == 200, answer.body
        return answer.body

    async def record(self, process_id: str) -> dict[str, Any]:
        """Return what GET answers."""
        record: dict[str, Any] = await self.get(f"/processes/{process_id}")
        return record

    async def until(self, process_id: str, *statuses: str) -> dict[str, Any]:
        """Return the record once its status is one of these."""

        async def look() -> dict[str, Any] | None:
            record = await self.record(process_id)
            return record if record["status"] in statuses else None

        return await eventually(look, what=f"the status {statuses}")

    async def cancel(self, process_id: str, **changes: Any) -> dict[str, Any]:
        """Cancel; return the answer, which must be 200."""
        body = {"reason": "a test", "requested_by": "tester"} | changes
        answer = await self.post(f"/processes/{process_id}/cancel", body)
        assert answer.status == 200, answer.body
        cancelled: dict[str, Any] = answer.body
        return cancelled

    async def assigned(self, *serialnos: str) -> agent_pb2.Assignment:
        """Offer phones (all when none is named) and return the assignment that comes."""
        await self.agent.offer(*serialnos)
        (assignment,) = await self.agent.assigned()
        return assignment

    async def begun(self, *serialnos: str) -> agent_pb2.Assignment:
        """Return the next assignment, which has passed the start gate."""
        assignment = await self.assigned(*serialnos)
        (verdict,) = await self.agent.start(assignment.run)
        assert verdict.WhichOneof("verdict") == "go"
        return assignment

    async def put_account(self, account_id: str, **values: Any) -> None:
        """Create or replace an account of shortvideo."""
        account = {"phone_id": None, "app": "shortvideo", "active": True} | values
        answer = await self.caller.call("PUT", f"/accounts/{account_id}", account)
        assert answer.status == 200, answer.body

    async def put_group(self, kind: str, name: str, *members: str) -> None:
        """Replace a group of phones or accounts."""
        group = fleet_pb2.Group(
            kind=fleet_pb2.GROUP_KIND_PHONE if kind == "phone" else fleet_pb2.GROUP_KIND_ACCOUNT,
            name=name,
            member_ids=members,
        )
        await self.farm.fleet.PutGroup(fleet_pb2.PutGroupRequest(group=group), metadata=bearer(KEY))


@asynccontextmanager
async def rest_farm(
    data: Path,
    *,
    phones: tuple[str, ...] = PHONES,
    scale: float = 0.05,
    lapse: float = 1.0,
    settings: Mapping[str, Any] | None = None,
) -> AsyncIterator[RestFarm]:
    """Yield a farm of admitted phones, each with the account `acc-<serial number>`."""
    url = f"sqlite:///{data / 'farm.db'}"
    async with (
        Receiver.serving() as receiver,
        farm_on(url, data, scale=scale, lapse=lapse) as farm,
        played_agent(farm, *phones) as agent,
        running(gateway_settings(farm, **(settings or {})), lookup=_no_names) as rest,
        aiohttp.ClientSession() as session,
    ):
        caller = Caller(f"http://{rest}", session, KEY)
        yield RestFarm(caller=caller, farm=farm, agent=agent, receiver=receiver)


async def _no_names(name: str) -> list[Address]:
    """Resolve nothing: no test asks the real name service about names it made up."""
    raise OSError(f"{name} has no address here")


def gateway_settings(farm: Farm, **changes: Any) -> Settings:
    """Return the settings of a gateway of *farm*."""
    values: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": 0,
        "controllers": (f"127.0.0.1:{farm.controller.port}",),
        "gateway_token": GATEWAY_TOKEN,
        "webhook_secret": None,
        "ready_file": None,
        "allowed_networks": LOOPBACK,
        "asset_networks": LOOPBACK,
        "body_limit": 1024 * 1024,
        "timers": farm.timers,
        "rate_limit": 0,
    }
    return Settings(**(values | changes))
