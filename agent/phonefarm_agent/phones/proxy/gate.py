"""The gate of a proxy: whether bytes may pass to the phone at this moment."""

import asyncio
from collections.abc import Callable

from phonefarm_common.clock import Clock


class GateClosedError(Exception):
    """Nothing more may pass; the text says why."""


class Gate:
    """Opens with the lease and closes with it; a proxy asks it before every chunk.

    `deadline` is in seconds of `clock.monotonic()`. Past it nothing passes until `renew` moves it;
    after `close` nothing passes ever again. Before `going` is set only reads pass. Used from one
    event loop only.
    """

    def __init__(self, *, deadline: float, clock: Clock, going: bool = False) -> None:
        self._clock = clock
        self._deadline = deadline
        self._listeners: dict[object, Callable[[str], None]] = {}
        self._closed: str | None = None
        self._opened = asyncio.Event()
        self.going = going

    @property
    def going(self) -> bool:
        """Whether the run acts; before that only reads pass."""
        return self._opened.is_set()

    @going.setter
    def going(self, going: bool) -> None:
        if going:
            self._opened.set()
        else:
            self._opened.clear()

    async def until_going(self) -> None:
        """Return once the run acts."""
        await self._opened.wait()

    @property
    def deadline(self) -> float:
        """The moment at which the gate closes, unless it is renewed."""
        return self._deadline

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; 0 or less once it has passed or the gate is closed."""
        return 0.0 if self._closed is not None else self._deadline - self._clock.monotonic()

    @property
    def closed_reason(self) -> str | None:
        """Why nothing passes now; None while bytes may pass."""
        if self._closed is not None:
            return self._closed
        return "the lease has expired" if self.remaining <= 0 else None

    def renew(self, deadline: float) -> None:
        """Move the deadline to *deadline*, never back; a closed gate stays closed."""
        self._deadline = max(self._deadline, deadline)

    def close(self, reason: str) -> None:
        """Close for good: every open connection is closed before this returns."""
        if self._closed is None:
            self._closed = reason
        self.notify(self._closed)

    def check(self) -> None:
        """Raise GateClosedError unless bytes may pass at this very moment."""
        reason = self.closed_reason
        if reason is not None:
            raise GateClosedError(reason)

    def notify(self, reason: str) -> int:
        """Call every listener once with *reason* and remove it; return how many there were."""
        listeners, self._listeners = list(self._listeners.values()), {}
        for listener in listeners:
            listener(reason)
        return len(listeners)

    def listen(self, key: object, listener: Callable[[str], None]) -> None:
        """Have *listener* called when the gate closes; `forget` with the same *key* undoes it."""
        self._listeners[key] = listener

    def forget(self, key: object) -> None:
        """Remove the listener of *key*."""
        self._listeners.pop(key, None)
