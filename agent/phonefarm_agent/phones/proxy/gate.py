"""The right to let bytes through to one phone: it has a deadline, a start gate and an end."""

from collections.abc import Callable

from phonefarm_common.clock import Clock


class LeaseEndedError(Exception):
    """Nothing more may pass; the text says why."""


class Lease:
    """What a run's proxy asks before every chunk. Used from one event loop only.

    `deadline` is in seconds of `clock.monotonic()`. Past it nothing passes until `renew` moves it;
    after `cut` nothing passes ever again. Before `going` is set only reads pass.
    """

    def __init__(self, *, deadline: float, clock: Clock, going: bool = False) -> None:
        self._clock = clock
        self._deadline = deadline
        self._listeners: dict[object, Callable[[str], None]] = {}
        self._cut: str | None = None
        self.going = going

    @property
    def deadline(self) -> float:
        """The moment from which nothing passes."""
        return self._deadline

    @property
    def remaining(self) -> float:
        """Seconds left; 0 or less when it is past or cut."""
        return 0.0 if self._cut is not None else self._deadline - self._clock.monotonic()

    @property
    def ended(self) -> str | None:
        """Why nothing passes now; None while bytes may pass."""
        if self._cut is not None:
            return self._cut
        return "the lease is past its deadline" if self.remaining <= 0 else None

    def renew(self, deadline: float) -> None:
        """Move the deadline to *deadline*, never back; a lease that was cut stays cut."""
        self._deadline = max(self._deadline, deadline)

    def cut(self, reason: str) -> None:
        """End the lease for good: every open connection is closed before this returns."""
        if self._cut is None:
            self._cut = reason
        self.tell(self._cut)

    def check(self) -> None:
        """Return when bytes may pass at this very moment; raise LeaseEndedError otherwise."""
        reason = self.ended
        if reason is not None:
            raise LeaseEndedError(reason)

    def tell(self, reason: str) -> int:
        """Call every listener with *reason*; they leave the list. Return how many there were."""
        listeners, self._listeners = list(self._listeners.values()), {}
        for listener in listeners:
            listener(reason)
        return len(listeners)

    def listen(self, key: object, listener: Callable[[str], None]) -> None:
        """Have *listener* called when the lease ends; *key* takes it back with `forget`."""
        self._listeners[key] = listener

    def forget(self, key: object) -> None:
        """Take the listener of *key* off the list."""
        self._listeners.pop(key, None)
