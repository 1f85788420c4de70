"""A receiver of callbacks on loopback that verifies their signatures."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from phonefarm_common.config import shown_address

_TOLERANCE_SECONDS = 300


@dataclass(frozen=True, kw_only=True)
class CallbackEvent:
    """One callback; *at* is monotonic."""

    process_id: str
    milestone: str
    sequence: int
    status: str
    signed: bool
    at: float


class Receiver:
    """Answers 204 to every callback and keeps it; answers 400 to anything else."""

    def __init__(self, secret: str, told: Callable[[CallbackEvent], None] | None = None) -> None:
        self._secret = secret.encode()
        self._told = told
        self._arrived = asyncio.Condition()
        self.events: list[CallbackEvent] = []
        self.url = ""

    @classmethod
    @asynccontextmanager
    async def serving(
        cls,
        secret: str,
        *,
        address: tuple[str, int] = ("127.0.0.1", 0),
        told: Callable[[CallbackEvent], None] | None = None,
    ) -> "AsyncIterator[Receiver]":
        """Yield a receiver that listens at *address*; *told* hears of each callback.

        OSError when the address cannot be used.
        """
        receiver = cls(secret, told)
        runner = web.ServerRunner(
            web.Server(receiver._receive), access_log=None, shutdown_timeout=1.0
        )
        await runner.setup()
        try:
            host, port = address
            await web.TCPSite(runner, host, port).start()
            receiver.url = f"http://{shown_address(host, runner.addresses[0][1])}/phonefarm"
            yield receiver
        finally:
            await runner.cleanup()

    def of(self, process_id: str) -> list[CallbackEvent]:
        """Return the events of a process in the order of their arrival."""
        return [event for event in self.events if event.process_id == process_id]

    async def until(self, process_id: str, milestone: str, *, within: float) -> None:
        """Return once the event has arrived; TimeoutError after *within* seconds."""
        async with asyncio.timeout(within), self._arrived:
            await self._arrived.wait_for(
                lambda: any(event.milestone == milestone for event in self.of(process_id))
            )

    async def _receive(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        try:
            told: dict[str, Any] = json.loads(body)
            event = CallbackEvent(
                process_id=str(told["process"]["process_id"]),
                milestone=str(told["milestone"]),
                sequence=int(told["sequence"]),
                status=str(told["process"]["status"]),
                signed=self._is_signed(request, body),
                at=time.monotonic(),
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            return web.Response(status=400, text="this is not a Phonefarm event")
        async with self._arrived:
            self.events.append(event)
            self._arrived.notify_all()
        if self._told is not None:
            self._told(event)
        return web.Response(status=204)

    def _is_signed(self, request: web.BaseRequest, body: bytes) -> bool:
        """Tell whether the signature is that of `${timestamp}.${body}` and the stamp is fresh."""
        stamp = request.headers.get("X-PhoneFarm-Timestamp", "")
        shown = request.headers.get("X-PhoneFarm-Signature", "")
        expected = hmac.new(self._secret, f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
        fresh = stamp.isdigit() and abs(time.time() - int(stamp)) < _TOLERANCE_SECONDS
        return fresh and hmac.compare_digest(expected.encode(), shown.encode())
