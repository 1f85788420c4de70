"""Alerts, from a controller's loop by a real gateway to a real receiver, and back over REST."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
from gateway.support.farm import LOOPBACK, Names
from gateway.support.receiver import Receiver
from phonefarm.schemas.alert_event import AlertsChanged
from phonefarm.schemas.operation import AlertEventList
from phonefarm_common.address_policy import network
from phonefarm_gateway.app import running
from phonefarm_gateway.settings import Settings
from pydantic import TypeAdapter
from standardwebhooks import Webhook
from support.controller import GATEWAY_TOKEN, KEY, farm_on

SECRET = "whsec_dGhlIHNlY3JldCBvZiBhIHRlc3Q="
PATIENCE = 180


async def test_a_farm_reports_what_is_wrong(tmp_path: Path) -> None:
    """The event is signed and as documented; a test follows; the lists say that both arrived."""
    async with (
        Receiver.serving() as receiver,
        farm_on(
            f"sqlite:///{tmp_path / 'farm.db'}",
            tmp_path / "data",
            alert_url=receiver.url("/alerts?token=hidden"),
        ) as farm,
        running(
            Settings(
                host="127.0.0.1",
                port=0,
                controllers=(f"127.0.0.1:{farm.controller.port}",),
                gateway_token=GATEWAY_TOKEN,
                webhook_secret=SECRET,
                ready_file=None,
                allowed_networks=tuple(network(text) for text in LOOPBACK),
                asset_networks=(),
                body_limit=1024 * 1024,
                timers=farm.timers,
            ),
            lookup=Names(),
        ) as address,
        aiohttp.ClientSession(
            f"http://{address}", headers={"Authorization": f"Bearer {KEY}"}
        ) as caller,
    ):

        async def events() -> AlertEventList:
            async with caller.get("/alerts") as answer:
                body = await answer.json()
            return TypeAdapter(AlertEventList).validate_python(body, strict=False)

        async def settled(count: int) -> AlertEventList:
            async with asyncio.timeout(PATIENCE):
                while True:
                    found = await events()
                    if [event.status for event in found.events].count("delivered") >= count:
                        return found
                    await asyncio.sleep(0.05)

        first, *_ = await receiver.wait(1)
        await settled(1)
        async with caller.post("/alerts/test") as answer:
            made: dict[str, Any] = await answer.json()
            assert answer.status == 202, made
        listed = await settled(made["sequence"])
        async with caller.post("/alerts/replay", json={"sequence": 1}) as answer:
            assert answer.status == 200
        await settled(made["sequence"])
        got = await receiver.wait(made["sequence"] + 1)

    Webhook(SECRET).verify(first.body, first.headers)
    event = TypeAdapter(AlertsChanged).validate_json(first.body, strict=False)
    assert "agents" in event.turned_on, "no agent has ever connected to this farm"
    assert event.alerts[0].check == "agents"
    test = json.loads(next(each.body for each in got if b"alerts.test" in each.body))
    assert test["sequence"] == made["sequence"]
    assert test["alerts"][0]["check"] == "agents"
    assert got[-1].body == first.body
    assert got[-1].headers["webhook-id"] == first.headers["webhook-id"]
    assert listed.receiver == f"http://127.0.0.1:{receiver.port}"
    assert "hidden" not in listed.model_dump_json()
