"""The farm's stream over HTTP against the real system: reset, changes, resuming, a revoked key."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from gateway.support.published import check_schema
from phonefarm_controller.rpc import fleet_service
from support.controller import KEY
from support.rest_farm import RestFarm

PATIENCE_SECONDS = 180.0
SCHEMAS = {
    "farm.reset": "FarmReset",
    "phone.updated": "Phone",
    "process.moved": "ProcessMoved",
    "incident.updated": "Incident",
}


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event; without a name it only sets the id."""

    id: str
    name: str
    data: Any


class Stream:
    """Reads the events of an open stream, each held against its published schema."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.id = ""
        self.comment = ""

    async def next(self) -> Event | None:
        """Return the next event, None at the end."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for line in self._response.content:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if line != b"\n":
                    fields[name] = value
                    continue
                self.comment = fields.get("", self.comment)
                self.id = fields.get("id", self.id)
                if {"id", "data"} & set(fields):
                    return self._event(fields)
                fields = {}
        return None

    async def until(self, name: str, **wanted: Any) -> dict[str, Any]:
        """Return the data of the next event of this name that has these values."""
        while (event := await self.next()) is not None:
            if event.name == name and wanted.items() <= event.data.items():
                data: dict[str, Any] = event.data
                return data
        raise AssertionError("the stream ended")

    def _event(self, fields: dict[str, str]) -> Event:
        name = fields.get("event", "")
        data = json.loads(fields["data"]) if "data" in fields else None
        if name:
            check_schema({"$ref": f"#/components/schemas/{SCHEMAS[name]}"}, data)
        return Event(id=fields.get("id", ""), name=name, data=data)


@asynccontextmanager
async def stream(farm: RestFarm, *, after: str = "", key: str = KEY) -> AsyncIterator[Stream]:
    """Yield the open stream, which answered 200."""
    headers = {"Authorization": f"Bearer {key}"} | ({"Last-Event-ID": after} if after else {})
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{farm.caller.base}/events") as response,
    ):
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        yield Stream(response)


async def test_the_whole_farm_is_followed_from_a_reset_on(moving: RestFarm) -> None:
    """A phone that an operator takes, a process from queued to its end, with the run between."""
    async with stream(moving) as events:
        first = await events.next()
        await moving.post("/phones/ph-sim2/maintain", {"reason": "a new cable"})
        phone = await events.until("phone.updated", phone_id="ph-sim2")
        process_id = await moving.enqueue()
        queued = await events.until("process.moved", process_id=process_id)
        assignment = await moving.begun("SIM1")
        busy = await events.until("phone.updated", phone_id="ph-sim1", lease="leased")
        await moving.agent.report(*moving.agent.whole_run(assignment))
        done = await events.until("process.moved", process_id=process_id, status="completed")

    assert first is not None
    assert (first.name, first.data, bool(first.id)) == ("farm.reset", {"reason": "connected"}, True)
    assert phone["intent"] == "maintenance"
    assert (queued["process_type"], queued["request_id"]) == ("keyword_warmup", "r-1")
    assert (busy["process_id"], busy["account_id"]) == (process_id, "acc-SIM1")
    assert done["finished_at"] is not None
    assert (done["phone_id"], done["account_id"]) == ("ph-sim1", "acc-SIM1")


async def test_a_stream_goes_on_where_it_was_left(moving: RestFarm) -> None:
    """What changed meanwhile comes, without a reset; a made-up id is refused by its header."""
    async with stream(moving) as events:
        await events.next()
        left = events.id
    process_id = await moving.enqueue()
    async with stream(moving, after=left) as events:
        seen: list[Event] = []
        while not seen or process_id not in str(seen[-1].data):
            event = await events.next()
            assert event is not None
            seen.append(event)
    wrong = [
        await moving.caller.call("GET", "/events", headers={"Last-Event-ID": value})
        for value in ("7", "W10=", "x" * 300)
    ]
    head = await moving.caller.call("HEAD", "/events")

    assert "farm.reset" not in [event.name for event in seen]
    assert [(one.status, one.fields) for one in wrong] == [(422, ["Last-Event-ID"])] * 3
    assert head.status == 200


async def test_a_stream_ends_when_its_key_is_revoked(
    moving: RestFarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comment says why; whoever comes again gets 401; another key's stream goes on."""
    monkeypatch.setattr(fleet_service, "KEY_SECONDS", 0.2)
    made = await moving.post("/keys", {"name": "console", "scopes": ["read"]})
    key = made.body["secret"]
    async with stream(moving, key=key) as events, stream(moving) as other:
        await events.next()
        await other.next()
        await moving.caller.call("POST", "/keys/console/revoke")
        while await events.next() is not None:
            pass
        why = events.comment
        process_id = await moving.enqueue()
        seen = await other.until("process.moved", process_id=process_id)
    again = await moving.caller.call("GET", "/events", key=key)

    assert "key" in why
    assert seen["status"] == "queued"
    assert again.status == 401
