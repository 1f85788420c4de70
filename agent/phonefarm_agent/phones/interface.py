"""The interface of the host's phones to the rest of the agent."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from phonefarm_common.wire_enums import EVERY_CLEANUP_STEP, CleanupStep

from phonefarm_agent.model.host import RecoveryStep
from phonefarm_agent.model.phone import PhoneReport
from phonefarm_agent.phones.proxy.gate import Gate
from phonefarm_agent.phones.screen.screen_session import ScreenDevice


@dataclass(frozen=True, kw_only=True)
class LocatedPhone:
    """A phone that has just answered: its adb serial, and its lease file's epoch (0: none)."""

    adb_serial: str
    epoch: int


@dataclass(frozen=True, kw_only=True)
class RunResources:
    """A run's own folders on the phone, its one app, the URLs it opens, whether it installs."""

    phone_folder: str
    media_folder: str  # where apps can read; "" for a run that pushes nothing
    package: str  # "" for a run without an app
    urls: frozenset[str] = frozenset()
    installs: bool = False


class RunAccess(Protocol):
    """What a run may do to its phone besides using its adb socket."""

    async def start(self) -> str:
        """Start the UI server, after ending one that runs; return "", or a code and why not."""
        ...

    async def stop(self) -> None:
        """End the UI server."""
        ...


@dataclass(frozen=True, kw_only=True)
class CleanupRequest:
    """What to clean up after a run, and by which steps."""

    run_id: str
    epoch: int
    serialno: str
    resources: RunResources
    steps: frozenset[CleanupStep] = EVERY_CLEANUP_STEP


class Phones(Protocol):
    """The phones of this host, named by their ro.serialno."""

    @property
    def adb_restarts(self) -> int:
        """Return how often the adb server had to be started again."""
        ...

    @property
    def problem(self) -> str:
        """Return why no phone of the host can be reached; empty while they can."""
        ...

    def reports(self) -> tuple[PhoneReport, ...]:
        """Return every phone as it was last seen; the same tuple while nothing is new."""
        ...

    def recovery(self) -> tuple[RecoveryStep, ...]:
        """Return the latest recovery steps."""
        ...

    @property
    def recovery_counts(self) -> Mapping[str, int]:
        """Return how often each recovery step was taken since the agent's start."""
        ...

    def fit(self) -> tuple[str, ...]:
        """Return the phones that could begin work at this moment."""
        ...

    def screen_device(self, serialno: str) -> ScreenDevice:
        """Return where the phone's screen is; PhoneNotFitError."""
        ...

    def busy(self, serialno: str, *, on: bool) -> None:
        """Record whether a run uses the phone: a busy one is probed less often."""
        ...

    async def check_fit(self, serialno: str) -> LocatedPhone:
        """Ask the phone once more; PhoneNotFitError with the reason when it is not fit."""
        ...

    async def locate(self, serialno: str) -> LocatedPhone:
        """Return where the phone is, fit or not; PhoneNotFitError or PhoneFailedError."""
        ...

    async def write_lease(self, serialno: str, *, epoch: int, run_id: str) -> None:
        """Write the lease file on the phone; PhoneFailedError when that is not certain."""
        ...

    def serve_run(
        self, *, path: Path, adb_serial: str, run_id: str, resources: RunResources, gate: Gate
    ) -> AbstractAsyncContextManager[RunAccess]:
        """Serve the run's adb socket at *path* until the block ends; OSError when it cannot."""
        ...

    def serve_hold(
        self, *, adb_serial: str, gate: Gate, log_line: Callable[[str], Awaitable[None]]
    ) -> AbstractAsyncContextManager[str]:
        """Serve a person's adb until the block ends; yield its address, HOST:PORT; OSError."""
        ...

    def logcat(self, serialno: str, since: str) -> AsyncGenerator[bytes, None]:
        """Yield the phone's log in the form `threadtime`, from the stamp *since* ("": now) on.

        Raises PhoneNotFitError or PhoneFailedError when it breaks off.
        """
        ...

    async def clean_up(self, request: CleanupRequest) -> tuple[str, ...]:
        """Remove what the run left and return what is still there.

        Raises PhoneFailedError when that could not be told. A phone that a newer lease took over is
        left alone.
        """
        ...
