"""Writes server-sent events, counts the open streams, and ends them when the gateway stops."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import structlog
from aiohttp import hdrs, web
from phonefarm.schemas.fields import ResponseModel
from phonefarm_common.reasons import Reason

from phonefarm_gateway.client import RefusedError
from phonefarm_gateway.rest.problems import Problem
from phonefarm_gateway.strict_json import dump

LAST_EVENT_ID: Final = "Last-Event-ID"
FIRST_SECONDS: Final = 10.0
RETRY_MILLISECONDS: Final = 2000
RETRY_AFTER_SECONDS: Final = 10
HEADERS: Final = {
    hdrs.CONTENT_TYPE: "text/event-stream",
    hdrs.CACHE_CONTROL: "no-store",
    "X-Accel-Buffering": "no",  # nginx holds answers back otherwise
}
_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class StreamLimits:
    """Limits of event streams, in seconds and counts."""

    most: int = 1000
    heartbeat: float = 15  # a comment at least this often: proxies close silent streams
    patience: float = 30  # a client that does not read for so long is disconnected


@dataclass(frozen=True, kw_only=True)
class ServerSentEvent:
    """One event; without *data* it only sets the id for `Last-Event-ID`."""

    id: str
    name: str = ""
    data: ResponseModel | None = None

    def encoded(self) -> bytes:
        """Return the lines of the event (HTML, "server-sent events")."""
        number = f"id: {self.id}\n" if self.id else ""
        if self.data is None:
            return f"{number}\n".encode()
        return f"{number}event: {self.name}\ndata: {dump(self.data.rendered())}\n\n".encode()


class EventStreams:
    """Counts the open streams; `stopping` is set when they must end."""

    def __init__(self, limits: StreamLimits) -> None:
        self.limits = limits
        self.open = 0
        self.stopping = asyncio.Event()

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Count a stream while the block runs; Problem 503 when `most` are open."""
        if self.open >= self.limits.most:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "too_many_streams",
                "The gateway has reached its limit of open event streams. Send a normal request "
                "instead.",
                headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
            )
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    async def send(
        self,
        request: web.Request,
        events: AsyncIterator[ServerSentEvent],
        *,
        first: ServerSentEvent | None = None,
    ) -> web.StreamResponse:
        """Send *first* and *events* until they end, the client goes, or the gateway stops."""
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        opening = f"retry: {RETRY_MILLISECONDS}\n\n".encode()
        try:
            await self._write(response, opening + (first.encoded() if first else b""))
            async for chunk in self._chunks(events):
                await self._write(response, chunk)
            await response.write_eof()
        except (ConnectionError, TimeoutError):
            # The client is gone, or does not read. It can ask again for what it missed.
            request.protocol.force_close()
            if request.transport is not None:
                request.transport.abort()
        return response

    async def _write(self, response: web.StreamResponse, chunk: bytes) -> None:
        async with asyncio.timeout(self.limits.patience):
            await response.write(chunk)

    async def _chunks(self, events: AsyncIterator[ServerSentEvent]) -> AsyncIterator[bytes]:
        """Yield events, and comments in between, until they end or the gateway stops."""
        stopping = asyncio.ensure_future(self.stopping.wait())
        reading = asyncio.ensure_future(anext(events, None))
        try:
            while True:
                await asyncio.wait(
                    {reading, stopping},
                    timeout=self.limits.heartbeat,
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
                yield seen.encoded()
                reading = asyncio.ensure_future(anext(events, None))
        except RefusedError as refused:
            _log.info("event_stream.interrupted", error=str(refused))
            away = refused.reason is Reason.CONTROLLER_UNAVAILABLE
            why = "the controller does not answer" if away else refused.message
            yield f": {why}; reconnect\n\n".encode()
        finally:
            for task in (stopping, reading):
                task.cancel()
            await asyncio.gather(stopping, reading, return_exceptions=True)


async def first_of(events: AsyncIterator[ServerSentEvent]) -> ServerSentEvent | None:
    """Return the first event, None for the end; Problem 503 when neither comes soon."""
    try:
        async with asyncio.timeout(FIRST_SECONDS):
            return await anext(events, None)
    except TimeoutError:
        raise Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            Reason.CONTROLLER_UNAVAILABLE,
            "The controller does not answer.",
            headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        ) from None
