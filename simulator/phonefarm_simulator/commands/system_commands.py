"""Commands about the phone itself: getprop, settings, wm, logcat, ps, kill, date and such."""

import re
import time
from collections.abc import Callable, Mapping

from phonefarm_simulator.commands.call import Call, Table, split_flags
from phonefarm_simulator.faults import Fault
from phonefarm_simulator.ledger import Kind
from phonefarm_simulator.phone import Phone
from phonefarm_simulator.processes import FIRST_PID
from phonefarm_simulator.views import HEIGHT, LAUNCHER_PACKAGE, WIDTH

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
    """Tell the display's size, which never turns, and density; take a keyguard away."""
    match call.arguments:
        case ["size"]:
            await call.say(f"Physical size: {WIDTH}x{HEIGHT}")
        case ["density"]:
            await call.say("Physical density: 320")
        case ["dismiss-keyguard"]:
            call.phone.display.dismiss_keyguard()
        case _:
            return await call.complain(
                "Error: only wm size, wm density and wm dismiss-keyguard are known here",
                status=255,
            )
    return 0


def _with_time(line: str) -> str:
    """Return a line of `threadtime` as `-v time` prints it (AOSP liblog, logprint)."""
    day, clock, pid, _thread, level, rest = line.split(None, 5)
    tag, _, text = rest.partition(": ")
    return f"{day} {clock} {level}/{tag.rstrip():<8}({pid:>5}): {text}"


def _brief(line: str) -> str:
    return _with_time(line).split(" ", 2)[2]


_LOG_FORMATS: Mapping[str, Callable[[str], str]] = {"time": _with_time, "brief": _brief}


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
    if flags.keys() & {"-c", "--clear"}:
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
    shown = _LOG_FORMATS.get(flags.get("-v", ""), str)
    for _number, line in lines:
        await call.say(shown(line))
    if "-d" in flags or "-t" in flags:
        return 0
    while True:
        await log.grown_past(seen)
        for number, line in log.since(seen):
            seen = number
            await call.say(shown(line))


def running_processes(phone: Phone) -> dict[str, int]:
    """Return the process id of each running program by its name."""
    running = {
        "init": 1,
        "system_server": 1200,
        LAUNCHER_PACKAGE: 2100,
        "com.android.inputmethod.latin": 2300,
    }
    helper = phone.faults.get(Fault.FOREIGN_HELPER)
    if helper is not None:
        running[helper.process] = 8813
    for place, app in enumerate(phone.apps.all):
        if app.running:
            running[app.package] = phone.app_pid + place
    return running | {process.arguments: process.pid for process in phone.processes}


async def ps(call: Call) -> int:
    """List the processes; `-o` names the columns, of which PID, ARGS, NAME and USER are known."""
    words = list(call.arguments)
    columns = words[words.index("-o") + 1].split(",") if "-o" in words[:-1] else []
    found = running_processes(call.phone)
    if not columns:
        await call.say("USER           PID  PPID     VSZ    RSS WCHAN            ADDR S NAME")
        for name, pid in found.items():
            shown = name.split()[0]
            await call.say(
                f"{_user(pid):<10} {pid:7}     1 1234567  45678 do_epoll_wait       0 S {shown}"
            )
        return 0
    for column in columns:
        if column not in {"PID", "ARGS", "NAME", "USER"}:
            return await call.complain(f"ps: bad -o '{column}'")
    await call.say(" ".join(f"{column:>5}" for column in columns))
    for name, pid in found.items():
        row = {"PID": f"{pid:5}", "ARGS": name, "NAME": name.split()[0], "USER": _user(pid)}
        await call.say(" ".join(row[column] for column in columns))
    return 0


def _user(pid: int) -> str:
    if pid == 1:
        return "root"
    return "shell" if pid > FIRST_PID else "u0_a123"


async def kill(call: Call) -> int:
    """End programs by their process ids."""
    status = 0
    for word in call.arguments:
        if word.startswith("-"):
            continue
        if not (word.isdecimal() and call.phone.processes.kill(int(word[:9]))):
            status = await call.complain(f"kill: {word}: No such process")
    return status


async def pkill(call: Call) -> int:
    """End the programs whose command line (-f) or name matches a regular expression."""
    flags, rest = split_flags(call.arguments)
    if not rest:
        return await call.complain("pkill: Needs 1 argument")
    try:
        wanted = re.compile(rest[-1])
    except re.error:
        return await call.complain(f"pkill: bad regex '{rest[-1]}'")
    found = False
    for process in call.phone.processes:
        line = process.arguments if "f" in flags else process.arguments.split()[0]
        if wanted.search(line):
            found = call.phone.processes.kill(process.pid) or found
    return 0 if found else 1


async def pidof(call: Call) -> int:
    """Print the process id of each named process; fail when none runs."""
    found = [
        str(running_processes(call.phone)[name])
        for name in call.arguments
        if name in running_processes(call.phone)
    ]
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


async def reboot(call: Call) -> int:
    """Begin a reboot, which will cut this connection."""
    call.phone.ask_reboot()
    return 0


COMMANDS: Table = {
    "date": date,
    "getenforce": getenforce,
    "getprop": getprop,
    "id": identity,
    "kill": kill,
    "logcat": logcat,
    "pidof": pidof,
    "pkill": pkill,
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
