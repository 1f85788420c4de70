"""Dummy phones for the dummy runtime: always fit, nothing to probe or clean."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from phonefarm_common.wire_enums import Readiness, Transport

from phonefarm_agent.model.host import RecoveryStep
from phonefarm_agent.model.phone import PhoneNotFitError, PhoneReport
from phonefarm_agent.phones.interface import (
    CleanupRequest,
    LocatedPhone,
    RunAccess,
    RunResources,
)
from phonefarm_agent.phones.proxy.gate import Gate
from phonefarm_agent.phones.screen.screen_session import ScreenDevice


class DummyPhones:
    """The phones DUMMY0001, DUMMY0002 and so on."""

    adb_restarts = 0
    problem = ""
    recovery_counts: Mapping[str, int] = {}

    def __init__(self, count: int) -> None:
        self._epochs = {f"DUMMY{number:04d}": 0 for number in range(1, count + 1)}
        self._reports = tuple(
            PhoneReport(
                serialno=serialno,
                adb_serial=serialno,
                transport=Transport.ONLINE,
                readiness=Readiness.READY,
                model="dummy",
                android_release="0",
            )
            for serialno in self._epochs
        )
        self._fit = tuple(self._epochs)

    def reports(self) -> tuple[PhoneReport, ...]:
        """Return them all, ready."""
        return self._reports

    def fit(self) -> tuple[str, ...]:
        """Return them all."""
        return self._fit

    def recovery(self) -> tuple[RecoveryStep, ...]:
        """Return nothing: dummy phones need no recovery."""
        return ()

    def screen_device(self, serialno: str) -> ScreenDevice:
        """Raise PhoneNotFitError: a dummy phone has no screen."""
        raise PhoneNotFitError(f"the dummy phone {serialno} has no screen")

    def busy(self, serialno: str, *, on: bool) -> None:
        """Do nothing: dummy phones are not probed."""

    async def check_fit(self, serialno: str) -> LocatedPhone:
        """Return the epoch last written."""
        if serialno not in self._epochs:
            raise PhoneNotFitError("phone_unknown")
        return LocatedPhone(adb_serial=serialno, epoch=self._epochs[serialno])

    async def locate(self, serialno: str) -> LocatedPhone:
        """Return the same as `check_fit`."""
        return await self.check_fit(serialno)

    async def write_lease(self, serialno: str, *, epoch: int, run_id: str) -> None:
        """Remember the epoch."""
        self._epochs[serialno] = epoch

    @asynccontextmanager
    async def serve_run(
        self, *, path: Path, adb_serial: str, run_id: str, resources: RunResources, gate: Gate
    ) -> AsyncIterator[RunAccess]:
        """Serve nothing."""
        yield _NoAccess()

    @asynccontextmanager
    async def serve_hold(
        self, *, adb_serial: str, gate: Gate, log_line: Callable[[str], Awaitable[None]]
    ) -> AsyncIterator[str]:
        """Serve nothing: there is no phone."""
        yield "no phone"

    async def logcat(self, serialno: str, since: str) -> AsyncGenerator[bytes, None]:
        """Raise PhoneNotFitError: a dummy phone has no log."""
        if serialno:
            raise PhoneNotFitError("a dummy phone has no log")
        yield b""

    async def clean_up(self, request: CleanupRequest) -> tuple[str, ...]:
        """Return nothing: a dummy phone is always clean."""
        return ()


class _NoAccess:
    async def start(self) -> str:
        return "ui_server_failed: a dummy phone has no screen"

    async def stop(self) -> None:
        return
