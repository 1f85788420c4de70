"""The endpoint of server-sent events: a process record at every transition."""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final

import structlog
from aiohttp import hdrs, web
from phonefarm_common.reasons import FieldProblem, Reason

from phonefarm_gateway.client import RefusedError
from phonefarm_gateway.client.inspection import NumberedEvent
from phonefarm_gateway.rest.app_keys import STREAMS
from phonefarm_gateway.rest.endpoint import Call, Endpoint, NoBody, ResponseSpec
from phonefarm_gateway.rest.event_streams import EventStreams, TooManyStreamsError
from phonefarm_gateway.rest.problems import Problem, invalid
from phonefarm_gateway.schemas.fields import LARGEST_COUNT
from phonefarm_gateway.schemas.queries import NoQuery
from phonefarm_gateway.schemas.responses import ProcessEvent
from phonefarm_gateway.strict_json import dump

LAST_EVENT_ID: Final = "Last-Event-ID"
FIRST_SECONDS: Final = 10.0
RETRY_MILLISECONDS: Final = 2000
RETRY_AFTER_SECONDS: Final = 10
_TERMINAL: Final = frozenset({"completed", "failed_terminal", "cancelled"})
_HEADERS: Final = {
    hdrs.CONTENT_TYPE: "text/event-stream",
    hdrs.CACHE_CONTROL: "no-store",
    "X-Accel-Buffering": "no",  # nginx holds answers back otherwise
}
_log = structlog.get_logger()


async def stream_events(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Send the record now and at every transition, until the process has ended."""
    record = await call.controller.processes.get(call.key, call.process_id)
    after = _after(call.request.headers.get(LAST_EVENT_ID))
    if call.request.method == hdrs.METH_HEAD:
        return web.Response(headers=_HEADERS)
    streams = call.request.app[STREAMS]
    try:
        with streams.slot():
            async with call.controller.inspection.watch_process(
                call.key, call.process_id, after=after
            ) as events:
                return await _stream(
                    call.request, streams, events, ended=record.status in _TERMINAL
                )
    except TooManyStreamsError:
        raise Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "too_many_streams",
            "As many event streams are open as the limit allows. Read the process instead.",
            headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        ) from None


def _away() -> Problem:
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        Reason.CONTROLLER_UNAVAILABLE,
        "The controller does not answer.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def _after(text: str | None) -> int:
    if text is None or not text.strip():
        return 0
    if text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= LARGEST_COUNT:
        return int(text)
    message = "must be the id of the last event you received, a number"
    raise invalid(FieldProblem(field=LAST_EVENT_ID, message=message))


async def _stream(
    request: web.Request,
    streams: EventStreams,
    events: AsyncIterator[NumberedEvent],
    *,
    ended: bool,
) -> web.StreamResponse:
    first = None
    if ended:
        try:
            async with asyncio.timeout(FIRST_SECONDS):
                first = await anext(events, None)
        except TimeoutError:
            raise _away() from None
        if first is None:
            # 204 tells an EventSource not to reconnect (HTML, "server-sent events").
            return web.Response(status=HTTPStatus.NO_CONTENT)
    response = web.StreamResponse(headers=_HEADERS)
    await response.prepare(request)
    opening = f"retry: {RETRY_MILLISECONDS}\n\n".encode()
    try:
        await _send(response, streams, opening + (_event(first) if first else b""))
        async for chunk in _chunks(events, streams):
            await _send(response, streams, chunk)
        await response.write_eof()
    except (ConnectionError, TimeoutError):
        # The client is gone, or does not read. It can ask again for what it missed.
        request.protocol.force_close()
        if request.transport is not None:
            request.transport.abort()
    return response


async def _send(response: web.StreamResponse, streams: EventStreams, chunk: bytes) -> None:
    async with asyncio.timeout(streams.limits.patience):
        await response.write(chunk)


async def _chunks(
    events: AsyncIterator[NumberedEvent], streams: EventStreams
) -> AsyncIterator[bytes]:
    """Yield events, and comments in between, until the process ends or the gateway stops."""
    stopping = asyncio.ensure_future(streams.stopping.wait())
    reading = asyncio.ensure_future(anext(events, None))
    try:
        while True:
            await asyncio.wait(
                {reading, stopping},
                timeout=streams.limits.heartbeat,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if stopping.done():
                return
            if not reading.done():
                yield b": still here\n\n"
                continue
            seen = reading.result()
            if seen is None:
                return
            yield _event(seen)
            reading = asyncio.ensure_future(anext(events, None))
    except RefusedError as refused:
        _log.info("event_stream.interrupted", error=str(refused))
        yield b": the controller does not answer; reconnect\n\n"
    finally:
        for task in (stopping, reading):
            task.cancel()
        await asyncio.gather(stopping, reading, return_exceptions=True)


def _event(seen: NumberedEvent) -> bytes:
    data = dump(seen.event.rendered())
    return f"id: {seen.number}\nevent: process.updated\ndata: {data}\n\n".encode()


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/processes/{process_id}/events",
        name="streamEvents",
        tag="Processes",
        summary="Follow a process by server-sent events",
        about=(
            "Sends the record now and at every transition, and ends after the process has. `id` is "
            "a rising number; send the last one as `Last-Event-ID` to continue from there. The "
            "`data` of `process.updated` is a ProcessEvent. A comment comes every 15 s."
        ),
        scope="read",
        query=NoQuery,
        body=NoBody,
        request_headers={LAST_EVENT_ID: "The id of the last event you received"},
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="`event: process.updated`, its data a ProcessEvent.",
                models=(ProcessEvent,),
                media_types=("text/event-stream",),
            ),
            HTTPStatus.NO_CONTENT: ResponseSpec(
                about="The process has ended and there is nothing newer.", media_types=()
            ),
        },
        problems={HTTPStatus.UNPROCESSABLE_ENTITY: "`invalid_request`: Last-Event-ID is no number"},
        handler=stream_events,
    ),
)
