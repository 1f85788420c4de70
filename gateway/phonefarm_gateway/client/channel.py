"""The channel of a gateway that joined: it renews its certificate and calls with the newest one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import grpc.aio
from phonefarm_common.certificates import Member, MemberBrokenError, read_member
from phonefarm_common.channel import open_channel
from phonefarm_common.clock import Clock
from phonefarm_common.endpoints import EndpointSelector, parse_controllers
from phonefarm_common.enrollment import wait_for_replacement
from phonefarm_common.failover import FailoverChannel
from phonefarm_common.timers import Timers

from phonefarm_gateway.client.retry_policy import repeatable

LAST_CALLS_SECONDS: Final = 60.0
"""Calls on channels of an earlier certificate may continue for this long."""


class _MemberChannel:
    """Renews a certificate and makes each call over a channel with the newest one."""

    def __init__(
        self, state: Path, given: tuple[str, ...], timers: Timers, *, clock: Clock, scale: float
    ) -> None:
        """Read the certificate in *state*; MemberBrokenError when there is none."""
        self._state = state
        self._given = given
        self._timers = timers
        self._clock = clock
        self._scale = scale
        self._member = self._read()
        self.channel = FailoverChannel(self._choice(), dial=self._connect, repeatable=repeatable)
        self._closing: set[asyncio.Task[None]] = set()

    async def keep_renewing(self) -> None:
        """Renew the certificate at half its life and use it for the next calls, for ever."""
        while True:
            await wait_for_replacement(
                self._member,
                self._state,
                targets=self._targets(),
                clock=self._clock,
                scale=self._scale,
            )
            self._member = self._read()
            for old in self.channel.renewed(self._choice()):
                closing = asyncio.create_task(old.close(LAST_CALLS_SECONDS), name="old channel")
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close every channel."""
        for closing in self._closing:
            closing.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self.channel.close(None)

    def _read(self) -> Member:
        member = read_member(self._state)
        if member is None:
            raise MemberBrokenError(f"{self._state} does not contain a certificate: join again")
        return member

    def _targets(self) -> tuple[str, ...]:
        """Return the given controllers, or those that the farm named at the last renewal."""
        return self._given or parse_controllers([self._member.controller], name="its controller")

    def _choice(self) -> EndpointSelector:
        return EndpointSelector(self._targets(), monotonic=self._clock.monotonic, scale=self._scale)

    def _connect(self, target: str) -> grpc.aio.Channel:
        return open_channel(target, self._timers, self._member.secured)


@asynccontextmanager
async def member_channel(
    state: Path, given: tuple[str, ...], timers: Timers, *, clock: Clock, scale: float
) -> AsyncIterator[FailoverChannel]:
    """Yield a channel whose certificate is renewed while the block runs.

    It calls the *given* controllers, or, when there are none, those that the farm named.
    """
    member = _MemberChannel(state, given, timers, clock=clock, scale=scale)
    keeping = asyncio.create_task(member.keep_renewing(), name="certificate")
    try:
        yield member.channel
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await member.close()
