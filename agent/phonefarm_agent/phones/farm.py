"""The real phones of this host: found by adb, identified and probed by shell."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path

import structlog
from phonefarm_common.backoff import backoff
from phonefarm_common.clock import Clock
from phonefarm_common.timers import Timers

from phonefarm_agent.model.phone import (
    PhoneFailedError,
    PhoneNotFitError,
    PhoneReport,
    Readiness,
    Transport,
)
from phonefarm_agent.phones import fitness, leases
from phonefarm_agent.phones.adb_server import AdbServer, adb_server
from phonefarm_agent.phones.adb_wire import AdbError, Answer
from phonefarm_agent.phones.contract import Claimed, Ground, Trace
from phonefarm_agent.phones.device import Device, transport_of
from phonefarm_agent.phones.identity import duplicates, serialno_problem
from phonefarm_agent.phones.proxy import run_proxy
from phonefarm_agent.phones.proxy_lease import Lease

log = structlog.get_logger()

HOLD_SECONDS = 2.0
CONNECT_SECONDS = 15.0
CLEAN_UP_LIMITS = 3  # so many probe limits for one clean-up command
_IDENTITY = "getprop ro.serialno; getprop ro.product.model; getprop ro.build.version.release"


class AdbPhones:
    """Made by `adb_phones`; `keep` must run for anything to be seen."""

    def __init__(
        self,
        *,
        server: AdbServer,
        agent_id: str,
        addresses: tuple[str, ...],
        timers: Timers,
        scale: float,
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        self._server = server
        self._agent_id = agent_id
        self._addresses = addresses
        self._timers = timers
        self._scale = scale
        self._clock = clock
        self._changed = changed
        self._devices: dict[str, Device] = {}
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._busy: set[str] = set()
        self._wake: dict[str, asyncio.Event] = {}
        self._listed = asyncio.Event()
        self._told: tuple[tuple[PhoneReport, ...], tuple[str, ...]] = ((), ())

    @property
    def upstream(self) -> tuple[str, int]:
        """Return where the adb server listens."""
        return (self._server.adb.host, self._server.adb.port)

    @property
    def adb_restarts(self) -> int:
        """Return how often the adb server had to be started again."""
        return self._server.restarts

    # What is read (see contract.Phones).

    def reports(self) -> tuple[PhoneReport, ...]:
        """Return every phone as seen now."""
        now = self._clock.monotonic()
        for device in self._devices.values():
            device.settle(now, HOLD_SECONDS * self._scale)
        twice = self._twice()
        return tuple(
            device.report(
                withheld=self._server.down
                or ("duplicate_serial" if self._is_twice(device, twice) else "")
            )
            for device in self._devices.values()
        )

    def fit(self) -> tuple[str, ...]:
        """Return the phones that could begin work at this moment."""
        if self._server.down:
            return ()
        now = self._clock.monotonic()
        twice = self._twice()
        return tuple(
            device.serialno
            for device in self._devices.values()
            if device.could_work(now, self._timers.offer_fresh) and device.serialno not in twice
        )

    def busy(self, serialno: str, *, on: bool) -> None:
        """Ask a busy phone less often, and a freed one at once."""
        if on:
            self._busy.add(serialno)
            return
        self._busy.discard(serialno)
        for device in self._devices.values():
            if device.serialno == serialno:
                self._wake[device.adb_serial].set()

    # What is done.

    async def claim(self, serialno: str) -> Claimed:
        """Ask the phone once more; PhoneNotFitError when it cannot begin work."""
        device = self._one(serialno)
        if device.fitness is None:
            raise PhoneNotFitError("phone_not_fit:identifying")
        if device.fitness.readiness is not Readiness.READY:
            raise PhoneNotFitError(f"phone_not_fit:{device.fitness.reason}")
        return await self._located(device)

    async def locate(self, serialno: str) -> Claimed:
        """Ask the phone who and where it is, fit or not."""
        return await self._located(self._one(serialno))

    async def write_lease(self, serialno: str, *, epoch: int, run_id: str) -> None:
        """Leave the lease on the phone."""
        device = self._one(serialno)
        command = leases.write_lease(epoch=epoch, run_id=run_id, agent_id=self._agent_id)
        answer = await self._asked(device, command)
        if answer.code:
            raise PhoneFailedError(f"the lease file: {answer.error.strip()[:200]}")
        device.epoch = epoch

    def gate(
        self, *, path: Path, adb_serial: str, ground: Ground, lease: Lease
    ) -> AbstractAsyncContextManager[None]:
        """Serve the run's adb socket."""
        return run_proxy(
            path=path,
            upstream=self.upstream,
            serial=adb_serial,
            phone_folder=ground.phone_folder,
            media_folder=ground.media_folder,
            package=ground.package,
            lease=lease,
        )

    async def logcat(self, serialno: str, since: str) -> AsyncGenerator[bytes, None]:
        """Yield the phone's log; only reading, on a connection of its own."""
        device = self._one(serialno)
        begin = f"'{since}'" if since else "1"
        command = f"logcat -b main -b system -b crash -v threadtime -T {begin}"
        try:
            async with aclosing(self._server.adb.stream(device.adb_serial, command)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except AdbError as error:
            raise PhoneFailedError(str(error)) from error

    async def clean_up(self, trace: Trace) -> tuple[str, ...]:
        """Remove what the run left; return what is still there."""
        try:
            device = self._one(trace.serialno)
            seen = await self._located(device)
        except PhoneNotFitError as error:
            raise PhoneFailedError(str(error)) from error
        if seen.epoch > trace.epoch:
            log.warning("phone.left_alone", serialno=trace.serialno, epoch=seen.epoch)
            return ()
        answer = await self._asked(
            device, leases.clean_up(trace), limit=CLEAN_UP_LIMITS * self._timers.probe_limit
        )
        left = leases.left_behind(trace, answer)
        if left is None:
            raise PhoneFailedError(f"the clean-up answered {answer.error.strip()[:200]!r}")
        return left

    # Tasks.

    async def keep(self) -> None:
        """Find, identify and probe phones until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._server.keep(), name="adb-server")
            tasks.create_task(self._track(tasks), name="adb-track")
            tasks.create_task(self._relist(tasks), name="adb-relist")
            for address in self._addresses:
                tasks.create_task(self._stay_connected(address), name=f"connect-{address}")

    async def _track(self, tasks: asyncio.TaskGroup) -> None:
        """Follow adb's own news; it is fast, and `_relist` makes up for what it drops."""
        failures = 0
        while True:
            try:
                async for listing in self._server.adb.track():
                    failures = 0
                    self._see(listing, tasks)
            except AdbError as error:
                log.debug("adb.track_ended", error=str(error))
            failures += 1
            await asyncio.sleep(
                backoff(failures, first=0.1 * self._scale, factor=2, most=2 * self._scale)
            )

    async def _relist(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            await asyncio.sleep(self._timers.relist)
            try:
                async with asyncio.timeout(self._timers.probe_limit):
                    self._see(await self._server.adb.devices(), tasks)
            except (AdbError, TimeoutError) as error:
                log.debug("adb.list_failed", error=str(error))
            self._tell()

    async def _stay_connected(self, address: str) -> None:
        """Connect a network phone, and again whenever it vanished or stays offline."""
        failures = 0
        while True:
            device = self._devices.get(address)
            now = self._clock.monotonic()
            lost = device is None or (
                device.transport in {Transport.ABSENT, Transport.OFFLINE}
                and now - device.since >= HOLD_SECONDS * self._scale
            )
            if not lost or self._server.down:
                failures = 0
                await self._some_news(self._timers.relist)
                continue
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    if device is not None:
                        await self._server.adb.disconnect(address)
                    said = await self._server.adb.connect(address)
            except (AdbError, TimeoutError) as error:
                said = str(error)
            failures = 0 if said.startswith(("connected", "already")) else failures + 1
            if failures == 1:
                log.warning("phone.not_connected", address=address, error=said)
            await self._some_news(
                backoff(max(1, failures), first=self._scale, factor=2, most=30 * self._scale)
            )

    async def _some_news(self, seconds: float) -> None:
        """Wait for a changed listing, at most *seconds*."""
        try:
            async with asyncio.timeout(seconds):
                await self._listed.wait()
        except TimeoutError:
            return

    async def _watch(self, device: Device) -> None:
        """Identify a phone that is online, then probe it; ends when it is no longer online."""
        wake = self._wake[device.adb_serial]
        judged_at = -float("inf")
        while device.transport is Transport.ONLINE:
            wake.clear()
            try:
                if not device.identified:
                    await self._identify(device)
                now = self._clock.monotonic()
                if now - judged_at >= self._timers.probe or not self._is_ready(device):
                    answer = await self._asked(device, fitness.QUESTION)
                    device.fitness = fitness.judge(answer.out, device.fitness)
                    judged_at = now
                else:
                    await self._asked(device, "echo phonefarm")
            except PhoneFailedError as error:
                log.debug("phone.silent", adb_serial=device.adb_serial, error=str(error))
            self._tell()
            try:
                async with asyncio.timeout(self._probe_pause(device)):
                    await wake.wait()
            except TimeoutError:
                continue

    # How.

    def _see(self, listing: dict[str, str], tasks: asyncio.TaskGroup) -> None:
        """Take in a whole listing."""
        now = self._clock.monotonic()
        for serial, state in listing.items():
            device = self._devices.get(serial)
            if device is None:
                device = self._devices[serial] = Device(adb_serial=serial)
                self._wake[serial] = asyncio.Event()
            if device.see(transport_of(state), now):
                log.info("phone.seen", adb_serial=serial, state=state)
                self._news(device, tasks)
        for serial, device in self._devices.items():
            if serial not in listing and device.see(Transport.ABSENT, now):
                log.info("phone.vanished", adb_serial=serial)
                self._news(device, tasks)
        self._tell()

    def _news(self, device: Device, tasks: asyncio.TaskGroup) -> None:
        self._listed.set()
        self._listed = asyncio.Event()
        watcher = self._watchers.pop(device.adb_serial, None)
        if watcher is not None:
            watcher.cancel()
        if device.transport is Transport.ONLINE:
            self._watchers[device.adb_serial] = tasks.create_task(
                self._watch(device), name=f"watch-{device.adb_serial}"
            )

    async def _identify(self, device: Device) -> None:
        answer = await self._asked(device, _IDENTITY)
        lines = [line.strip() for line in answer.out.split("\n")] + ["", "", ""]
        device.serialno, device.model, device.release = lines[0], lines[1], lines[2]
        device.problem = serialno_problem(device.serialno)
        # A phone that came back under another name leaves its old entry behind.
        for other in list(self._devices.values()):
            gone = other.transport is Transport.ABSENT and other.adb_serial not in self._addresses
            if gone and other.serialno == device.serialno:
                del self._devices[other.adb_serial]
        device.identified = True
        _, device.epoch = leases.read_lease(await self._asked(device, leases.READ_LEASE))
        log.info(
            "phone.identified",
            adb_serial=device.adb_serial,
            serialno=device.serialno,
            problem=device.problem,
        )

    async def _located(self, device: Device) -> Claimed:
        try:
            answer = await self._asked(device, leases.READ_LEASE)
        except PhoneFailedError as error:
            # Not on offer again before it has answered.
            device.answered_at = -float("inf")
            self._tell()
            raise PhoneNotFitError("phone_silent") from error
        serialno, epoch = leases.read_lease(answer)
        if serialno != device.serialno:
            device.identified = False
            self._wake[device.adb_serial].set()
            raise PhoneNotFitError("phone_changed")
        device.epoch = epoch
        return Claimed(adb_serial=device.adb_serial, epoch=epoch)

    async def _asked(self, device: Device, command: str, *, limit: float | None = None) -> Answer:
        """Run one command within the limit; the phone is known to answer, or PhoneFailedError."""
        try:
            async with asyncio.timeout(limit or self._timers.probe_limit):
                answer = await self._server.adb.shell(device.adb_serial, command)
        except TimeoutError as error:
            device.missed("no answer in time")
            raise PhoneFailedError("no answer in time") from error
        except AdbError as error:
            device.missed(str(error))
            raise PhoneFailedError(str(error)) from error
        device.answered(self._clock.monotonic())
        return answer

    def _one(self, serialno: str) -> Device:
        """Return the one device that is this phone; PhoneNotFitError."""
        if self._server.down:
            raise PhoneNotFitError(self._server.down)
        found = [d for d in self._devices.values() if d.serialno == serialno]
        online = [d for d in found if d.transport is Transport.ONLINE and d.identified]
        if len(online) > 1:
            raise PhoneNotFitError("duplicate_serial")
        if not online:
            raise PhoneNotFitError(f"phone_{found[0].transport}" if found else "phone_unknown")
        if online[0].problem:
            raise PhoneNotFitError(online[0].problem)
        return online[0]

    def _twice(self) -> frozenset[str]:
        return duplicates(
            {
                device.adb_serial: device.serialno
                for device in self._devices.values()
                if device.identified and not device.problem
            }
        )

    @staticmethod
    def _is_twice(device: Device, twice: frozenset[str]) -> bool:
        return device.identified and device.serialno in twice

    @staticmethod
    def _is_ready(device: Device) -> bool:
        return device.fitness is not None and device.fitness.readiness is Readiness.READY

    def _probe_pause(self, device: Device) -> float:
        """Return the seconds until the next question; a free phone's answer must stay fresh."""
        if device.serialno in self._busy and device.identified:
            return self._timers.probe
        return self._timers.offer_fresh / 2

    def _tell(self) -> None:
        """Wake whoever reports phones, if there is something to report."""
        now = (self.reports(), self.fit())
        if now != self._told:
            self._told = now
            self._changed()


@asynccontextmanager
async def adb_phones(
    *,
    state: Path,
    agent_id: str,
    port: int,
    addresses: tuple[str, ...],
    timers: Timers,
    scale: float,
    clock: Clock,
    changed: Callable[[], None],
) -> AsyncIterator[AdbPhones]:
    """Start the adb server; yield the phones it will find once `keep` runs."""
    async with adb_server(home=state / "adb", port=port, clock=clock, changed=changed) as server:
        yield AdbPhones(
            server=server,
            agent_id=agent_id,
            addresses=addresses,
            timers=timers,
            scale=scale,
            clock=clock,
            changed=changed,
        )
