"""Endpoints of server-sent events: one process at every transition, and the whole farm."""

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web
from phonefarm.schemas.farm import FarmReset, Incident, Phone, ProcessMoved
from phonefarm.schemas.fields import LARGEST_COUNT, TERMINAL_STATUSES
from phonefarm.schemas.queries import NoQuery
from phonefarm.schemas.responses import ProcessEvent
from phonefarm_common.reasons import FieldProblem

from phonefarm_gateway.client import RefusedError
from phonefarm_gateway.client.fleet import FarmEvent
from phonefarm_gateway.client.inspection import NumberedEvent
from phonefarm_gateway.rest.app_keys import STREAMS
from phonefarm_gateway.rest.endpoint import (
    Call,
    Endpoint,
    NoBody,
    RequestHeader,
    ResponseSpec,
    renamed,
)
from phonefarm_gateway.rest.event_streams import (
    HEADERS,
    LAST_EVENT_ID,
    ServerSentEvent,
    first_of,
)
from phonefarm_gateway.rest.problems import invalid

LONGEST_CURSOR: Final = 256


async def stream_events(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Send the record now and at every transition, until the process has ended."""
    record = await call.controller.processes.get(call.key, call.process_id)
    after = _after(call.request.headers.get(LAST_EVENT_ID))
    if call.request.method == hdrs.METH_HEAD:
        return web.Response(headers=HEADERS)
    streams = call.request.app[STREAMS]
    with streams.slot():
        async with call.controller.inspection.watch_process(
            call.key, call.process_id, after=after
        ) as numbered:
            events, first = _of_process(numbered), None
            if record.status in TERMINAL_STATUSES:
                first = await first_of(events)
                if first is None:
                    # 204 tells an EventSource not to reconnect (HTML, "server-sent events").
                    return web.Response(status=HTTPStatus.NO_CONTENT)
            return await streams.send(call.request, events, first=first)


async def stream_farm(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Send what changes of phones, work and incidents, while the key counts."""
    after = call.request.headers.get(LAST_EVENT_ID, "").strip()
    if call.request.method == hdrs.METH_HEAD:
        await call.controller.processes.check_key(call.key, scope="read")
        return web.Response(headers=HEADERS)
    streams = call.request.app[STREAMS]
    with streams.slot():
        async with call.controller.fleet.watch(call.key, after=_cursor(after)) as changes:
            events = _of_farm(changes)
            try:
                first = await first_of(events)
            except RefusedError as refused:
                raise renamed(refused, names={"after": LAST_EVENT_ID}) from refused
            return await streams.send(call.request, events, first=first)


def _after(text: str | None) -> int:
    if text is None or not text.strip():
        return 0
    if text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= LARGEST_COUNT:
        return int(text)
    message = "must be a number: the id of the last event that you received"
    raise invalid(FieldProblem(field=LAST_EVENT_ID, message=message))


def _cursor(text: str) -> str:
    """Return what may be a cursor; "?" for what can be none, which the controller refuses."""
    return text if text.isascii() and text.isprintable() and len(text) <= LONGEST_CURSOR else "?"


async def _of_process(events: AsyncIterator[NumberedEvent]) -> AsyncIterator[ServerSentEvent]:
    async for seen in events:
        yield ServerSentEvent(id=str(seen.number), name="process.updated", data=seen.event)


async def _of_farm(events: AsyncIterator[FarmEvent]) -> AsyncIterator[ServerSentEvent]:
    async for seen in events:
        yield ServerSentEvent(id=seen.cursor, name=seen.name, data=seen.data)


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/events",
        name="streamFarm",
        tag="Farm",
        summary="Follow the whole farm with server-sent events",
        about=(
            "When a phone, process or incident changes, the stream sends its new state. One event "
            "may cover several changes. `phone.updated` contains a Phone, `process.moved` a "
            "ProcessMoved, and `incident.updated` an Incident. The first event is `farm.reset`: "
            "when you receive it, read the lists. The stream sends `farm.reset` again if you read "
            "too slowly, or were disconnected for too long. To continue a stream, send the last "
            "`id` as `Last-Event-ID`; some events may then come twice. The gateway sends a "
            "comment every 15 s. The stream ends within 5 s after its key is revoked."
        ),
        scope="read",
        query=NoQuery,
        body=NoBody,
        request_headers={
            LAST_EVENT_ID: RequestHeader(
                about="The last id that you received",
                schema={"type": "string", "maxLength": LONGEST_CURSOR},
            )
        },
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The events, until the client closes the connection.",
                events={
                    "farm.reset": FarmReset,
                    "phone.updated": Phone,
                    "process.moved": ProcessMoved,
                    "incident.updated": Incident,
                },
                media_types=("text/event-stream",),
            ),
        },
        problems={
            HTTPStatus.UNPROCESSABLE_ENTITY: (
                "`invalid_request`: Last-Event-ID is not an id from this stream"
            )
        },
        handler=stream_farm,
    ),
    Endpoint(
        method="GET",
        path="/processes/{process_id}/events",
        name="streamEvents",
        tag="Processes",
        summary="Follow a process with server-sent events",
        about=(
            "The stream sends the process record at once and after every transition. It ends when "
            "the process has ended. Each event has an `id`, a number that rises with every event. "
            "To continue after an event, send the event's id as `Last-Event-ID`. The data of each "
            "`process.updated` event is a ProcessEvent. The gateway sends a comment every 15 s."
        ),
        scope="read",
        query=NoQuery,
        body=NoBody,
        request_headers={
            LAST_EVENT_ID: RequestHeader(
                about="The id of the last event that you received",
                schema={"type": "integer", "minimum": 0},
            )
        },
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="Events `process.updated`, each with a ProcessEvent as data.",
                events={"process.updated": ProcessEvent},
                media_types=("text/event-stream",),
            ),
            HTTPStatus.NO_CONTENT: ResponseSpec(
                about="The process has ended, and there are no newer events.", media_types=()
            ),
        },
        problems={
            HTTPStatus.UNPROCESSABLE_ENTITY: "`invalid_request`: Last-Event-ID is not a number"
        },
        handler=stream_events,
    ),
)
