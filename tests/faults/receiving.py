"""The callers' side of callbacks: a real HTTP server that checks signatures and has moods."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Final, Self

from aiohttp import web
from faults.history import Arrival

_TOLERANCE: Final = 300
"""Seconds by which the time of a signature may be off, as receivers commonly have it."""


class Mood(StrEnum):
    """How the receiver behaves."""

    GOOD = "good"
    SLOW = "slow"
    FAILING = "failing"
    CLOSED = "closed"


class Receiver:
    """Takes events; made by `serving`."""

    def __init__(self, secret: str, heard: Callable[[Arrival], None]) -> None:
        self.mood = Mood.GOOD
        self.slowness = 2.0
        self.arrivals: list[Arrival] = []
        self.port = 0
        self._secret = secret.encode()
        self._heard = heard

    @classmethod
    @asynccontextmanager
    async def serving(cls, secret: str, heard: Callable[[Arrival], None]) -> AsyncIterator[Self]:
        """Yield a receiver on loopback; *heard* is called with each event it took."""
        receiver = cls(secret, heard)
        runner = web.ServerRunner(
            web.Server(receiver._receive), access_log=None, shutdown_timeout=0.1
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            receiver.port = runner.addresses[0][1]
            yield receiver
        finally:
            await runner.cleanup()

    @property
    def url(self) -> str:
        """Return where to send."""
        return f"http://127.0.0.1:{self.port}/hook"

    async def _receive(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.mood is Mood.CLOSED:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        at = time.time()
        body = await request.read()
        event = json.loads(body)
        if self.mood is Mood.SLOW:
            await asyncio.sleep(self.slowness)
        status = 500 if self.mood is Mood.FAILING else 204
        if abs(at - float(request.headers.get("X-PhoneFarm-Timestamp", 0))) > _TOLERANCE:
            status = 401
        arrival = Arrival(
            at=at,
            process_id=event["process"]["process_id"],
            sequence=event["sequence"],
            milestone=event["milestone"],
            signed=self._signed(request, body),
            answered=status,
        )
        self.arrivals.append(arrival)
        self._heard(arrival)
        return web.Response(status=status)

    def _signed(self, request: web.BaseRequest, body: bytes) -> bool:
        stamp = request.headers.get("X-PhoneFarm-Timestamp", "")
        told = request.headers.get("X-PhoneFarm-Signature", "")
        right = hmac.new(self._secret, f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
        return hmac.compare_digest(told, right)
