"""The faults that a simulated phone can have."""

import asyncio
import enum
from dataclasses import dataclass


class Fault(enum.StrEnum):
    """The faults; `reboot` happens once, the others last until cleared."""

    OFFLINE = "offline"
    UNAUTHORIZED = "unauthorized"
    UNPLUG = "unplug"
    RECOVERY = "recovery"
    SLOW = "slow"
    SHELL_HANGS = "shell_hangs"
    STORAGE_FULL = "storage_full"
    FILES_STAY = "files_stay"
    APP_STAYS = "app_stays"
    IGNORES_HOME = "ignores_home"
    BATTERY_LOW = "battery_low"
    BATTERY_HOT = "battery_hot"
    SERVICE_GONE = "service_gone"
    SCREEN_LOCKED = "screen_locked"
    REBOOT = "reboot"
    BOOT_STUCK = "boot_stuck"
    DUPLICATE_SERIAL = "duplicate_serial"
    DROP_MID_COMMAND = "drop_mid_command"
    LOGGED_OUT = "logged_out"
    CONSENT_DIALOG = "consent_dialog"
    POST_SLOW = "post_slow"
    POST_FAILS = "post_fails"
    POST_CRASHES = "post_crashes"


FAULT_DESCRIPTIONS: dict[Fault, str] = {
    Fault.OFFLINE: "the connection is accepted and never answered: adb lists the phone as offline",
    Fault.UNAUTHORIZED: "the phone asks for a key and accepts none",
    Fault.UNPLUG: "connections are cut and the port refuses until cleared",
    Fault.RECOVERY: (
        "adb lists the phone as `mode` (recovery; or bootloader, sideload), no command is run; a "
        "reboot ends it unless `stays` (false)"
    ),
    Fault.SLOW: "every chunk the phone sends is delayed by `milliseconds` (200)",
    Fault.SHELL_HANGS: "a command is accepted and runs only once the fault is cleared",
    Fault.STORAGE_FULL: "every write fails with 'No space left on device'",
    Fault.FILES_STAY: "rm removes nothing and says 'Operation not permitted'",
    Fault.APP_STAYS: "am force-stop ends no app, and says nothing of it",
    Fault.IGNORES_HOME: "the home key does nothing",
    Fault.BATTERY_LOW: "the level reads `level` (5) percent and discharging",
    Fault.BATTERY_HOT: "the temperature reads `celsius` (48)",
    Fault.SERVICE_GONE: "dumpsys cannot find the service `service` (battery)",
    Fault.SCREEN_LOCKED: (
        "the keyguard, with a secret nobody here knows, lies over everything until cleared"
    ),
    Fault.REBOOT: (
        "gone for `seconds` (2), then a new boot id and, for `boot_seconds` (0), no "
        "sys.boot_completed; files and account stay"
    ),
    Fault.BOOT_STUCK: (
        "sys.boot_completed is never set, in this boot and the next ones; a reboot ends it unless "
        "`stays` (true)"
    ),
    Fault.DUPLICATE_SERIAL: "ro.serialno reads `as_serial` (may be empty), as on cheap phones",
    Fault.DROP_MID_COMMAND: (
        "the connection is cut once a command has had its effect: the `nth` (1) whose text has "
        "`match` in it, or which records `effect` (a ledger kind, say posted); clears itself"
    ),
    Fault.LOGGED_OUT: "the app shows its log-in screen",
    Fault.CONSENT_DIALOG: "a consent dialog lies over the app until it is accepted",
    Fault.POST_SLOW: "an upload takes `seconds` (2); only then its post is to be seen",
    Fault.POST_FAILS: "the next tap on Post makes no post and the app says so; clears itself",
    Fault.POST_CRASHES: (
        "the app ends at the next tap on Post, with the post made or, without `posted` (true), "
        "not; clears itself"
    ),
}


MODES = ("recovery", "bootloader", "sideload")
"""What adb calls a phone that has not started Android: the first word of its banner."""

_STAYS = {Fault.RECOVERY: False, Fault.BOOT_STUCK: True}
"""The faults that a reboot may end, and whether they outlive it when nothing is said."""


@dataclass(frozen=True, kw_only=True)
class FaultSettings:
    """The settings of a fault; each field is for the faults that name it."""

    milliseconds: float = 200.0
    seconds: float = 2.0
    boot_seconds: float = 0.0
    level: int = 5
    celsius: float = 48.0
    as_serial: str = ""
    nth: int = 1
    match: str = ""
    effect: str = ""
    posted: bool = True
    mode: str = "recovery"
    service: str = "battery"
    stays: bool | None = None

    def __post_init__(self) -> None:
        check_number("milliseconds", self.milliseconds, 0, 600_000)
        check_number("seconds", self.seconds, 0, 3600)
        check_number("boot_seconds", self.boot_seconds, 0, 3600)
        check_number("level", self.level, 0, 100)
        check_number("celsius", self.celsius, -50, 150)
        check_number("nth", self.nth, 1, 1_000_000)
        if not isinstance(self.posted, bool):
            raise TypeError("posted is true or false")
        if self.stays is not None and not isinstance(self.stays, bool):
            raise TypeError("stays is true or false")
        if self.mode not in MODES:
            raise ValueError(f"mode is one of {', '.join(MODES)}")
        for name in ("as_serial", "match", "effect", "service"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name} is a text")


def check_number(name: str, value: object, low: float, high: float) -> None:
    """Raise TypeError or ValueError unless `value` is a number from `low` to `high`."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} is a number")
    if not low <= value <= high:
        raise ValueError(f"{name} is a number from {low} to {high}")


class Faults:
    """The active faults of a phone."""

    def __init__(self) -> None:
        self._active: dict[Fault, FaultSettings] = {}
        self._changed = asyncio.Event()

    def get(self, fault: Fault) -> FaultSettings | None:
        """Return the settings of an active fault, None when it is not active."""
        return self._active.get(fault)

    def __contains__(self, fault: Fault) -> bool:
        return fault in self._active

    def active(self) -> list[Fault]:
        """Return the active faults in a stable order."""
        return sorted(self._active)

    def put(self, fault: Fault, settings: FaultSettings) -> None:
        """Make `fault` active with `settings`, replacing earlier ones."""
        self._active[fault] = settings
        self._wake()

    def ended_by_reboot(self) -> list[Fault]:
        """Return the active faults that a reboot ends."""
        return [
            fault
            for fault, settings in self._active.items()
            if fault in _STAYS and not (_STAYS[fault] if settings.stays is None else settings.stays)
        ]

    def drop(self, fault: Fault) -> bool:
        """End `fault`; tell whether it was active."""
        was_active = self._active.pop(fault, None) is not None
        self._wake()
        return was_active

    async def ended(self, fault: Fault) -> None:
        """Return once `fault` is not active."""
        while fault in self._active:
            await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
