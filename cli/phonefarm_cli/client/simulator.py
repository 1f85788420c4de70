"""A client of the simulator's control API: JSON lines over TCP, one answer per request."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from phonefarm_cli.errors import CommandError

LARGEST_LINE_BYTES = 64 * 1024 * 1024
CALL_SECONDS = 30.0


class SimulatorClient:
    """A connection to the simulator; one call at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    @asynccontextmanager
    async def opened(cls, address: str) -> "AsyncIterator[SimulatorClient]":
        """Yield a client of the simulator at HOST:PORT; CommandError when it does not answer."""
        host, _, port = address.rpartition(":")
        try:
            async with asyncio.timeout(CALL_SECONDS):
                reader, writer = await asyncio.open_connection(
                    host, int(port), limit=LARGEST_LINE_BYTES
                )
        except (OSError, TimeoutError) as error:
            raise CommandError(f"the simulator at {address} does not answer: {error}") from error
        try:
            yield cls(reader, writer)
        finally:
            writer.close()

    async def state(self, serialno: str) -> dict[str, Any]:
        """Return everything about a phone: screen, account, faults, battery, lease."""
        answer = await self.call("state", serial=serialno)
        return dict(answer["state"])

    async def ledger(self, serialno: str) -> list[dict[str, Any]]:
        """Return every effect on the phone and every connection that drove it, oldest first."""
        answer = await self.call("ledger", serial=serialno, since=0)
        return list(answer["entries"])

    async def call(self, op: str, **values: Any) -> dict[str, Any]:
        """Send one request and return its answer; CommandError when it is refused or lost."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                self._writer.write(json.dumps({"op": op, **values}).encode() + b"\n")
                await self._writer.drain()
                line = await self._reader.readline()
            answer: dict[str, Any] = json.loads(line)
        except (OSError, TimeoutError, ValueError) as error:
            raise CommandError(f"the simulator did not answer: {error!r}") from error
        if not answer.get("ok"):
            raise CommandError(
                f"the simulator refused the request: {answer.get('error', 'without a reason')}"
            )
        return answer
