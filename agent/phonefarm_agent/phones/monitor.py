"""Finds, identifies, probes and recovers the phones of this host."""

import asyncio
import random
import re
from collections.abc import Callable

import structlog
from phonefarm_common.backoff import backoff
from phonefarm_common.clock import Clock
from phonefarm_common.timers import Timers
from phonefarm_common.wire_enums import Readiness, Transport

from phonefarm_agent.model.phone import PhoneFailedError
from phonefarm_agent.phones import lease_file, probe
from phonefarm_agent.phones.adb.client import AdbError
from phonefarm_agent.phones.adb.server import AdbServer
from phonefarm_agent.phones.device import Device
from phonefarm_agent.phones.device_table import DeviceTable, is_duplicate
from phonefarm_agent.phones.identity import serialno_problem
from phonefarm_agent.phones.limits import PhoneLimits
from phonefarm_agent.phones.recovery import Recovery
from phonefarm_agent.phones.recovery_policy import StepKind

log = structlog.get_logger()

CONNECT_SECONDS = 15.0
_IDENTITY = (
    "getprop ro.serialno; getprop ro.product.model; getprop ro.build.version.release;"
    " cat /proc/sys/kernel/random/boot_id"
)
_BOOT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class PhoneMonitor:
    """Keeps the device table up to date, while `keep` runs."""

    def __init__(
        self,
        *,
        server: AdbServer,
        table: DeviceTable,
        recovery: Recovery,
        addresses: tuple[str, ...],
        timers: Timers,
        limits: PhoneLimits,
        scale: float,
        clock: Clock,
    ) -> None:
        self._server = server
        self._table = table
        self._recovery = recovery
        self._addresses = addresses
        self._timers = timers
        self._limits = limits
        self._scale = scale
        self._clock = clock
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._listed = asyncio.Event()
        self._may_touch: Callable[[str, str], bool] = lambda *_: False

    async def keep(self, may_touch: Callable[[str, str], bool]) -> None:
        """Monitor the phones until cancelled; see `AdbPhones.keep`."""
        self._may_touch = may_touch
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._server.keep(), name="adb-server")
            tasks.create_task(self._track(tasks), name="adb-track")
            tasks.create_task(self._relist(tasks), name="adb-relist")
            for address in self._addresses:
                tasks.create_task(self._stay_connected(address), name=f"connect-{address}")

    async def _track(self, tasks: asyncio.TaskGroup) -> None:
        """Follow adb's track-devices; it is fast, and `_relist` makes up for what it drops."""
        failures = 0
        while True:
            try:
                async for listing in self._server.adb.track():
                    failures = 0
                    self._take_listing(listing, tasks)
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
                    self._take_listing(await self._server.adb.devices(), tasks)
            except (AdbError, TimeoutError) as error:
                log.debug("adb.list_failed", error=str(error))
            self._check_all(tasks)

    def _check_all(self, tasks: asyncio.TaskGroup) -> None:
        """Apply the passage of time to every phone: limits, mass disconnects, recovery."""
        now = self._clock.monotonic()
        if self._server.down:
            self._table.mass_disconnect.ignore_drops(now)
        else:
            self._table.mass_disconnect.update(self._table.devices.values(), now)
            self._start_due_steps(now, tasks)
        self._table.notify()

    def _start_due_steps(self, now: float, tasks: asyncio.TaskGroup) -> None:
        """Start the recovery steps that are due for free phones.

        Nothing is done while a host incident of adb lasts: no phone is to blame then.
        """
        duplicates = self._table.duplicate_serials()
        for device in self._table.devices.values():
            free = self._may_touch(device.serialno, device.adb_serial)
            if not free or self._table.mass_disconnect.lasts:
                continue
            self._recovery.update(device, now, duplicate=is_duplicate(device, duplicates))
            step = self._recovery.due(device, now)
            if step is not None:
                device.recovering, device.recovery_began_at = True, now
                tasks.create_task(self._take_step(device, step), name=f"{step}-{device.adb_serial}")

    async def _take_step(self, device: Device, step: StepKind) -> None:
        await self._recovery.perform(device, step)
        device.probed_at = -float("inf")
        self._table.wake[device.adb_serial].set()
        self._table.notify()

    async def _stay_connected(self, address: str) -> None:
        """Connect a network phone, and connect it again whenever it has vanished.

        A phone that adb calls offline is left to recovery, unless a run holds it: then only the
        connection is made again, and only the host's end of it.
        """
        failures = 0
        while True:
            device = self._table.devices.get(address)
            if not self._is_lost(device) or self._server.down:
                failures = 0
                await self._wait_for_listing(self._timers.relist)
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
            await self._wait_for_listing(
                backoff(max(1, failures), first=self._scale, factor=2, most=30 * self._scale)
            )

    def _is_lost(self, device: Device | None) -> bool:
        if device is None:
            return True
        if device.recovering or self._clock.monotonic() - device.since < self._limits.hold:
            return False
        held = device.serialno in self._table.held
        return device.transport is Transport.ABSENT or (
            device.transport is Transport.OFFLINE and held
        )

    async def _wait_for_listing(self, seconds: float) -> None:
        """Wait until adb's list changes, at most *seconds*."""
        try:
            async with asyncio.timeout(seconds):
                await self._listed.wait()
        except TimeoutError:
            return

    async def _watch(self, device: Device) -> None:
        """Identify a phone, then probe it as long as it is online."""
        wake = self._table.wake[device.adb_serial]
        while device.transport is Transport.ONLINE and not device.unusable:
            wake.clear()
            try:
                await self._ask_next(device)
            except PhoneFailedError as error:
                log.debug("phone.silent", adb_serial=device.adb_serial, error=str(error))
                await self._check_features(device)
            self._table.notify(device)
            try:
                async with asyncio.timeout(self._probe_pause(device)):
                    await wake.wait()
            except TimeoutError:
                continue

    async def _ask_next(self, device: Device) -> None:
        """Identify or probe the phone, whichever is due; PhoneFailedError."""
        now = self._clock.monotonic()
        # Who cannot be named is asked again now and then: it may have been read too early.
        nameless = bool(device.problem) and now - device.probed_at >= self._timers.probe
        if not device.identified or nameless:
            await self._identify(device)
        if device.problem:
            if nameless:
                device.probed_at = now
            await self._table.ask(device, "echo phonefarm")
            return
        readiness = device.verdict(now)[0]
        pause = self._timers.probe if readiness is Readiness.READY else self._timers.offer_fresh
        if readiness is Readiness.PREPARING or now - device.probed_at >= pause:
            answer = await self._table.ask(device, probe.COMMAND)
            device.take_probe(probe.parse(answer.out), self._clock.monotonic())
        else:
            await self._table.ask(device, "echo phonefarm")

    async def _check_features(self, device: Device) -> None:
        """Learn whether a phone that never answered is too old for the shell protocol."""
        if device.identified:
            return
        try:
            async with asyncio.timeout(self._timers.probe_limit):
                features = await self._server.adb.features(device.adb_serial)
        except (AdbError, TimeoutError):
            return
        if "shell_v2" not in features and device.transport is Transport.ONLINE:
            device.unusable = "android_too_old"

    def _take_listing(self, listing: dict[str, str], tasks: asyncio.TaskGroup) -> None:
        """Apply adb's list of devices."""
        now = self._clock.monotonic()
        for serial, state in listing.items():
            device = self._table.devices.get(serial)
            if device is None:
                device = self._table.add(serial)
            if device.take_listing(state, now):
                log.info("phone.seen", adb_serial=serial, state=state)
                self._restart_watcher(device, tasks)
        for serial, device in self._table.devices.items():
            if serial not in listing and device.set_transport(Transport.ABSENT, now):
                log.info("phone.vanished", adb_serial=serial)
                self._restart_watcher(device, tasks)
        self._table.notify()

    def _restart_watcher(self, device: Device, tasks: asyncio.TaskGroup) -> None:
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
        answer = await self._table.ask(device, _IDENTITY)
        lines = [line.strip() for line in answer.out.split("\n")] + [""] * 4
        # A phone that came back under another name leaves its old entry behind.
        for other in list(self._table.devices.values()):
            gone = other.transport is Transport.ABSENT and other.adb_serial not in self._addresses
            if gone and other.serialno == lines[0]:
                self._table.drop(other)
                self._recovery.forget(other.adb_serial)
        left = lease_file.read_lease(await self._table.ask(device, lease_file.READ_LEASE))
        device.epoch = left.epoch
        news = not device.identified or device.serialno != lines[0]
        device.name(
            serialno=lines[0],
            boot_id=lines[3] if _BOOT_ID.fullmatch(lines[3]) else "",
            model=lines[1],
            release=lines[2],
            problem=serialno_problem(lines[0]),
            now=self._clock.monotonic(),
        )
        if news:
            log.info(
                "phone.identified",
                adb_serial=device.adb_serial,
                serialno=device.serialno,
                problem=device.problem,
            )

    def _probe_pause(self, device: Device) -> float:
        """Return the seconds until the next probe; a free phone's answer must stay fresh.

        Chance spreads the questions over time: phones that came together are not asked together.
        """
        longest = self._timers.offer_fresh / 2
        if device.serialno in self._table.held and device.identified:
            longest = self._timers.probe
        return longest * (0.8 + 0.2 * random.random())
