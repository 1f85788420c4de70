"""Reads server-sent events, and goes on after a break where it was."""

from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from typing import Final

from phonefarm.client.errors import NoResponseError, PhonefarmError, UnexpectedResponseError
from phonefarm.client.transport import Transport

LARGEST_EVENT_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class ServerSentEvent:
    """One event as it came."""

    id: str
    name: str
    data: bytes


class EventParser:
    """Takes the bytes of a stream in any parts, and returns its whole events.

    It follows HTML's "server-sent events" for lines that end with LF or CRLF.
    """

    def __init__(self, last_id: str = "") -> None:
        self.last_id = last_id
        self._rest = b""
        self._size = 0
        self._fields: dict[bytes, list[bytes]] = {}

    def feed(self, part: bytes) -> Iterator[ServerSentEvent]:
        """Yield the events that *part* completes."""
        self._size += len(part)
        if self._size > LARGEST_EVENT_BYTES:
            raise UnexpectedResponseError(f"an event has more than {LARGEST_EVENT_BYTES} bytes")
        *lines, self._rest = (self._rest + part).split(b"\n")
        for line in lines:
            text = line.removesuffix(b"\r")
            if text:
                name, _, value = text.partition(b":")
                self._fields.setdefault(name, []).append(value.removeprefix(b" "))
                continue
            fields, self._fields = self._fields, {}
            self._size = len(self._rest)
            if b"id" in fields:
                self.last_id = fields[b"id"][-1].decode()
            if b"data" in fields:
                yield ServerSentEvent(
                    id=self.last_id,
                    name=fields.get(b"event", [b"message"])[-1].decode(),
                    data=b"\n".join(fields[b"data"]),
                )


async def follow(
    transport: Transport, path: str, *, after: str = ""
) -> AsyncGenerator[ServerSentEvent, None]:
    """Yield the events of *path* after the one with the id *after*, until there are no more.

    After a break the stream is opened again with the last id. PhonefarmError if that fails too
    often in a row, or in a way that does not pass.
    """
    failures = 0
    while True:
        received = False
        parser = EventParser(after)
        try:
            async with transport.stream(path, after=after) as parts:
                if parts is None:
                    return
                async for part in parts:
                    for event in parser.feed(part):
                        failures, received = 0, True
                        yield event
            if not received:
                raise NoResponseError(f"GET {path}: the stream ended before its first event")
        except PhonefarmError as error:
            failures += 1
            await transport.pause(error, failures=failures)
        finally:
            after = parser.last_id
