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
    # What real phones do, by public reports (owner/repository#number).
    NEVER_IDLE = "never_idle"
    DUMP_KILLED = "dump_killed"
    UI_AUTOMATION_TAKEN = "ui_automation_taken"
    UI_SERVER_DIES = "ui_server_dies"
    UI_SERVER_KILLED_AT_START = "ui_server_killed_at_start"
    UI_SERVER_PORT_TAKEN = "ui_server_port_taken"
    UI_SERVER_SLOW = "ui_server_slow"
    UI_SERVER_HANGS = "ui_server_hangs"
    UI_SERVER_OVERFLOWS = "ui_server_overflows"
    UI_SERVER_NOT_CONNECTED = "ui_server_not_connected"
    UI_SERVER_EMPTY = "ui_server_empty"
    UI_SERVER_BLIND = "ui_server_blind"
    UI_SERVER_STALE = "ui_server_stale"
    UI_SERVER_HTTP_500 = "ui_server_http_500"
    DISPLAY_TIMES_OUT = "display_times_out"
    WAKE_FAILS = "wake_fails"
    KEYGUARD_SWIPE = "keyguard_swipe"
    LETTERS_LOST = "letters_lost"
    SET_TEXT_IGNORED = "set_text_ignored"
    CLIPBOARD_DENIED = "clipboard_denied"
    AM_WAIT_HANGS = "am_wait_hangs"
    AM_START_DENIED = "am_start_denied"
    SCREENCAP_WARNS = "screencap_warns"
    SCREENCAP_FAILS = "screencap_fails"
    SECOND_DISPLAY = "second_display"
    KEYBOARD_CLAIMED = "keyboard_claimed"
    LANDSCAPE = "landscape"
    SCREEN_SLIDES = "screen_slides"
    NO_BATTERY = "no_battery"
    FOREIGN_HELPER = "foreign_helper"
    PACKAGE_MANAGER_GONE = "package_manager_gone"
    INSTALL_RESTRICTED = "install_restricted"
    STACK_TRACES = "stack_traces"
    NO_SHELL_V2 = "no_shell_v2"
    ENCODER_FAILS_ABOVE = "encoder_fails_above"
    INJECT_DENIED = "inject_denied"
    SECURE_WINDOW = "secure_window"
    SERVER_CRASHES = "server_crashes"
    SCREEN_SERVER_SLOW = "screen_server_slow"
    API_GONE = "api_gone"


FAULT_DESCRIPTIONS: dict[Fault, str] = {
    Fault.OFFLINE: "the phone accepts connections but never answers: adb lists it as offline",
    Fault.UNAUTHORIZED: "the phone asks for an adb key, but accepts no key",
    Fault.UNPLUG: (
        "the phone cuts its connections, and its port refuses new ones until the fault is cleared"
    ),
    Fault.RECOVERY: (
        "adb lists the phone as `mode` (recovery; or bootloader, sideload), and the phone runs no "
        "commands; a reboot clears the fault, unless `stays` (false) is true"
    ),
    Fault.SLOW: "the phone delays every chunk that it sends by `milliseconds` (200)",
    Fault.SHELL_HANGS: (
        "the phone accepts commands, but runs them only when the fault has been cleared"
    ),
    Fault.STORAGE_FULL: "every write fails with 'No space left on device'",
    Fault.FILES_STAY: "rm removes nothing and prints 'Operation not permitted'",
    Fault.APP_STAYS: "am force-stop stops no app, and prints no error",
    Fault.IGNORES_HOME: "the home key does nothing",
    Fault.BATTERY_LOW: "the battery has `level` (5) percent, and is not charging",
    Fault.BATTERY_HOT: "the battery has a temperature of `celsius` (48)",
    Fault.SERVICE_GONE: "dumpsys cannot find the service `service` (battery)",
    Fault.SCREEN_LOCKED: (
        "the keyguard, which has an unknown secret, covers the screen until the fault is cleared"
    ),
    Fault.REBOOT: (
        "the phone disappears for `seconds` (2), and comes back with a new boot id, its files and "
        "its account; sys.boot_completed is set `boot_seconds` (0) later"
    ),
    Fault.BOOT_STUCK: (
        "sys.boot_completed is not set after a boot; if `stays` (true) is false, a reboot clears "
        "the fault"
    ),
    Fault.DUPLICATE_SERIAL: "ro.serialno is `as_serial` (which can be empty), as on cheap phones",
    Fault.DROP_MID_COMMAND: (
        "after the effect of the `nth` (1) matching command, the phone cuts the connection, and "
        "the fault clears itself; a command matches if its text contains `match`, or if it "
        "records `effect` (a kind of ledger entry, for example posted)"
    ),
    Fault.LOGGED_OUT: "the app shows its login screen",
    Fault.CONSENT_DIALOG: "a consent dialog covers the app until somebody accepts it",
    Fault.POST_SLOW: "each upload takes `seconds` (2); only then does the app show the post",
    Fault.POST_FAILS: (
        "the next tap on Post fails, and the app shows an error; the fault then clears itself"
    ),
    Fault.POST_CRASHES: (
        "at the next tap on Post, the app crashes after it has posted; if `posted` (true) is "
        "false, it crashes before; the fault then clears itself"
    ),
    Fault.NEVER_IDLE: (
        "while a video plays, `uiautomator dump` waits 10 s for the screen to become idle, then "
        "gives up; if `everywhere` (false) is true, it always does so; if `compressed_helps` "
        "(false) is true, dumps with --compressed succeed (phone-harness#77, uiautomator2#116, "
        "mobilewright#117)"
    ),
    Fault.DUMP_KILLED: (
        "`uiautomator dump` prints Killed and exits with 137 (AndroidViewClient#181)"
    ),
    Fault.UI_AUTOMATION_TAKEN: (
        "another program uses the phone's only UiAutomation: dumps and the UI server print "
        "'already registered!' (uiautomator2#1013, xiaocong/uiautomator#218)"
    ),
    Fault.UI_SERVER_DIES: (
        "the UI server exits at the `nth` (1) call, before the call has an effect; if "
        "`after_effect` (false) is true, it exits after the effect; the fault then clears itself "
        "(uiautomator2#1084)"
    ),
    Fault.UI_SERVER_KILLED_AT_START: (
        "when the UI server starts, it prints Killed and exits with 137 (uiautomator2#1076)"
    ),
    Fault.UI_SERVER_PORT_TAKEN: (
        "the next `nth` (1) starts of the UI server find their port in use (uiautomator2#1127)"
    ),
    Fault.UI_SERVER_SLOW: (
        "each call to the UI server takes `milliseconds` (200) longer (uiautomator2#867)"
    ),
    Fault.UI_SERVER_HANGS: (
        "the UI server accepts calls, but answers them only when the fault has been cleared "
        "(uiautomator2#1122)"
    ),
    Fault.UI_SERVER_OVERFLOWS: (
        "a dump of more than 30 levels fails with StackOverflowError (uiautomator2#1073)"
    ),
    Fault.UI_SERVER_NOT_CONNECTED: (
        "each call to the UI server fails with 'UiAutomation not connected!'"
    ),
    Fault.UI_SERVER_EMPTY: "the UI server's dump is empty",
    Fault.UI_SERVER_BLIND: (
        "the UI server sees one empty FrameLayout of `android` (uiautomator2#895)"
    ),
    Fault.UI_SERVER_STALE: "the UI server repeats its last dump (mobilecli#439)",
    Fault.UI_SERVER_HTTP_500: "the UI server answers each call with HTTP status 500",
    Fault.DISPLAY_TIMES_OUT: (
        "the display turns off `seconds` (2) after the last touch or key; `am start` does not "
        "turn it on (appium#6235, cocoon#509)"
    ),
    Fault.WAKE_FAILS: "the key WAKEUP does not turn on the display (appium#8108)",
    Fault.KEYGUARD_SWIPE: (
        "after the display has been off, a keyguard without a secret covers the screen until it "
        "is dismissed; `dumpsys trust` reports deviceLocked=0 (appium-adb#407, agi#868)"
    ),
    Fault.LETTERS_LOST: (
        "the phone loses the first `count` (2) letters that are typed within 0.3 s after the "
        "touch that set the cursor (argent#562)"
    ),
    Fault.SET_TEXT_IGNORED: (
        "setText returns true, but changes nothing (appium-uiautomator2-server#577)"
    ),
    Fault.CLIPBOARD_DENIED: "the shell user has no access to the clipboard (uiautomator2#1010)",
    Fault.AM_WAIT_HANGS: "`am start -W` opens the app and never returns (appium#12962)",
    Fault.AM_START_DENIED: (
        "`am start` prints a SecurityException, exits with 255 and opens nothing (appium#11307)"
    ),
    Fault.SCREENCAP_WARNS: (
        "before the PNG, screencap prints a warning on stderr or, if `on_stdout` (false) is true, "
        "on stdout (MaaAssistantArknights#9942)"
    ),
    Fault.SCREENCAP_FAILS: "screencap prints nothing and exits with 1 (appium#9369)",
    Fault.SECOND_DISPLAY: (
        "the phone is a foldable: without -d, screencap shows the folded display, which is black "
        "(mobile-mcp#158)"
    ),
    Fault.KEYBOARD_CLAIMED: (
        "dumpsys reports mInputShown=true although there is no keyboard on the screen; BACK "
        "leaves the app's screen (appium-adb#56)"
    ),
    Fault.LANDSCAPE: (
        "the screen is rotated, but `wm size` reports the unrotated size (appium#11656)"
    ),
    Fault.SCREEN_SLIDES: (
        "the screen slides into place: its first `count` (2) dumps show the views lower than taps "
        "find them (Maestro#953, agent-device#334)"
    ),
    Fault.NO_BATTERY: (
        "dumpsys battery reports present: false, status: 1, level: 0 (device-androidia#164)"
    ),
    Fault.FOREIGN_HELPER: (
        "another tool's process, `process` (com.github.uiautomator), is running (uiautomator2#329)"
    ),
    Fault.PACKAGE_MANAGER_GONE: "pm cannot find the service package, as while Android restarts",
    Fault.INSTALL_RESTRICTED: (
        "pm refuses every APK with INSTALL_FAILED_USER_RESTRICTED, until `Install via USB` is "
        "allowed in the developer options (sndcpy#64, gnirehtet#514: MIUI)"
    ),
    Fault.STACK_TRACES: (
        "each command that runs in app_process prints a stack trace on stderr, but does its work "
        "(AppAgent#101, scrcpy#1116: MIUI)"
    ),
    Fault.NO_SHELL_V2: (
        "the phone has Android 6: it refuses shell v2, and its banner names no features (dadb#50)"
    ),
    Fault.ENCODER_FAILS_ABOVE: (
        "the phone's own encoder fails if a side of the video is longer than `pixels` (1024); the "
        "encoder c2.android.avc.encoder works (scrcpy#6425)"
    ),
    Fault.INJECT_DENIED: (
        "the phone refuses touches and keys from the shell user and from scrcpy-server, because "
        "they lack INJECT_EVENTS (scrcpy#4352, #5652: MIUI)"
    ),
    Fault.SECURE_WINDOW: "pictures and videos of every app are black (scrcpy#4821)",
    Fault.SERVER_CRASHES: (
        "scrcpy-server exits with an encoder exception `seconds` (2) after the first picture "
        "(scrcpy#3279)"
    ),
    Fault.SCREEN_SERVER_SLOW: "scrcpy-server takes `seconds` (2) longer to start (scrcpy#6354)",
    Fault.API_GONE: (
        "scrcpy-server exits before the first picture, because Android lacks createDisplay "
        "(scrcpy#4908, #6729)"
    ),
}


MODES = ("recovery", "bootloader", "sideload")
"""The names in adb for a phone that has not started Android: the first word of its banner."""

_STAYS = {Fault.RECOVERY: False, Fault.BOOT_STUCK: True}
"""The faults that a reboot may clear, and the default of their setting `stays`."""


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
    count: int = 2
    everywhere: bool = False
    compressed_helps: bool = False
    after_effect: bool = False
    on_stdout: bool = False
    process: str = "com.github.uiautomator"
    pixels: int = 1024

    def __post_init__(self) -> None:
        check_number("milliseconds", self.milliseconds, 0, 600_000)
        check_number("seconds", self.seconds, 0, 3600)
        check_number("boot_seconds", self.boot_seconds, 0, 3600)
        check_number("level", self.level, 0, 100)
        check_number("celsius", self.celsius, -50, 150)
        check_number("nth", self.nth, 1, 1_000_000)
        check_number("count", self.count, 1, 1000)
        check_number("pixels", self.pixels, 1, 10_000)
        for name in ("posted", "everywhere", "compressed_helps", "after_effect", "on_stdout"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be true or false")
        if self.stays is not None and not isinstance(self.stays, bool):
            raise TypeError("stays must be true or false")
        if self.mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}")
        for name in ("as_serial", "match", "effect", "service", "process"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name} must be text")


def check_number(name: str, value: object, low: float, high: float) -> None:
    """Raise TypeError or ValueError unless `value` is a number from `low` to `high`."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number")
    if not low <= value <= high:
        raise ValueError(f"{name} must be a number from {low} to {high}")


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
