"""Counts the open event streams and ends them when the gateway stops."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class StreamLimits:
    """Limits of event streams, in seconds and counts."""

    most: int = 1000
    heartbeat: float = 15  # a comment at least this often: proxies close silent streams
    patience: float = 30  # a client that does not read for so long is disconnected


class TooManyStreamsError(Exception):
    """As many event streams are open as the limit allows."""


class EventStreams:
    """Counts the open streams; `stopping` is set when they must end."""

    def __init__(self, limits: StreamLimits) -> None:
        self.limits = limits
        self.open = 0
        self.stopping = asyncio.Event()

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Count a stream while the block runs; TooManyStreamsError when `most` are open."""
        if self.open >= self.limits.most:
            raise TooManyStreamsError
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1
