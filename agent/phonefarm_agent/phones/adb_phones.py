"""The real phones of this host, behind its adb server."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path

import structlog
from phonefarm_common.clock import Clock
from phonefarm_common.timers import Timers
from phonefarm_common.wire_enums import Readiness

from phonefarm_agent.model.host import Incidents, RecoveryStep
from phonefarm_agent.model.phone import PhoneFailedError, PhoneNotFitError, PhoneReport
from phonefarm_agent.phones import cleanup, lease_file
from phonefarm_agent.phones.adb.client import AdbError
from phonefarm_agent.phones.adb.server import AdbServer, adb_server
from phonefarm_agent.phones.device import Device
from phonefarm_agent.phones.device_table import DeviceTable
from phonefarm_agent.phones.interface import (
    CleanupRequest,
    LocatedPhone,
    RunAccess,
    RunResources,
)
from phonefarm_agent.phones.limits import PhoneLimits
from phonefarm_agent.phones.monitor import PhoneMonitor
from phonefarm_agent.phones.proxy.gate import Gate
from phonefarm_agent.phones.proxy.hold_proxy import hold_proxy
from phonefarm_agent.phones.proxy.proxy import run_proxy
from phonefarm_agent.phones.recovery import Recovery
from phonefarm_agent.phones.screen.screen_session import ScreenDevice
from phonefarm_agent.phones.ui_server import ui_server

log = structlog.get_logger()

CLEAN_UP_LIMITS = 3  # so many probe limits for one clean-up command


class AdbPhones:
    """Implements `Phones` for real phones; `keep` must run. Made by `adb_phones`."""

    def __init__(
        self,
        *,
        server: AdbServer,
        table: DeviceTable,
        monitor: PhoneMonitor,
        recovery: Recovery,
        agent_id: str,
        timers: Timers,
        clock: Clock,
    ) -> None:
        self._server = server
        self._table = table
        self._monitor = monitor
        self._recovery = recovery
        self._agent_id = agent_id
        self._timers = timers
        self._clock = clock

    @property
    def upstream(self) -> tuple[str, int]:
        """Return the adb server's host and port."""
        return (self._server.adb.host, self._server.adb.port)

    @property
    def adb_restarts(self) -> int:
        """Return how often the adb server had to be started again."""
        return self._server.restarts

    # What is read (see `interface.Phones`).

    def reports(self) -> tuple[PhoneReport, ...]:
        """Return every phone as it was last seen."""
        return self._table.reports()

    def fit(self) -> tuple[str, ...]:
        """Return the phones that could begin work at this moment."""
        return self._table.fit()

    def recovery(self) -> tuple[RecoveryStep, ...]:
        """Return the latest recovery steps."""
        return self._recovery.steps()

    @property
    def recovery_counts(self) -> Mapping[str, int]:
        """Return how often each recovery step was taken since the agent's start."""
        return self._recovery.counts

    @property
    def problem(self) -> str:
        """Return why no phone of the host can be reached; empty while they can."""
        return self._server.down

    def screen_device(self, serialno: str) -> ScreenDevice:
        """Return where the phone's screen is; PhoneNotFitError."""
        device = self._table.device_of(serialno)
        return ScreenDevice(adb=self._server.adb, adb_serial=device.adb_serial, model=device.model)

    def busy(self, serialno: str, *, on: bool) -> None:
        """Probe a busy phone less often, and a freed one at once."""
        if on:
            self._table.held.add(serialno)
            return
        self._table.held.discard(serialno)
        for device in self._table.devices.values():
            if device.serialno == serialno:
                self._table.wake[device.adb_serial].set()

    # What is done.

    async def check_fit(self, serialno: str) -> LocatedPhone:
        """Ask the phone once more; PhoneNotFitError when it is not fit."""
        device = self._table.device_of(serialno)
        if device.recovering:
            raise PhoneNotFitError("phone_not_fit:recovering")
        readiness, reason = device.verdict(self._clock.monotonic())
        if readiness is not Readiness.READY:
            raise PhoneNotFitError(f"phone_not_fit:{reason}")
        return await self._located(device)

    async def locate(self, serialno: str) -> LocatedPhone:
        """Return where the phone is, fit or not."""
        return await self._located(self._table.device_of(serialno))

    async def write_lease(self, serialno: str, *, epoch: int, run_id: str) -> None:
        """Write the lease file on the phone."""
        device = self._table.device_of(serialno)
        command = lease_file.write_lease(epoch=epoch, run_id=run_id, agent_id=self._agent_id)
        answer = await self._table.ask(device, command)
        if answer.code:
            raise PhoneFailedError(f"the lease file: {answer.error.strip()[:200]}")
        device.epoch = epoch

    @asynccontextmanager
    async def serve_run(
        self, *, path: Path, adb_serial: str, run_id: str, resources: RunResources, gate: Gate
    ) -> AsyncIterator[RunAccess]:
        """Serve the run's adb socket; the UI server that it may start ends with the block."""
        async with (
            ui_server(adb=self._server.adb, serial=adb_serial, run_id=run_id) as server,
            run_proxy(
                path=path,
                upstream=self.upstream,
                serial=adb_serial,
                phone_folder=resources.phone_folder,
                media_folder=resources.media_folder,
                package=resources.package,
                urls=resources.urls,
                installs=resources.installs,
                gate=gate,
                ui_port=lambda: server.port,
            ),
        ):
            yield server

    def serve_hold(
        self, *, adb_serial: str, gate: Gate, log_line: Callable[[str], Awaitable[None]]
    ) -> AbstractAsyncContextManager[str]:
        """Serve a person's adb on loopback."""
        return hold_proxy(upstream=self.upstream, serial=adb_serial, gate=gate, log_line=log_line)

    async def logcat(self, serialno: str, since: str) -> AsyncGenerator[bytes, None]:
        """Yield the phone's logcat."""
        device = self._table.device_of(serialno)
        begin = f"'{since}'" if since else "1"
        command = f"logcat -b main -b system -b crash -v threadtime -T {begin}"
        try:
            async with aclosing(self._server.adb.stream(device.adb_serial, command)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except AdbError as error:
            raise PhoneFailedError(str(error)) from error

    async def clean_up(self, request: CleanupRequest) -> tuple[str, ...]:
        """Remove what the run left; return what is still there."""
        try:
            device = self._table.device_of(request.serialno)
            seen = await self._located(device)
        except PhoneNotFitError as error:
            raise PhoneFailedError(str(error)) from error
        if seen.epoch > request.epoch:
            log.warning("phone.cleanup_skipped", serialno=request.serialno, epoch=seen.epoch)
            return ()
        answer = await self._table.ask(
            device, cleanup.clean_up(request), limit=CLEAN_UP_LIMITS * self._timers.probe_limit
        )
        left = cleanup.residue(request, answer)
        if left is None:
            raise PhoneFailedError(f"the clean-up answered {answer.error.strip()[:200]!r}")
        return left

    # Tasks.

    async def keep(self, may_touch: Callable[[str, str], bool]) -> None:
        """Find, identify, probe and recover phones until cancelled.

        Only a phone of which *may_touch* says that no run here holds it is ever helped.
        """
        await self._monitor.keep(may_touch)

    async def _located(self, device: Device) -> LocatedPhone:
        try:
            answer = await self._table.ask(device, lease_file.READ_LEASE)
        except PhoneFailedError as error:
            # Not on offer again before it has answered.
            device.answered_at = -float("inf")
            self._table.notify()
            raise PhoneNotFitError("phone_silent") from error
        left = lease_file.read_lease(answer)
        if left.serialno != device.serialno:
            device.unname(self._clock.monotonic())
            self._table.wake[device.adb_serial].set()
            raise PhoneNotFitError("phone_changed")
        device.epoch = left.epoch
        return LocatedPhone(adb_serial=device.adb_serial, epoch=left.epoch)


@asynccontextmanager
async def adb_phones(
    *,
    state: Path,
    agent_id: str,
    port: int,
    addresses: tuple[str, ...],
    timers: Timers,
    limits: PhoneLimits,
    scale: float,
    clock: Clock,
    incidents: Incidents,
    kept: str,
    keep: Callable[[str], None],
    changed: Callable[[], None],
) -> AsyncIterator[AdbPhones]:
    """Start the adb server and yield the phones, which `keep` will find.

    *kept* is what the previous process gave to *keep*: the recovery steps it has taken.
    """
    async with adb_server(home=state / "adb", port=port, clock=clock) as server:
        recovery = Recovery(
            adb=server.adb,
            limits=limits,
            agent_id=agent_id,
            addresses=addresses,
            clock=clock,
            kept=kept,
            keep=keep,
        )
        table = DeviceTable(
            server=server,
            timers=timers,
            limits=limits,
            clock=clock,
            incidents=incidents,
            needs_hands=recovery.needs_hands,
            changed=changed,
        )
        monitor = PhoneMonitor(
            server=server,
            table=table,
            recovery=recovery,
            addresses=addresses,
            timers=timers,
            limits=limits,
            scale=scale,
            clock=clock,
        )
        yield AdbPhones(
            server=server,
            table=table,
            monitor=monitor,
            recovery=recovery,
            agent_id=agent_id,
            timers=timers,
            clock=clock,
        )
