"""Server-sent events: order, resuming, ends, heartbeats, those who do not read."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from gateway.support.farm import Farm, farm
from gateway.support.memory_controller import KEY
from gateway.support.published import check_schema
from phonefarm_gateway.rest.event_streams import StreamLimits
from support.live_farm import eventually

PATIENCE_SECONDS = 180.0


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event, or a comment."""

    id: int | None
    name: str
    data: Any
    comment: str = ""


class Stream:
    """Reads events as a browser does (HTML, "server-sent events")."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self) -> Event | None:
        """Return the next event or comment; None at the end."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE_SECONDS):
            while line := (await self.response.content.readline()).decode():
                name, _, value = line.rstrip("\n").partition(": ")
                if line == "\n":
                    if set(fields) - {"retry"}:
                        break
                    fields = {}
                else:
                    fields[name] = value
            else:
                return None
        return Event(
            id=int(fields["id"]) if "id" in fields else None,
            name=fields.get("event", ""),
            data=json.loads(fields["data"]) if "data" in fields else None,
            comment=fields.get("", ""),
        )

    async def rest(self) -> list[Event]:
        """Return everything up to the end."""
        found = []
        while (event := await self.next()) is not None:
            found.append(event)
        return found


@asynccontextmanager
async def stream(it: Farm, process_id: str, *, after: str | None = None) -> AsyncIterator[Stream]:
    """Yield the open stream, which answered 200."""
    headers = {"Authorization": f"Bearer {KEY}"}
    if after is not None:
        headers["Last-Event-ID"] = after
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{it.base}/processes/{process_id}/events") as response,
    ):
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        yield Stream(response)


async def _queued(it: Farm) -> str:
    process_id = it.controller.add_process(url="http://e.example")
    await it.controller.inspection.move(process_id, "QUEUED")
    return process_id


async def test_a_process_is_followed_to_its_end() -> None:
    """The record now, each move, the end; ids rise, data is what is published."""
    async with farm() as it:
        process_id = await _queued(it)
        async with stream(it, process_id) as events:
            first = await events.next()
            await it.controller.inspection.move(process_id, "EXECUTING", status="executing")
            second = await events.next()
            await it.controller.inspection.move(process_id, "DONE", status="completed")
            rest = await events.rest()

        found = [first, second, *rest]
        assert [event and event.id for event in found] == [1, 2, 3]
        for event in found:
            assert event is not None
            assert event.name == "process.updated"
            check_schema({"$ref": "#/components/schemas/ProcessEvent"}, event.data)
        assert [e and e.data["process"]["status"] for e in found] == [
            "queued",
            "executing",
            "completed",
        ]
        assert second is not None
        assert [step["to_state"] for step in second.data["transitions"]] == ["EXECUTING"]
        await _watches(it, 0)


async def _watches(it: Farm, count: int) -> None:
    """Return once the controller has so many watchers."""

    async def look() -> bool:
        return it.controller.inspection.watches == count

    await eventually(look, what=f"{count} watchers")


async def test_last_event_id_resumes() -> None:
    """What was seen is not sent again; what came meanwhile is."""
    async with farm() as it:
        process_id = await _queued(it)
        await it.controller.inspection.move(process_id, "EXECUTING", status="executing")
        await it.controller.inspection.move(process_id, "DONE", status="completed")

        async with stream(it, process_id, after="1") as events:
            found = await events.rest()

        assert [event.id for event in found] == [3]
        assert [step["number"] for step in found[0].data["transitions"]] == [2, 3]


async def test_nothing_newer_of_an_ended_process_is_204() -> None:
    """The client is told not to come again."""
    async with farm() as it:
        process_id = await _queued(it)
        await it.controller.inspection.move(process_id, "DONE", status="completed")

        answer = await it.call(
            "GET", f"/processes/{process_id}/events", headers={"Last-Event-ID": "2"}
        )

        assert (answer.status, answer.body) == (204, b"")


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "9" * 19, "9" * 40, "٣".encode().decode()])
async def test_a_last_event_id_that_is_no_number_is_422(value: str) -> None:
    """It names the header."""
    async with farm() as it:
        process_id = await _queued(it)

        answer = await it.call(
            "GET", f"/processes/{process_id}/events", headers={"Last-Event-ID": value}
        )

        assert answer.status == 422
        assert answer.body["errors"][0]["field"] == "Last-Event-ID"


async def test_comments_come_while_nothing_happens() -> None:
    """So that no proxy takes the silence for the end."""
    async with farm(streams=StreamLimits(heartbeat=0.05)) as it:
        process_id = await _queued(it)
        async with stream(it, process_id) as events:
            await events.next()
            comment = await events.next()

        assert comment is not None
        assert (comment.name, comment.data) == ("", None)
        assert comment.comment == "still here"


async def test_head_opens_no_stream() -> None:
    """HEAD tells the type and ends."""
    async with farm() as it:
        process_id = await _queued(it)

        answer = await it.call("HEAD", f"/processes/{process_id}/events")

        assert answer.status == 200
        assert it.controller.inspection.watches == 0


async def test_the_end_of_the_gateway_ends_streams() -> None:
    """A watcher sees an orderly end at once, and the gateway does not wait for it."""
    async with asyncio.timeout(PATIENCE_SECONDS), aiohttp.ClientSession() as session:
        async with farm() as it:
            process_id = await _queued(it)
            headers = {"Authorization": f"Bearer {KEY}"}
            response = await session.get(
                f"{it.base}/processes/{process_id}/events", headers=headers
            )
            events = Stream(response)
            first = await events.next()
        rest = await events.rest()

    assert first is not None
    assert rest == []


async def test_a_controller_that_goes_away_ends_the_stream() -> None:
    """A comment says why; the client comes again with what it saw."""
    async with farm() as it:
        process_id = await _queued(it)
        async with stream(it, process_id) as events:
            await events.next()
            await it.controller.stop()
            rest = await events.rest()

        assert [event.comment for event in rest] == ["the controller does not answer; reconnect"]


async def test_more_streams_than_there_may_be_are_503() -> None:
    """The one too many is refused; a place is free again when one ends."""
    async with farm(streams=StreamLimits(most=1, heartbeat=0.05)) as it:
        process_id = await _queued(it)
        path = f"/processes/{process_id}/events"
        async with stream(it, process_id) as events:
            await events.next()
            refused = await it.call("GET", path)
        await _watches(it, 0)
        async with stream(it, process_id) as events:
            free = await events.next()

        assert (refused.status, refused.body["error"]) == (503, "too_many_streams")
        assert refused.headers["Retry-After"]
        assert free is not None


async def test_who_does_not_read_costs_only_itself() -> None:
    """It is cut off; another stream of the same process goes on meanwhile."""
    limits = StreamLimits(patience=0.3, heartbeat=5)
    async with farm(streams=limits) as it:
        process_id = await _queued(it)
        process = it.controller.processes[process_id]
        process.result_json = json.dumps({"large": "x" * 400_000})
        reader, writer = await _deaf(it, process_id)
        async with stream(it, process_id) as events:
            assert await events.next() is not None
            for number in range(40):
                await it.controller.inspection.move(process_id, f"STEP{number}")
                assert (seen := await events.next()) is not None
                assert seen.id == number + 2
            await _watches(it, 1)
        writer.close()
        assert reader.exception() is None


async def _deaf(it: Farm, process_id: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for a stream and read none of it."""
    place = urlsplit(it.base)
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    link.setblocking(False)
    await asyncio.get_running_loop().sock_connect(link, (place.hostname, place.port))
    reader, writer = await asyncio.open_connection(sock=link, limit=4096)
    writer.write(
        f"GET /processes/{process_id}/events HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {KEY}\r\n\r\n".encode()
    )
    await writer.drain()
    await _watches(it, 1)
    return reader, writer
