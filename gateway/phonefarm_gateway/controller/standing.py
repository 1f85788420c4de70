"""The gateway's channel to a controller elsewhere: another one for each certificate it gets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import grpc.aio
from phonefarm_common.certificates import Member, MemberBrokenError, read_member
from phonefarm_common.channel import open_channel
from phonefarm_common.clock import Clock
from phonefarm_common.joining import replaced
from phonefarm_common.timers import Timers

LAST_CALLS_SECONDS: Final = 60.0
"""How long calls on the channel of an earlier certificate may go on."""


class StandingChannel:
    """Stubs take it for a channel; each call goes by the newest certificate."""

    def __init__(self, place: Path, target: str, timers: Timers) -> None:
        """Take the certificate in *place*; MemberBrokenError when there is none."""
        self._place = place
        self._target = target
        self._timers = timers
        self._member = self._read()
        self._channel = self._open()
        self._parting: set[asyncio.Task[None]] = set()

    def unary_unary(self, *path: Any, **options: Any) -> Callable[..., Any]:
        """Return what makes such a call."""
        return lambda *given, **how: self._channel.unary_unary(*path, **options)(*given, **how)

    def unary_stream(self, *path: Any, **options: Any) -> Callable[..., Any]:
        """Return what makes such a call."""
        return lambda *given, **how: self._channel.unary_stream(*path, **options)(*given, **how)

    def stream_unary(self, *path: Any, **options: Any) -> Callable[..., Any]:
        """Return what makes such a call."""
        return lambda *given, **how: self._channel.stream_unary(*path, **options)(*given, **how)

    def stream_stream(self, *path: Any, **options: Any) -> Callable[..., Any]:
        """Return what makes such a call."""
        return lambda *given, **how: self._channel.stream_stream(*path, **options)(*given, **how)

    async def keep(self, clock: Clock, scale: float) -> None:
        """Renew the certificate at half life and open the next calls with it, for ever."""
        while True:
            await replaced(self._member, self._place, clock=clock, scale=scale)
            old, self._member = self._channel, self._read()
            self._channel = self._open()
            parting = asyncio.create_task(old.close(LAST_CALLS_SECONDS), name="old channel")
            self._parting.add(parting)
            parting.add_done_callback(self._parting.discard)

    async def close(self) -> None:
        """Close every channel."""
        for parting in self._parting:
            parting.cancel()
        await asyncio.gather(*self._parting, return_exceptions=True)
        await self._channel.close(None)

    def _read(self) -> Member:
        member = read_member(self._place)
        if member is None:
            raise MemberBrokenError(f"{self._place} holds no certificate: join again")
        return member

    def _open(self) -> grpc.aio.Channel:
        return open_channel(self._target, self._timers, self._member.secured)


@asynccontextmanager
async def standing(
    place: Path, target: str, timers: Timers, *, clock: Clock, scale: float
) -> AsyncIterator[StandingChannel]:
    """Yield a channel whose certificate is kept good while the block runs."""
    channel = StandingChannel(place, target, timers)
    keeping = asyncio.create_task(channel.keep(clock, scale), name="certificate")
    try:
        yield channel
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await channel.close()
