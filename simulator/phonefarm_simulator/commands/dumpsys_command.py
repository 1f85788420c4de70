"""What the services of Android tell of themselves: `dumpsys NAME`."""

from collections.abc import Callable, Mapping

from phonefarm_simulator.commands.call import Call, Table
from phonefarm_simulator.commands.system_commands import running_processes
from phonefarm_simulator.faults import Fault
from phonefarm_simulator.phone import KEYGUARD_WINDOW, Phone
from phonefarm_simulator.views import HEIGHT, WIDTH


async def dumpsys(call: Call) -> int:
    """Print what a service tells; options are passed over."""
    words = [word for word in call.arguments if not word.startswith("-")]
    phone = call.phone
    gone = phone.faults.get(Fault.SERVICE_GONE)
    if gone is not None and words[:1] == [gone.service]:
        return await call.complain(f"Can't find service: {gone.service}")
    match words:
        case ["package", name, *_]:
            await call.say(_package(phone, name))
        case ["SurfaceFlinger", *_]:
            await call.say(_displays(phone))
        case [name, *_] if name in _TEXTS:
            await call.say(_TEXTS[name](phone))
        case [name, *_]:
            return await call.complain(f"Can't find service: {name}")
        case _:
            names = sorted({*_TEXTS, "package", "SurfaceFlinger"})
            listed = "".join(f"\n  {name}" for name in names)
            await call.say(f"Currently running services:{listed}")
    return 0


def _battery(phone: Phone) -> str:
    battery = phone.battery_now
    status = (2 if battery.charging else 3) if battery.present else 1
    return (
        "Current Battery Service state:\n"
        f"  AC powered: {_truth(not battery.present)}\n"
        f"  USB powered: {_truth(battery.charging)}\n  Wireless powered: false\n"
        "  Max charging current: 500000\n"
        f"  status: {status}\n  health: 2\n  present: {_truth(battery.present)}\n"
        f"  level: {battery.level}\n  scale: 100\n  voltage: {3600 + battery.level * 6}\n"
        f"  temperature: {round(battery.celsius * 10)}\n  technology: Li-ion"
    )


def _window(phone: Phone) -> str:
    package, activity = phone.focus
    app = f"{package}/{activity}"
    window = KEYGUARD_WINDOW if phone.display.keyguard else app
    width, height = phone.display.size
    shown, secure = _truth(phone.display.keyguard), _truth(phone.display.locked)
    return (
        "WINDOW MANAGER WINDOWS (dumpsys window windows)\n"
        f"  mCurrentFocus=Window{{5f1e0c3 u0 {window}}}\n"
        f"  mFocusedApp=ActivityRecord{{2b7d911 u0 {app} t12}}\n"
        f"  mAwake={_truth(phone.awake)} mRotation={phone.display.rotation}\n"
        f"  isKeyguardShowing={shown}\n"
        "    KeyguardServiceDelegate\n"
        f"      showing={shown}\n      inputRestricted={shown}\n      secure={secure}\n"
        f"      screenState=SCREEN_STATE_{'ON' if phone.awake else 'OFF'}\n"
        f"      interactiveState=INTERACTIVE_STATE_{'AWAKE' if phone.awake else 'SLEEP'}\n"
        "  Display: mDisplayId=0\n"
        f"    init={WIDTH}x{HEIGHT} 320dpi cur={width}x{height} app={width}x{height}"
    )


def _activity(phone: Phone) -> str:
    package, activity = phone.focus
    record = f"ActivityRecord{{2b7d911 u0 {package}/{activity} t12}}"
    pid = running_processes(phone).get(package, 0)
    return (
        "ACTIVITY MANAGER ACTIVITIES (dumpsys activity activities)\n"
        f"  mResumedActivity: {record}\n  topResumedActivity={record}\n"
        f"  TASK {package} id=12\n    ACTIVITY {package}/{activity} 2b7d911 pid={pid}"
    )


def _power(phone: Phone) -> str:
    return (
        "POWER MANAGER (dumpsys power)\n"
        f"  mWakefulness={'Awake' if phone.awake else 'Asleep'}\n"
        f"  mHoldingDisplaySuspendBlocker={_truth(phone.awake)}"
    )


def _trust(phone: Phone) -> str:
    """Tell deviceLocked=1 only of a lock with a secret: a swipe lock is none here."""
    return (
        "Trust manager state:\n"
        ' User "Owner" (id=0, flags=0x4c13) (current): trustState=UNTRUSTED,'
        f" trustManaged=0, deviceLocked={int(phone.display.locked)}, isActiveUnlockRunning=0,"
        " strongAuthRequired=0x0\n   Enabled agents:"
    )


def _display(phone: Phone) -> str:
    width, height = phone.display.size
    return (
        "DISPLAY MANAGER (dumpsys display)\n"
        f"  real {width} x {height}, orientation={phone.display.rotation}\n"
        f"  mScreenState={'ON' if phone.awake else 'OFF'}"
    )


def _input_method(phone: Phone) -> str:
    front = phone.apps.front
    drawn = front is not None and front.keyboard_drawn and front.focused_field() is not None
    shown = drawn or Fault.KEYBOARD_CLAIMED in phone.faults
    return (
        f"  mInputShown={_truth(shown)}\n"
        "  mCurMethodId=com.android.inputmethod.latin/.LatinIME\n"
        f"  mIsInputViewShown={_truth(drawn)}"
    )


def _accessibility(phone: Phone) -> str:
    text = "ACCESSIBILITY MANAGER (dumpsys accessibility)\nUser state[\n     attributes:{id=0}]"
    taken = phone.ui_automation.holder or Fault.UI_AUTOMATION_TAKEN in phone.faults
    return text + (
        "\nUi Automation[eventTypes=TYPES_ALL_MASK, notificationTimeout=0]" if taken else ""
    )


def _package(phone: Phone, name: str) -> str:
    package = phone.packages.get(name)
    if package is None:
        return f"Unable to find package: {name}"
    flags = "SYSTEM " if package.system else ""
    return (
        f"Packages:\n  Package [{name}] (1a2b3c4):\n"
        f"    versionCode={package.code} minSdk=24 targetSdk=34\n"
        f"    versionName={package.version}\n    codePath={package.path}\n"
        f"    flags=[ {flags}HAS_CODE ALLOW_CLEAR_USER_DATA ]\n"
        f"    pkgFlags=[ {flags}HAS_CODE ALLOW_CLEAR_USER_DATA ]\n"
        f"    firstInstallTime={package.installed_at}\n"
        f"    lastUpdateTime={package.installed_at}\n"
        f"    signatures=PackageSignatures{{5e1f0a2 version:3, signatures:[{package.signature}], "
        "past signatures:[]}"
    )


MAIN_DISPLAY = "4619827259835644672"
FOLDED_DISPLAY = "4619827551948147201"


def _displays(phone: Phone) -> str:
    """Tell what `dumpsys SurfaceFlinger --display-id` does; on a foldable the folded one first."""
    lines = [f'Display {MAIN_DISPLAY} (HWC display 0): port=0 pnpId=GGL displayName=""']
    if Fault.SECOND_DISPLAY in phone.faults:
        lines.insert(
            0, f'Display {FOLDED_DISPLAY} (HWC display 3): port=1 pnpId=GGL displayName=""'
        )
    return "\n".join(lines)


def _truth(value: object) -> str:
    return "true" if value else "false"


_TEXTS: Mapping[str, Callable[[Phone], str]] = {
    "accessibility": _accessibility,
    "activity": _activity,
    "battery": _battery,
    "display": _display,
    "input_method": _input_method,
    "power": _power,
    "trust": _trust,
    "window": _window,
}
COMMANDS: Table = {"dumpsys": dumpsys}
