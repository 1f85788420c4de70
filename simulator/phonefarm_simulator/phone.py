"""One simulated phone: its properties, files, battery, app and faults."""

import errno
import os
import uuid
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from phonefarm_common.clock import Clock, SystemClock

from phonefarm_simulator.adb_stream import Stream
from phonefarm_simulator.app_account import Account, PostFailure
from phonefarm_simulator.apps import Apps
from phonefarm_simulator.battery import Battery
from phonefarm_simulator.browser_app import BrowserApp
from phonefarm_simulator.clipboard import Clipboard
from phonefarm_simulator.display import Display
from phonefarm_simulator.factory import build_properties, default_packages, default_settings
from phonefarm_simulator.faults import Fault, Faults, FaultSettings
from phonefarm_simulator.files import FileSystem, normal_path
from phonefarm_simulator.ledger import LEASE_PATH, Entry, Kind, Ledger, read_lease
from phonefarm_simulator.logbuffer import LogBuffer
from phonefarm_simulator.media_store import MediaStore, Row
from phonefarm_simulator.personality import Personality
from phonefarm_simulator.personality import personality as read_personality
from phonefarm_simulator.processes import Processes
from phonefarm_simulator.shop_app import ShopApp
from phonefarm_simulator.short_video_app import UPLOAD_SECONDS, ShortVideoApp
from phonefarm_simulator.system_screens import covering_screen
from phonefarm_simulator.ui_automation import UiAutomation
from phonefarm_simulator.views import KEYGUARD_PACKAGE, LAUNCHER_PACKAGE, SCREEN, View

KEYGUARD_WINDOW = "NotificationShade"
"""The value of `mCurrentFocus` while a keyguard or the notifications cover the screen."""


class Phone:
    """The state of a phone; all but the running app survives a reboot."""

    def __init__(
        self,
        *,
        serial: str,
        directory: Path,
        clock: Clock | None = None,
        personality: Personality | None = None,
    ) -> None:
        """Take what kind of phone it is; `ideal` when nothing is said."""
        self.personality = personality or read_personality("ideal")
        clock = clock or SystemClock()
        self._clock = clock
        self.monotonic = monotonic = clock.monotonic
        self.serial = serial
        directory.mkdir(parents=True, exist_ok=True)
        self.ledger = Ledger(
            serial=serial, directory=directory, monotonic=monotonic, wall=self.wall
        )
        self.log = LogBuffer(wall=self.wall)
        self.faults = Faults()
        self.display = Display(
            faults=self.faults, monotonic=monotonic, changed=self._display_changed
        )
        self.ui_automation = UiAutomation()
        self.processes = Processes()
        self.sockets: dict[str, Callable[[Stream], Awaitable[None]]] = {}
        """The function that serves each service of the phone (`tcp:PORT`, `localabstract:NAME`)."""
        self.reversed: dict[str, Callable[[], Awaitable[Stream]]] = {}
        """The function that connects to the host, for each port that `adb reverse` has opened."""
        digest = zlib.crc32(serial.encode())
        self.wifi_address = f"192.168.{digest >> 8 & 0xFF}.{digest % 254 + 1}"
        self.clipboard = Clipboard()
        self.focused_at = -float("inf")
        """When a touch last put the cursor into a text field (monotonic seconds)."""
        self.battery = Battery()
        self.settings = default_settings(serial)
        self.packages = default_packages()
        self.files = FileSystem(
            wall=self.wall,
            computed={
                "/proc/uptime": lambda: f"{self.uptime:.2f} {self.uptime * 3.6:.2f}\n".encode(),
                "/proc/sys/kernel/random/boot_id": lambda: f"{self.boot_id}\n".encode(),
                "/proc/version": lambda: b"Linux version 5.10.0-sim (phonefarm) #1 SMP PREEMPT\n",
            },
        )
        self.sdk = self.personality.sdk
        self.media = MediaStore(self.files, lambda: self.sdk)
        self.ask_reboot: Callable[[], None] = lambda: None
        self.app = ShortVideoApp(
            account=self._default_account(),
            record=self.record,
            monotonic=monotonic,
            wall=self.wall,
            read=self.files.read,
            next_post_failure=self._next_post_failure,
        )
        self.apps = Apps(
            video=self.app,
            shop=ShopApp(customer=f"shopper-{serial.lower()}", record=self.record),
            browser=BrowserApp(record=self.record),
            new_account=self._default_account,
        )
        for fault, settings in self.personality.faults.items():
            self.faults.put(fault, settings)
        self._apply_faults()
        self._boot()

    def close(self) -> None:
        """Close the ledger's file."""
        self.apps.stop("simulator stopped")
        self.ledger.close()

    def _default_account(self) -> Account:
        return Account(
            display_name=f"Phone {self.serial}", username=self.serial.lower(), bio="Hello"
        )

    def _boot(self, completes_in: float = 0.0) -> None:
        self._boot_seconds = completes_in
        self.boot_id = str(uuid.uuid4())
        self._booted = self.monotonic()
        self.display.restart()
        if Fault.KEYGUARD_SWIPE in self.faults:
            self.display.cover()
        self.app_pid = 4000
        self.log.write("boot", f"boot completed, boot id {self.boot_id}")

    def wall(self) -> float:
        """Return seconds since 1970."""
        return self._clock.now().timestamp()

    @property
    def uptime(self) -> float:
        """Seconds since this boot."""
        return self.monotonic() - self._booted

    @property
    def reported_serial(self) -> str:
        """What ro.serialno answers; another phone's while the duplicate fault is on."""
        duplicate = self.faults.get(Fault.DUPLICATE_SERIAL)
        return self.serial if duplicate is None else duplicate.as_serial

    @property
    def properties(self) -> dict[str, str]:
        """What getprop prints."""
        stuck = Fault.BOOT_STUCK in self.faults
        booted = self.uptime >= self._boot_seconds and not stuck
        build = build_properties(serial=self.reported_serial, booted=booted, sdk=self.sdk)
        return {**build, **self.personality.properties}

    @property
    def battery_now(self) -> Battery:
        """The battery as it reads, faults included."""
        battery = self.battery
        low = self.faults.get(Fault.BATTERY_LOW)
        if low is not None:
            battery = replace(battery, level=low.level, charging=False)
        hot = self.faults.get(Fault.BATTERY_HOT)
        if hot is not None:
            battery = replace(battery, celsius=hot.celsius)
        if Fault.NO_BATTERY in self.faults:
            battery = Battery(level=0, celsius=0, charging=False, present=False)
        return battery

    @property
    def awake(self) -> bool:
        """Whether the display is on."""
        return self.display.lit

    @property
    def moves(self) -> bool:
        """Whether what is on the display never rests for a second."""
        fault = self.faults.get(Fault.NEVER_IDLE)
        return fault is not None and (fault.everywhere or self.app.plays)

    @property
    def focus(self) -> tuple[str, str]:
        """Package and full activity name of the window in front."""
        if self.display.keyguard or self.display.shade:
            return KEYGUARD_PACKAGE, KEYGUARD_WINDOW
        front = self.apps.front
        if front is None:
            return LAUNCHER_PACKAGE, f"{LAUNCHER_PACKAGE}.Launcher"
        return front.package, f"{front.package}.{front.activity}"

    def record(self, kind: Kind, **detail: Any) -> Entry:
        """Write an effect to the ledger and to the phone's own log."""
        entry = self.ledger.record(kind, **detail)
        self.log.write("simphone", f"{kind} {_summary(detail)}", pid=self.app_pid)
        return entry

    def screen(self) -> View:
        """Return what is on the display now, were it on."""
        self.app.advance()
        if (cover := covering_screen(self.display)) is not None:
            return self.display.shown(cover)
        locale = self.properties["persist.sys.locale"]
        return self.display.shown(self.apps.screen(installed=self.packages, locale=locale))

    def looked_at(self) -> View:
        """Return the screen as a dump finds it; with `screen_slides` not yet in its place."""
        front = self.apps.front
        return self.display.sliding(self.screen(), f"{self.focus[0]} {front and front.place}")

    def blind_screen(self) -> View:
        """Return the one empty view that a phone in trouble shows of any app."""
        return View(kind="android.widget.FrameLayout", bounds=SCREEN, package="android")

    def _display_changed(self) -> None:
        self.app.out_of_sight = self.display.covered
        self.app.track_video()

    def go_home(self) -> None:
        """Show the launcher; the app keeps its state behind it."""
        self.apps.hide()
        self.record(Kind.HOME_PRESSED)

    def open_app(self, package: str) -> bool:
        """Start an app of ours or bring it back; tell whether it was stopped."""
        app = self.apps.find(package)
        if app is None:
            raise ValueError(f"{package} is not one of the phone's apps")
        if not app.running:
            self.app_pid += 17
        self.app.out_of_sight = self.display.covered
        return self.apps.bring_to_front(app)

    def write_file(
        self,
        path: str,
        data: bytes,
        *,
        append: bool = False,
        mode: int = 0o660,
        mtime: int | None = None,
        parents: bool = False,
    ) -> None:
        """Write a file and record it; a lease file is recorded with its epoch."""
        plain = normal_path(path)
        self.files.write(plain, data, append=append, mode=mode, mtime=mtime, parents=parents)
        if plain == LEASE_PATH:
            lease = read_lease(self.files.read(plain))
            if lease.epoch is not None:
                self.ledger.lease = lease
            self.record(Kind.LEASE_WRITTEN, epoch=lease.epoch, run=lease.run, agent=lease.agent)
        else:
            self.record(Kind.FILE_WRITTEN, path=plain, size=len(data), append=append)

    def make_directory(self, path: str, *, parents: bool) -> None:
        """Make a directory and record it; with `parents`, an existing one is no effect."""
        if parents and self.files.is_directory(path):
            return
        self.files.make_directory(path, parents=parents)
        self.record(Kind.DIRECTORY_MADE, path=normal_path(path))

    def remove_file(self, path: str, *, recursive: bool) -> None:
        """Remove a file or a whole directory and record it."""
        if Fault.FILES_STAY in self.faults:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)
        self.files.remove(path, recursive=recursive)
        self.record(Kind.FILE_REMOVED, path=normal_path(path))

    def move_file(self, source: str, target: str) -> None:
        """Rename a file or directory and record it."""
        now = self.files.move(source, target)
        self.record(Kind.FILE_REMOVED, path=normal_path(source))
        self.record(Kind.FILE_WRITTEN, path=now, size=self.files.status(now).size, append=False)

    def scan_media(self, path: str) -> Row | None:
        """Index a media file and record it; None when there is none."""
        row = self.media.scan(path)
        if row is not None:
            self.record(Kind.MEDIA_INDEXED, path=row.path, uri=row.uri)
        return row

    def set_fault(self, fault: Fault, settings: FaultSettings) -> None:
        """Set a fault; the listener applies it to connections."""
        self.ledger.record(Kind.FAULT_SET, fault=fault, settings=asdict(settings))
        if fault is not Fault.REBOOT:
            self.faults.put(fault, settings)
        self._apply_faults()
        if fault is Fault.CONSENT_DIALOG:
            self.app.consent_pending = True
            self.app.track_video()
        if fault is Fault.DISPLAY_TIMES_OUT:
            self.display.touch()
        if fault is Fault.KEYGUARD_SWIPE:
            self.display.cover()

    def own_faults(self) -> list[Fault]:
        """Return the active faults that the personality does not bring."""
        usual = self.personality.faults
        active = self.faults.active()
        return [fault for fault in active if self.faults.get(fault) != usual.get(fault)]

    def restore_faults(self) -> None:
        """Have the personality's faults and no others."""
        for fault in self.own_faults():
            self.clear_fault(fault)
        for fault, settings in self.personality.faults.items():
            if fault not in self.faults:
                self.set_fault(fault, settings)

    def clear_fault(self, fault: Fault) -> None:
        """Clear a fault, if it is active."""
        if self.faults.drop(fault):
            self.ledger.record(Kind.FAULT_CLEARED, fault=fault)
        self._apply_faults()
        self._display_changed()
        if fault is Fault.CONSENT_DIALOG:
            self.app.consent_pending = False
            self.app.track_video()

    def count_down(self, fault: Fault) -> bool:
        """Count one occasion of a fault that waits for its `nth`; end it and tell at that one."""
        settings = self.faults.get(fault)
        if settings is None:
            return False
        if settings.nth > 1:
            self.faults.put(fault, replace(settings, nth=settings.nth - 1))
            return False
        self.clear_fault(fault)
        return True

    def hits_drop_fault(self, command: str) -> bool:
        """Tell whether the drop fault applies to this command; if so, clear it."""
        settings = self.faults.get(Fault.DROP_MID_COMMAND)
        if settings is None or settings.effect or settings.match not in command:
            return False
        return self.count_down(Fault.DROP_MID_COMMAND)

    def _next_post_failure(self) -> PostFailure | None:
        """Return how the next post fails, if it does; the fault ends with it."""
        if Fault.POST_FAILS in self.faults:
            self.clear_fault(Fault.POST_FAILS)
            return PostFailure.REFUSED
        crash = self.faults.get(Fault.POST_CRASHES)
        if crash is None:
            return None
        self.clear_fault(Fault.POST_CRASHES)
        return PostFailure.CRASH_AFTER_POST if crash.posted else PostFailure.CRASH_BEFORE_POST

    def _apply_faults(self) -> None:
        slow = self.faults.get(Fault.POST_SLOW)
        self.app.upload_seconds = UPLOAD_SECONDS if slow is None else slow.seconds
        self.files.full = Fault.STORAGE_FULL in self.faults
        self.app.logged_out = Fault.LOGGED_OUT in self.faults
        self.app.keyboard_drawn = Fault.KEYBOARD_CLAIMED not in self.faults
        self.app.track_video()

    def shut_down(self) -> None:
        """End the running app, as the beginning of a reboot does."""
        self.apps.stop("reboot")

    def boot(self, *, completes_in: float) -> None:
        """Boot with a new boot id; sys.boot_completed is set after so many seconds."""
        for fault in self.faults.ended_by_reboot():
            self.clear_fault(fault)
        self._boot(completes_in)
        self.record(Kind.REBOOTED, boot_id=self.boot_id)

    def describe(self) -> dict[str, Any]:
        """Return the phone's state for the control API."""
        package, activity = self.focus
        account = self.app.account
        return {
            "serial": self.serial,
            "reported_serial": self.reported_serial,
            "boot_id": self.boot_id,
            "uptime_seconds": round(self.uptime, 3),
            "awake": self.awake,
            "keyguard": self.display.keyguard,
            "rotation": self.display.rotation,
            "ui_automation": self.ui_automation.holder,
            "foreground": {"package": package, "activity": activity},
            "app": self.app.describe(),
            "account": {
                "display_name": account.display_name,
                "username": account.username,
                "bio": account.bio,
                "posts": [asdict(post) for post in account.posts],
            },
            "personality": self.personality.name,
            "faults": self.own_faults(),
            "battery": asdict(self.battery_now),
            "storage": {"used": self.files.used, "free": self.files.free},
            "lease": asdict(self.ledger.lease),
            "last_sequence": self.ledger.sequence,
        }


def _summary(detail: dict[str, Any]) -> str:
    words = " ".join(f"{name}={value}" for name, value in detail.items())
    return words.replace("\n", " ")[:300]
