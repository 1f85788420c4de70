"""Commands for the phone itself: getprop, settings, wm, dumpsys, logcat, ps, date."""

import time

from phonefarm_simulator.commands.call import Call, Table, split_flags
from phonefarm_simulator.faults import Fault
from phonefarm_simulator.ledger import Kind
from phonefarm_simulator.views import APP_PACKAGE, HEIGHT, LAUNCHER_PACKAGE, WIDTH

_NAMESPACES = ("global", "secure", "system")
_LOGCAT_FLAGS_WITH_VALUE = ("-b", "-v", "-t", "-T", "-m", "-e", "-r", "-n", "-f", "-G")


async def getprop(call: Call) -> int:
    """Print one property, a default for an unset one, or all of them."""
    properties = call.phone.properties
    if not call.arguments:
        for name, value in sorted(properties.items()):
            await call.say(f"[{name}]: [{value}]")
        return 0
    default = call.arguments[1] if len(call.arguments) > 1 else ""
    await call.say(properties.get(call.arguments[0], default))
    return 0


async def setprop(call: Call) -> int:
    """Refuse: properties of a phone in production cannot be set by the shell user."""
    name = call.arguments[0] if call.arguments else ""
    return await call.complain(f"setprop: failed to set property '{name}': permission denied")


async def settings(call: Call) -> int:
    """Read, write, delete and list settings."""
    stored = call.phone.settings
    match call.arguments:
        case ["get", namespace, key] if namespace in _NAMESPACES:
            await call.say(stored.get((namespace, key), "null"))
        case ["put", namespace, key, value] if namespace in _NAMESPACES:
            stored[(namespace, key)] = value
            call.phone.record(Kind.SETTING_CHANGED, namespace=namespace, key=key, value=value)
        case ["delete", namespace, key] if namespace in _NAMESPACES:
            gone = stored.pop((namespace, key), None) is not None
            call.phone.record(Kind.SETTING_CHANGED, namespace=namespace, key=key, value=None)
            await call.say(f"Deleted {int(gone)} rows")
        case ["list", namespace] if namespace in _NAMESPACES:
            for (where, key), value in sorted(stored.items()):
                if where == namespace:
                    await call.say(f"{key}={value}")
        case _:
            return await call.complain("Invalid command: settings get|put|delete|list", status=255)
    return 0


async def wm(call: Call) -> int:
    """Tell the display's size and density."""
    match call.arguments:
        case ["size"]:
            await call.say(f"Physical size: {WIDTH}x{HEIGHT}")
        case ["density"]:
            await call.say("Physical density: 320")
        case _:
            return await call.complain(
                "Error: only wm size and wm density are known here", status=255
            )
    return 0


async def dumpsys(call: Call) -> int:
    """Print what a service tells; battery, window, activity, power and package matter most."""
    words = [word for word in call.arguments if not word.startswith("-")]
    gone = call.phone.faults.get(Fault.SERVICE_GONE)
    if gone is not None and words[:1] == [gone.service]:
        return await call.complain(f"Can't find service: {gone.service}")
    match words:
        case ["battery", *_]:
            text = _battery(call)
        case ["window", *_]:
            package, activity = call.phone.focus
            text = (
                "WINDOW MANAGER WINDOWS (dumpsys window windows)\n"
                f"  mCurrentFocus=Window{{5f1e0c3 u0 {package}/{activity}}}\n"
                f"  mFocusedApp=ActivityRecord{{2b7d911 u0 {package}/{activity} t12}}\n"
                f"  mAwake={str(call.phone.awake).lower()} mRotation=0\n"
                f"  isKeyguardShowing={str(call.phone.locked).lower()}"
            )
        case ["activity", *_]:
            text = _activity(call)
        case ["power", *_]:
            held = str(call.phone.awake).lower()
            wakefulness = "Awake" if call.phone.awake else "Asleep"
            text = (
                "POWER MANAGER (dumpsys power)\n"
                f"  mWakefulness={wakefulness}\n  mHoldingDisplaySuspendBlocker={held}"
            )
        case ["trust", *_]:
            locked = int(call.phone.locked)
            text = (
                "Trust manager state:\n"
                ' User "Owner" (id=0, flags=0x4c13) (current): trustState=UNTRUSTED,'
                f" trustManaged=0, deviceLocked={locked}, isActiveUnlockRunning=0,"
                " strongAuthRequired=0x0\n   Enabled agents:"
            )
        case ["display", *_]:
            text = f"DISPLAY MANAGER (dumpsys display)\n  real {WIDTH} x {HEIGHT}, orientation=0"
        case ["input_method", *_]:
            shown = call.phone.app.in_front and call.phone.app.focused_field() is not None
            text = (
                f"  mInputShown={str(shown).lower()}\n"
                "  mCurMethodId=com.android.inputmethod.latin/.LatinIME"
            )
        case ["package", name, *_] if name in call.phone.packages:
            package_record = call.phone.packages[name]
            text = (
                f"Packages:\n  Package [{name}] (1a2b3c4):\n"
                f"    versionCode={package_record.code} minSdk=24 targetSdk=34\n"
                f"    versionName={package_record.version}\n    codePath={package_record.path}"
            )
        case ["package", name, *_]:
            text = f"Unable to find package: {name}"
        case [name, *_]:
            return await call.complain(f"Can't find service: {name}")
        case _:
            text = (
                "Currently running services:\n  activity\n  battery\n  display\n  input_method\n"
                "  package\n  power\n  trust\n  window"
            )
    await call.say(text)
    return 0


def _battery(call: Call) -> str:
    battery = call.phone.battery_now
    charging = str(battery.charging).lower()
    return (
        "Current Battery Service state:\n"
        f"  AC powered: false\n  USB powered: {charging}\n  Wireless powered: false\n"
        "  Max charging current: 500000\n"
        f"  status: {2 if battery.charging else 3}\n  health: 2\n  present: true\n"
        f"  level: {battery.level}\n  scale: 100\n  voltage: {3600 + battery.level * 6}\n"
        f"  temperature: {round(battery.celsius * 10)}\n  technology: Li-ion"
    )


def _activity(call: Call) -> str:
    package, activity = call.phone.focus
    record = f"ActivityRecord{{2b7d911 u0 {package}/{activity} t12}}"
    lines = [
        "ACTIVITY MANAGER ACTIVITIES (dumpsys activity activities)",
        f"  mResumedActivity: {record}",
        f"  topResumedActivity={record}",
        f"  TASK {package} id=12",
        f"    ACTIVITY {package}/{activity} 2b7d911 pid={_processes(call).get(package, 0)}",
    ]
    return "\n".join(lines)


async def logcat(call: Call) -> int:
    """Print the log: -d and stop, -c to clear, -t the last N or from a time on; else it goes on."""
    flags: dict[str, str] = {}
    words = iter(call.arguments)
    for word in words:
        if word in _LOGCAT_FLAGS_WITH_VALUE:
            flags[word] = next(words, "")
        elif word.startswith("-"):
            flags[word] = ""
    log = call.phone.log
    if "-c" in flags:
        log.clear()
        return 0
    lines = log.since(0)
    last = flags.get("-t") or flags.get("-T") or ""
    if last.isdecimal():
        lines = lines[-int(last[:9]) :] if int(last[:9]) else []
    elif last:
        lines = [entry for entry in lines if entry[1][: len(last)] >= last]
    await call.say("--------- beginning of main")
    seen = log.number
    for _number, line in lines:
        await call.say(line)
    if "-d" in flags or "-t" in flags:
        return 0
    while True:
        await log.grown_past(seen)
        for number, line in log.since(seen):
            seen = number
            await call.say(line)


def _processes(call: Call) -> dict[str, int]:
    running = {
        "init": 1,
        "system_server": 1200,
        LAUNCHER_PACKAGE: 2100,
        "com.android.inputmethod.latin": 2300,
    }
    if call.phone.app.running:
        running[APP_PACKAGE] = call.phone.app_pid
    return running


async def ps(call: Call) -> int:
    """List the processes."""
    await call.say("USER           PID  PPID     VSZ    RSS WCHAN            ADDR S NAME")
    for name, pid in _processes(call).items():
        user = "root" if pid == 1 else "u0_a123"
        await call.say(f"{user:<10} {pid:7}     1 1234567  45678 do_epoll_wait       0 S {name}")
    return 0


async def pidof(call: Call) -> int:
    """Print the process id of each named process; fail when none runs."""
    found = [str(_processes(call)[name]) for name in call.arguments if name in _processes(call)]
    if not found:
        return 1
    await call.say(" ".join(found))
    return 0


async def date(call: Call) -> int:
    """Print the time in UTC, in the format after a + when given."""
    moment = time.gmtime(call.phone.wall())
    form = "%a %b %e %H:%M:%S UTC %Y"
    for word in call.arguments:
        if word.startswith("+"):
            form = word[1:].replace("%s", str(int(call.phone.wall())))
    await call.say(time.strftime(form, moment))
    return 0


async def identity(call: Call) -> int:
    """Print who the shell runs as."""
    await call.say(
        "uid=2000(shell) gid=2000(shell) groups=2000(shell),1004(input),1007(log),"
        "1015(sdcard_rw),3003(inet) context=u:r:shell:s0"
    )
    return 0


async def whoami(call: Call) -> int:
    """Print the shell user's name."""
    await call.say("shell")
    return 0


async def getenforce(call: Call) -> int:
    """Print SELinux's mode."""
    await call.say("Enforcing")
    return 0


async def uptime(call: Call) -> int:
    """Print how long the phone has been up."""
    await call.say(
        f" up {int(call.phone.uptime) // 60} min,  0 users,  load average: 0.1, 0.1, 0.1"
    )
    return 0


async def uname(call: Call) -> int:
    """Print the kernel's name, with -a all of it."""
    flags, _rest = split_flags(call.arguments)
    await call.say("Linux localhost 5.10.0-sim #1 aarch64" if "a" in flags else "Linux")
    return 0


async def svc(call: Call) -> int:
    """Accept `svc power stayon` and switching wifi and data; nothing here depends on them."""
    if call.arguments[:1] and call.arguments[0] in {"power", "wifi", "data"}:
        return 0
    return await call.complain("Available commands: power wifi data", status=1)


async def ime(call: Call) -> int:
    """List the one input method; it types what a keyboard can, which is ASCII."""
    if call.arguments[:1] == ("list",):
        await call.say("com.android.inputmethod.latin/.LatinIME")
        return 0
    return await call.complain("Error: only ime list is known here", status=255)


async def reboot(call: Call) -> int:
    """Begin a reboot, which will cut this connection."""
    call.phone.ask_reboot()
    return 0


COMMANDS: Table = {
    "date": date,
    "dumpsys": dumpsys,
    "getenforce": getenforce,
    "getprop": getprop,
    "id": identity,
    "ime": ime,
    "logcat": logcat,
    "pidof": pidof,
    "ps": ps,
    "reboot": reboot,
    "setprop": setprop,
    "settings": settings,
    "svc": svc,
    "uname": uname,
    "uptime": uptime,
    "whoami": whoami,
    "wm": wm,
}
