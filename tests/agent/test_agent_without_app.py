"""Work without an app from request to outputs: real controller, agent, executor and adb."""

import asyncio
import hashlib
import ipaddress
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from phonefarm.v1 import fleet_pb2, process_pb2
from phonefarm_common.channel import bearer
from phonefarm_simulator.farm import Farm as Phones
from phonefarm_simulator.farm import simulated_phones
from phonefarm_simulator.ledger import Kind
from sqlalchemy import text
from support.agents import PHONE_SCALE, agent_of, running_agent
from support.apk import apk
from support.asset_server import Page, asset_server
from support.controller import KEY, PATIENCE, Farm, farm_on, request

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
URL = "https://example.com/night_trains?from=%27x%27&to=(y)"


@pytest.fixture
async def farm(tmp_path: Path) -> AsyncIterator[tuple[Farm, Phones]]:
    """Run a controller and an agent with a simulated phone in service that has no account."""
    url = f"sqlite:///{tmp_path / 'farm.db'}"
    async with (
        simulated_phones(1, tmp_path / "phones") as phones,
        farm_on(url, tmp_path / "data", scale=PHONE_SCALE) as farm,
        running_agent(
            agent_of(farm, tmp_path / "agent", phones, runtime="process"), asset_networks=LOOPBACK
        ),
    ):
        async with asyncio.timeout(PATIENCE):
            while not (await farm.known_phones()):  # noqa: ASYNC110 - only asking tells
                await asyncio.sleep(0.02)
        (phone,) = await farm.known_phones()
        await farm.fleet.AdmitPhone(
            fleet_pb2.AdmitPhoneRequest(phone_id=phone.phone_id), metadata=bearer(KEY)
        )
        yield farm, phones


async def completed(farm: Farm, capability: str, **inputs: Any) -> dict[str, Any]:
    """Have the work done on any phone; return the outputs of its one item."""
    accepted = await farm.enqueue(
        request(
            capability=capability,
            inputs_json=json.dumps(inputs),
            target=process_pb2.Target(routing=process_pb2.ROUTING_QUEUE),
        )
    )
    record = await farm.until(accepted.process_id, "completed", "failed_terminal")
    assert (record.status, record.error.message) == ("completed", "")
    (outputs,) = json.loads(record.result_json)["items"].values()
    return dict(outputs)


async def evidence(farm: Farm, name: str) -> bool:
    """Wait until the controller has this file of a run."""
    query = text("SELECT 1 FROM evidence WHERE name = :name AND bytes > 0")
    async with asyncio.timeout(PATIENCE):
        while True:
            async with farm.controller.database.reading() as tx:
                if list(await tx.connection.execute(query, {"name": name})):
                    return True
            await asyncio.sleep(0.02)


async def test_a_page_a_picture_and_properties(farm: tuple[Farm, Phones]) -> None:
    """Each is done, told and pictured; no app is stopped, and the phone is clean for the next."""
    controller, phones = farm

    page = await completed(controller, "open_url", url=URL, seconds=0)
    picture = await completed(controller, "take_screenshot", ui_dump=True)
    values = await completed(controller, "read_properties", names=["ro.serialno", "ro.no.such"])

    ledger = phones["SIM0001"].ledger()
    assert page == {
        "page": {
            "url": URL,
            "viewer": "com.example.browser/.MainActivity",
            "screenshot": "page.png",
        }
    }
    assert picture == {"screenshot": "screen.png", "ui_dump": "screen.xml"}
    assert values == {"properties": {"ro.no.such": None, "ro.serialno": "SIM0001"}}
    assert [dict(e.detail)["url"] for e in ledger if e.kind is Kind.URL_OPENED] == [URL]
    assert Kind.APP_STOPPED not in {entry.kind for entry in ledger}
    assert Kind.HOME_PRESSED in {entry.kind for entry in ledger}
    assert [await evidence(controller, name) for name in ("page.png", "screen.png", "screen.xml")]


async def test_a_script_of_steps_is_performed(farm: tuple[Farm, Phones]) -> None:
    """The outputs name each step. The script leaves its app open, and the clean-up stops it."""
    controller, phones = farm
    component = "com.example.shortvideo/.MainActivity"

    outputs = await completed(
        controller,
        "run_steps",
        component=component,
        steps=[
            {"launch_app": True},
            {"wait_for": {"id": "com.example.shortvideo:id/screen_title"}},
            {"tap": {"text": "Search"}},
            {"screenshot": "search"},
        ],
    )

    found = outputs["steps"][1].pop("bounds")
    assert outputs == {
        "steps": [
            {"step": "launch_app", "foreground": component},
            {"step": "wait_for", "text": "For you"},
            {"step": "tap"},
            {"step": "screenshot", "evidence": "search.png"},
        ]
    }
    assert len(found) == 4
    assert await evidence(controller, "search.png")
    await completed(controller, "read_properties", names=["ro.serialno"])  # once it is clean
    stopped = [e for e in phones["SIM0001"].ledger() if e.kind is Kind.APP_STOPPED]
    assert [dict(entry.detail)["reason"] for entry in stopped] == ["force-stop"]


async def test_an_app_is_installed_from_a_url(farm: tuple[Farm, Phones]) -> None:
    """By a key that may operate; the app stays on the phone, the file does not."""
    controller, phones = farm
    data = apk("com.example.tool", version="2.1")
    digest = hashlib.sha256(data).hexdigest()
    async with asset_server() as web:
        web.pages["/app.apk"] = Page(content=data, content_type="application/octet-stream")

        outputs = await completed(
            controller,
            "install_apk",
            apk_url=web.url("/app.apk"),
            sha256=digest.upper(),
            package="com.example.tool",
        )

    phone = phones["SIM0001"].phone
    assert outputs == {
        "apk": {
            "bytes": len(data),
            "content_type": "application/vnd.android.package-archive",
            "package": "com.example.tool",
            "sha256": digest,
            "version": "2.1",
            "version_before": None,
        }
    }
    assert phone.packages["com.example.tool"].version == "2.1"
