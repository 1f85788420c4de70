"""The client of the control API: JSON lines over TCP, one answer for each request.

Requests, each but the first with a `serial`: `{"op": "list"}` · `{"op": "state"}` ·
`{"op": "ledger", "since": 0}` · `{"op": "wait", "kind": K, "since": 0, "timeout": 10}` ·
`{"op": "fault", "fault": F, "on": true, ...settings}` · `{"op": "clear"}` (every fault) ·
`{"op": "battery", "level": 50, "celsius": 30.0, "charging": true}` ·
`{"op": "account", "display_name": ..., "username": ..., "bio": ...}`.
Answers carry `"ok": true` and what was asked for, or `"ok": false` and `"error"`.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

LARGEST_LINE_BYTES = 64 * 1024 * 1024
CALL_SECONDS = 30.0


class ControlError(Exception):
    """The simulator refused the request or is gone; the text says why."""


class Control:
    """Controls a running simulator; calls are made one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._turn = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def connected(cls, address: str) -> "AsyncIterator[Control]":
        """Yield a client of the simulator whose ready-file names this `HOST:PORT`."""
        host, _colon, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=LARGEST_LINE_BYTES)
        try:
            yield cls(reader, writer)
        finally:
            writer.close()

    async def phones(self) -> list[dict[str, Any]]:
        """Return serial and address of every phone."""
        answer = await self.call("list")
        return list(answer["phones"])

    async def state(self, serial: str) -> dict[str, Any]:
        """Return everything about a phone: screen, account, faults, battery, lease."""
        answer = await self.call("state", serial=serial)
        return dict(answer["state"])

    async def ledger(self, serial: str, *, since: int = 0) -> list[dict[str, Any]]:
        """Return the ledger's entries after `since`, up to 100,000."""
        answer = await self.call("ledger", serial=serial, since=since)
        return list(answer["entries"])

    async def wait_for(
        self, serial: str, kind: str, *, since: int = 0, timeout: float = 10.0
    ) -> dict[str, Any]:
        """Return the first entry of `kind` after `since`; ControlError when none came in time."""
        answer = await self.call("wait", serial=serial, kind=kind, since=since, timeout=timeout)
        return dict(answer["entry"])

    async def fault(self, serial: str, fault: str, *, on: bool = True, **settings: Any) -> None:
        """Begin or end a fault; `settings` are those of faults.FaultSettings."""
        await self.call("fault", serial=serial, fault=fault, on=on, **settings)

    async def clear(self, serial: str) -> None:
        """End every fault of a phone."""
        await self.call("clear", serial=serial)

    async def battery(self, serial: str, **values: Any) -> None:
        """Set level, celsius or charging."""
        await self.call("battery", serial=serial, **values)

    async def account(self, serial: str, **values: str) -> None:
        """Set display_name, username or bio, as if it had always been so."""
        await self.call("account", serial=serial, **values)

    async def call(self, op: str, **values: Any) -> dict[str, Any]:
        """Send one request and return its answer; raise ControlError."""
        line = json.dumps({"op": op, **values}).encode() + b"\n"
        patience = CALL_SECONDS + float(values.get("timeout", 0.0))
        try:
            async with asyncio.timeout(patience), self._turn:
                self._writer.write(line)
                await self._writer.drain()
                raw = await self._reader.readline()
        except (OSError, TimeoutError) as error:
            self._writer.transport.abort()  # a late answer must not be taken for the next one's
            raise ControlError(f"no answer from the simulator: {error!r}") from error
        if not raw:
            raise ControlError("the simulator closed the connection")
        answer = json.loads(raw)
        if not answer.get("ok"):
            raise ControlError(answer.get("error", "refused"))
        return dict(answer)


def call(address: str, op: str, **values: Any) -> dict[str, Any]:
    """Make one call from code that is not asynchronous; raise ControlError."""

    async def once() -> dict[str, Any]:
        async with Control.connected(address) as control:
            return await control.call(op, **values)

    return asyncio.run(once())
