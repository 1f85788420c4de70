"""A caller's callback endpoint: a real HTTP server that remembers what it got."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web


@dataclass(frozen=True, kw_only=True)
class Received:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        """Return the body as JSON."""
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value


class Receiver:
    """Answers 204 until told otherwise by `answer`."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answer: Callable[[Received], Awaitable[web.StreamResponse]] = _accept
        self.port = 0
        self._arrived = asyncio.Condition()

    @classmethod
    @asynccontextmanager
    async def serving(cls) -> AsyncIterator[Self]:
        """Yield a receiver that listens on loopback."""
        receiver = cls()
        server = web.Server(receiver._receive)
        runner = web.ServerRunner(server, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            receiver.port = runner.addresses[0][1]
            yield receiver
        finally:
            await runner.cleanup()

    def url(self, path: str = "/hook", *, host: str = "127.0.0.1") -> str:
        """Return where to send."""
        return f"http://{host}:{self.port}{path}"

    async def wait(self, count: int, *, within: float = 180) -> list[Received]:
        """Return everything received once there are *count*."""
        async with asyncio.timeout(within), self._arrived:
            await self._arrived.wait_for(lambda: len(self.received) >= count)
        return list(self.received)

    async def _receive(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        received = Received(
            method=request.method, path=request.path_qs, headers=dict(request.headers), body=body
        )
        async with self._arrived:
            self.received.append(received)
            self._arrived.notify_all()
        return await self.answer(received)


async def _accept(received: Received) -> web.StreamResponse:
    return web.Response(status=204)
