"""The interface of a runtime, including the order of its calls.

`check` first. Per run: `start` once, then `begin`, `lines` and `wait` (any number of times, also
from the agent's next process, which asks for `held` first), `stop` any number of times, `remove`
once nothing more is wanted. Calls for different runs may overlap; `stop` may come while `lines` or
`wait` are under way.
"""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


class RuntimeFailedError(Exception):
    """The runtime failed or is unavailable; the text says what failed, and the remedy."""


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """What a runtime starts a run from; docs/seams.md describes the directory."""

    run_id: str
    epoch: int
    directory: Path
    cap_seconds: float
    plan: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Handle:
    """The reference of a started run in its runtime; kept in the journal."""

    run_id: str
    name: str  # the container's name, or what stands for it
    token: str  # proves it is the same one: a container id; a pid and its start time


@dataclass(frozen=True, kw_only=True)
class Exit:
    """How a run ended."""

    code: int | None  # None: it is gone and nobody saw how
    detail: str = ""  # e.g. `out of memory`


class Runtime(Protocol):
    """Starts, watches and ends runs."""

    name: str

    async def check(self) -> None:
        """Return when runs can be started now; else raise RuntimeFailedError with the remedy."""
        ...

    async def start(self, spec: RunSpec) -> Handle:
        """Start an executor for *spec*; it waits at the start gate by itself.

        Raises RuntimeFailedError and leaves nothing behind when it cannot be started.
        """
        ...

    async def begin(self, handle: Handle, directory: Path) -> None:
        """Let the executor read its plan in the run's *directory*, if it does not already.

        Called once the journal knows the handle. RuntimeFailedError when the host's disk refuses.
        """
        ...

    async def held(self) -> list[Handle]:
        """Return every run of this farm **and** this agent that the engine still knows."""
        ...

    def lines(self, handle: Handle) -> AsyncGenerator[bytes, None]:
        """Yield every line of the run's stdout, from the first, until it ended and all is read.

        Lines over 1 MiB are cut. Starting again yields them all again: they are numbered.
        """
        ...

    async def wait(self, handle: Handle) -> Exit:
        """Return when the run has ended; at once when it already has."""
        ...

    async def stop(self, handle: Handle, *, grace: float) -> None:
        """End the run: ask, after *grace* seconds kill. Returns once it is over; idempotent."""
        ...

    async def remove(self, handle: Handle) -> None:
        """Remove the run from the engine, killing it if it still runs; idempotent."""
        ...
