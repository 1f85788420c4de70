"""The table of every phone that adb has listed, and the reports of each."""

import asyncio
from collections.abc import Callable, Mapping
from itertools import zip_longest

import structlog
from phonefarm_common.clock import Clock
from phonefarm_common.timers import Timers
from phonefarm_common.wire_enums import Transport

from phonefarm_agent.model.host import IncidentKind, Incidents
from phonefarm_agent.model.phone import PhoneFailedError, PhoneNotFitError, PhoneReport
from phonefarm_agent.phones.adb.client import AdbError, Answer
from phonefarm_agent.phones.adb.server import AdbServer
from phonefarm_agent.phones.device import Device
from phonefarm_agent.phones.identity import Identity, duplicates, second_ways
from phonefarm_agent.phones.limits import PhoneLimits
from phonefarm_agent.phones.mass_disconnect import MassDisconnect
from phonefarm_agent.phones.readiness import IDENTIFY

log = structlog.get_logger()


class DeviceTable:
    """The devices of one adb server; *needs_hands* says what a person must do at one."""

    def __init__(
        self,
        *,
        server: AdbServer,
        timers: Timers,
        limits: PhoneLimits,
        clock: Clock,
        incidents: Incidents,
        needs_hands: Callable[[Device], str],
        changed: Callable[[], None],
    ) -> None:
        self.devices: dict[str, Device] = {}
        self.wake: dict[str, asyncio.Event] = {}  # a phone's watcher waits for it
        self.held: set[str] = set()
        self.mass_disconnect = MassDisconnect(limits=limits, incidents=incidents)
        self._server = server
        self._timers = timers
        self._limits = limits
        self._clock = clock
        self._incidents = incidents
        self._needs_hands = needs_hands
        self._changed = changed
        self._reports: dict[str, PhoneReport] = {}
        self._all_reports: tuple[PhoneReport, ...] = ()
        self._fit: tuple[str, ...] = ()
        server.changed = self._server_changed
        incidents.update(IncidentKind.ADB_DOWN, server.why)

    def add(self, adb_serial: str) -> Device:
        """Add a device that adb has not listed before."""
        device = self.devices[adb_serial] = Device(adb_serial=adb_serial, limits=self._limits)
        self.wake[adb_serial] = asyncio.Event()
        return device

    def drop(self, device: Device) -> None:
        """Remove a device that adb now lists under another serial."""
        del self.devices[device.adb_serial]
        self._reports.pop(device.adb_serial, None)

    def reports(self) -> tuple[PhoneReport, ...]:
        """Return every phone as it was last seen; the same tuple while nothing is new."""
        return self._all_reports

    def fit(self) -> tuple[str, ...]:
        """Return the phones that could begin work at this moment."""
        if self._server.down:
            return ()
        now = self._clock.monotonic()
        duplicates = self.duplicate_serials()
        return tuple(
            device.serialno
            for device in self.devices.values()
            if device.could_work(now, self._timers.offer_fresh)
            and device.serialno not in duplicates
        )

    def duplicate_serials(self) -> frozenset[str]:
        """Return each serial that more than one phone here claims."""
        return duplicates(self._identities())

    def _identities(self) -> Mapping[str, Identity]:
        return {
            device.adb_serial: device.identity
            for device in self.devices.values()
            if device.identified and not device.problem
        }

    def _find_second_ways(self) -> None:
        """Use each phone by one of the ways that adb has to it."""
        ways = second_ways(self._identities())
        for device in self.devices.values():
            way = ways.get(device.adb_serial, "")
            if way != device.second_way_of:
                device.second_way_of = way
                log.info("phone.second_way", adb_serial=device.adb_serial, used=way or "this one")

    def device_of(self, serialno: str) -> Device:
        """Return the device with this serial; PhoneNotFitError."""
        if self._server.down:
            raise PhoneNotFitError(self._server.down)
        found = [d for d in self.devices.values() if d.serialno == serialno]
        online = [
            d
            for d in found
            if d.transport is Transport.ONLINE and d.identified and not d.second_way_of
        ]
        if len(online) > 1:
            raise PhoneNotFitError("duplicate_serial")
        if not online:
            if any(d.transport is Transport.ONLINE for d in found):
                raise PhoneNotFitError(f"phone_not_fit:{IDENTIFY}")
            raise PhoneNotFitError(f"phone_{found[0].transport}" if found else "phone_unknown")
        if online[0].problem:
            raise PhoneNotFitError(online[0].problem)
        return online[0]

    async def ask(self, device: Device, command: str, *, limit: float | None = None) -> Answer:
        """Run one command on a device, within the time limit; PhoneFailedError."""
        try:
            async with asyncio.timeout(limit or self._timers.probe_limit):
                answer = await self._server.adb.shell(device.adb_serial, command)
        except TimeoutError as error:
            device.missed("no answer in time", self._clock.monotonic())
            raise PhoneFailedError("no answer in time") from error
        except AdbError as error:
            device.missed(str(error), self._clock.monotonic())
            raise PhoneFailedError(str(error)) from error
        device.answered(self._clock.monotonic())
        return answer

    def _server_changed(self) -> None:
        """Record that the adb server went away or came back."""
        self.mass_disconnect.ignore_drops(self._clock.monotonic())
        phones = [device.serialno for device in self.devices.values() if device.serialno]
        self._incidents.update(IncidentKind.ADB_DOWN, self._server.why, phones)
        self.notify()

    def notify(self, *devices: Device) -> None:
        """Update the reports of *devices* (none: of all), and signal a change."""
        now = self._clock.monotonic()
        self._find_second_ways()
        duplicates = self.duplicate_serials()
        news = False
        unreported = [d for d in self.devices.values() if d.adb_serial not in self._reports]
        for device in [*devices, *unreported] if devices else self.devices.values():
            if device.settle(now) and device.shown is not Transport.ONLINE:
                self.mass_disconnect.drop(device, now)
            withheld = "duplicate_serial" if is_duplicate(device, duplicates) else ""
            report = device.report(
                now,
                withheld=self._server.down or withheld,
                needs_hands=self._needs_hands(device),
            )
            before = self._reports.get(device.adb_serial)
            if before is None or before.essence() != report.essence():
                news = True
            elif (before.facts, before.epoch) == (report.facts, report.epoch):
                continue  # only time has passed
            self._reports[device.adb_serial] = report
        reports = tuple(
            self._reports[device.adb_serial]
            for device in self.devices.values()
            if not device.second_way_of
        )
        if any(report is not other for report, other in zip_longest(reports, self._all_reports)):
            self._all_reports = reports
        fit = self.fit()
        if news or fit != self._fit:
            self._fit = fit
            self._changed()


def is_duplicate(device: Device, duplicates: frozenset[str]) -> bool:
    """Tell whether another device has the same serial."""
    return device.identified and device.serialno in duplicates
