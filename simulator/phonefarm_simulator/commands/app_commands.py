"""Commands for apps: am, pm, monkey and `cmd`."""

from dataclasses import dataclass, field

from phonefarm_simulator.apk_manifest import read_manifest
from phonefarm_simulator.commands import ime_commands
from phonefarm_simulator.commands.call import Call, Table
from phonefarm_simulator.factory import Package
from phonefarm_simulator.faults import Fault
from phonefarm_simulator.files import normal_path
from phonefarm_simulator.ledger import Kind
from phonefarm_simulator.views import (
    APP_PACKAGE,
    BROWSER_PACKAGE,
    LAUNCHER_PACKAGE,
    SHOP_PACKAGE,
)

SEND = "android.intent.action.SEND"
SCAN_FILE = "android.intent.action.MEDIA_SCANNER_SCAN_FILE"
VIEW = "android.intent.action.VIEW"
WEB = ("http://", "https://")
CHOOSER = "android/com.android.internal.app.ResolverActivity"
"""The activity that asks which app to use, when several can open a URL and none is the default."""
MAIN = "android.intent.action.MAIN"
STREAM = "android.intent.extra.STREAM"
_ACTIVITIES = {
    APP_PACKAGE: ("MainActivity", "ShareActivity"),
    BROWSER_PACKAGE: ("MainActivity",),
    SHOP_PACKAGE: ("MainActivity",),
}
"""The activities that other apps may open, for each app."""
LARGEST_APK_BYTES = 200 * 1024 * 1024

_FLAGS_WITH_VALUE = {"-a", "-d", "-t", "-c", "-f", "-p", "--user", "-n", "--display"}
_EXTRAS = {"-e", "--es", "--eu", "--ei", "--ez", "--el", "--ef"}


@dataclass(kw_only=True)
class Intent:
    """The intent of an `am start`."""

    action: str = ""
    data: str = ""
    kind: str = ""
    grants_read: bool = False
    component: str = ""
    package: str = ""
    category: str = ""
    wait: bool = False
    stop_first: bool = False
    extras: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [
            f"{name}={value}"
            for name, value in (("act", self.action), ("dat", self.data), ("cmp", self.component))
            if value
        ]
        return "Intent { " + " ".join(parts) + (" (has extras) }" if self.extras else " }")


def read_intent(words: tuple[str, ...]) -> Intent:
    """Return the intent of am's words; raise ValueError for a word that is none of them."""
    intent = Intent()
    rest = iter(words)
    for word in rest:
        if word in _EXTRAS:
            name, value = next(rest, None), next(rest, None)
            if name is None or value is None:
                raise ValueError(f'Argument expected after "{word}"')
            intent.extras[name] = value
        elif word in _FLAGS_WITH_VALUE:
            given = next(rest, None)
            if given is None:
                raise ValueError(f'Argument expected after "{word}"')
            match word:
                case "-a":
                    intent.action = given
                case "-d":
                    intent.data = given
                case "-t":
                    intent.kind = given
                case "-n":
                    intent.component = given
                case "-p":
                    intent.package = given
                case "-c":
                    intent.category = given
                case _:
                    pass
        elif word == "-W":
            intent.wait = True
        elif word == "-S":
            intent.stop_first = True
        elif word == "--grant-read-uri-permission":
            intent.grants_read = True
        elif word.startswith("--grant-") or word == "--activity-clear-top":
            pass
        elif word.startswith("-"):
            raise ValueError(f"Unknown option: {word}")
        else:
            intent.package = word
    return intent


async def am(call: Call) -> int:
    """Start and stop apps."""
    match call.arguments:
        case ["start" | "start-activity", *words]:
            try:
                intent = read_intent(tuple(words))
            except ValueError as error:
                return await call.complain(f"Error: {error}", status=255)
            return await _start(call, intent)
        case ["force-stop" | "kill" as how, *words] if words:
            front = call.phone.apps.front
            spared = how == "kill" and front is not None and front.package == words[-1]
            if not spared and Fault.APP_STAYS not in call.phone.faults:
                call.phone.apps.stop(how, words[-1])
            return 0
        case ["kill-all"]:
            return 0
        case ["get-current-user"]:
            await call.say("0")
            return 0
        case ["broadcast", "-a", action, "-d", url] if action == SCAN_FILE:
            call.phone.scan_media(url.removeprefix("file://"))
            await call.say("Broadcast completed: result=0")
            return 0
        case ["broadcast", *words]:
            return await _broadcast(call, tuple(words))
        case _:
            return await call.complain("Error: unknown command of am", status=255)


async def _broadcast(call: Call, words: tuple[str, ...]) -> int:
    try:
        intent = read_intent(words)
    except ValueError as error:
        return await call.complain(f"Error: {error}", status=255)
    result = ime_commands.IGNORED
    if intent.action.startswith(ime_commands.ACTIONS):
        result = ime_commands.take_broadcast(call.phone, intent.action, intent.extras)
    data = ', data="success"' if result == ime_commands.DONE else ""
    await call.say(f"Broadcasting: {intent}\nBroadcast completed: result={result}{data}")
    return 0


async def _start(call: Call, intent: Intent) -> int:
    await call.say(f"Starting: {intent}")
    if Fault.AM_START_DENIED in call.phone.faults:
        return await call.complain(
            "\nException occurred while executing 'start':\njava.lang.SecurityException: "
            f"Permission Denial: starting {intent} from null (pid=9121, uid=2000) not exported "
            "from uid 10234",
            status=255,
        )
    package, _slash, activity = intent.component.partition("/")
    activity = activity.removeprefix(package).removeprefix(".")
    target = package or intent.package
    if not target and intent.category.endswith(".HOME"):
        target, activity = LAUNCHER_PACKAGE, "Launcher"
    if target == LAUNCHER_PACKAGE:
        call.phone.go_home()
        return 0
    opens_page = not target and intent.action == VIEW and intent.data.startswith(WEB)
    if opens_page:
        target = BROWSER_PACKAGE
    wanted = activity or ("ShareActivity" if intent.action == SEND else "MainActivity")
    activities = _ACTIVITIES.get(target, ()) if target in call.phone.packages else ()
    # From Android 13 on a named activity gets only what its filter takes: here, videos.
    misfit = wanted == "ShareActivity" and not (intent.kind or "*/*").startswith(("video/", "*/"))
    if misfit or wanted not in activities:
        return await _no_activity(call, intent)
    if intent.stop_first:
        call.phone.apps.stop("force-stop", target)
    was_in_front = call.phone.apps.front is not None and call.phone.apps.front.package == target
    cold = call.phone.open_app(target)
    if opens_page:
        call.phone.apps.browser.open(intent.data)
    if wanted == "ShareActivity":
        _share(call, intent)
    elif was_in_front and not cold:
        await call.say(
            "Warning: Activity not started, intent has been delivered to currently running "
            "top-most instance."
        )
    if intent.wait:
        await call.phone.faults.ended(Fault.AM_WAIT_HANGS)
        state = "COLD" if cold else "HOT"
        await call.say(
            f"Status: ok\nLaunchState: {state}\nActivity: {target}/.{wanted}\n"
            "TotalTime: 184\nWaitTime: 190\nComplete"
        )
    return 0


def _share(call: Call, intent: Intent) -> None:
    """Open the composer on a file that can be read; else the app says so in its log and stays.

    A `content://` name is readable when the intent grants it, which covers its data alone.
    """
    phone, stream = call.phone, intent.extras.get(STREAM, "")
    path, problem = normal_path(stream.removeprefix("file://")), ""
    if stream.startswith("content://"):
        row = phone.media.find(stream)
        path = row.path if row else ""
        if row is None:
            problem = "java.io.FileNotFoundException: No item"
        elif not intent.grants_read or intent.data != stream:
            problem = f"java.lang.SecurityException: {APP_PACKAGE} has no access"
    elif not path.startswith("/sdcard/"):
        problem = "Permission denied"
    if not problem:
        try:
            phone.files.read(path)
        except OSError as error:
            problem = error.strerror or "cannot be read"
    if problem:
        phone.log.write("ShareActivity", f"cannot open {stream}: {problem}", level="E")
    else:
        phone.app.share(stream, path)


async def _no_activity(call: Call, intent: Intent) -> int:
    if intent.component:
        return await call.complain(
            f"Error type 3\nError: Activity class {{{intent.component}}} does not exist."
        )
    return await call.complain(f"Error: Activity not started, unable to resolve {intent}")


async def monkey(call: Call) -> int:
    """Open the app's launcher activity, which is all a farm uses monkey for."""
    words = list(call.arguments)
    package = words[words.index("-p") + 1] if "-p" in words[:-1] else ""
    await call.say(f"  bash arg: -p\n  bash arg: {package}")
    if package not in _ACTIVITIES or package not in call.phone.packages:
        await call.say("** No activities found to run, monkey aborted.")
        return 252
    call.phone.open_app(package)
    await call.say("Events injected: 1\n## Network stats: elapsed time=12ms")
    return 0


async def pm(call: Call) -> int:
    """List, locate, clear, install and remove packages."""
    phone = call.phone
    if Fault.PACKAGE_MANAGER_GONE in phone.faults:
        return await call.complain("cmd: Can't find service: package", status=20)
    match call.arguments:
        case ["list", "packages", *words]:
            return await _list_packages(call, words)
        case ["path", name]:
            if name not in phone.packages:
                return 1
            await call.say(f"package:{phone.packages[name].path}")
            return 0
        case ["resolve-activity", *words] if words[-1].endswith(".HOME"):
            await call.say("priority=0 preferredOrder=0 match=0x108000 isDefault=true")
            await call.say(f"{LAUNCHER_PACKAGE}/.Launcher")
            return 0
        case ["resolve-activity", "--brief", "-a", action, "-d", url] if action == VIEW:
            return await _resolve_page(call, url)
        case ["clear", *words] if words:
            if words[-1] not in phone.packages:
                await call.say("Failed")
                return 1
            phone.apps.clear(words[-1])
            await call.say("Success")
            return 0
        case ["install", *words]:
            return await _install(call, words)
        case ["uninstall", *words] if words:
            return await _uninstall(call, words[-1])
        case ["grant" | "revoke", _, _] | ["disable-user" | "enable", *_]:
            return 0
        case _:
            return await call.complain("Error: unknown command of pm", status=255)


async def _resolve_page(call: Call, url: str) -> int:
    """Print which activity opens a URL: the browser, or the chooser where there are several."""
    browsers = [name for name in call.phone.packages if name.endswith(".browser")]
    if not browsers or not url.startswith(WEB):
        await call.say("No activity found")
        return 0
    chosen = CHOOSER if len(browsers) > 1 else f"{browsers[0]}/.MainActivity"
    await call.say("priority=0 preferredOrder=0 match=0x200000 specificIndex=-1 isDefault=true")
    await call.say(chosen)
    return 0


async def _list_packages(call: Call, words: list[str]) -> int:
    wanted = [word for word in words if not word.startswith("-")]
    for name, package in sorted(call.phone.packages.items()):
        if ("-3" in words and package.system) or ("-s" in words and not package.system):
            continue
        if wanted and wanted[0] not in name:
            continue
        where = f"{package.path}=" if "-f" in words else ""
        await call.say(f"package:{where}{name}")
    return 0


async def _install(call: Call, words: list[str]) -> int:
    """Install from a path, or with -S from as many bytes of the input, as adb install does."""
    paths = [word for word in words if word.startswith("/")]
    if paths:
        try:
            data = call.phone.files.read(paths[-1])
        except OSError:
            return await call.complain(f"Error: Unable to open file: {paths[-1]}", status=255)
    elif "-S" in words[:-1] and words[words.index("-S") + 1].isdecimal():
        size = int(words[words.index("-S") + 1][:12])
        if size > LARGEST_APK_BYTES:
            return await _refuse_install(call, "INSTALL_FAILED_INSUFFICIENT_STORAGE")
        content = bytearray()
        while len(content) < size and (more := await call.stdin.read()):
            content += more
        data = bytes(content)
    else:
        return await call.complain("Error: no package specified", status=255)
    if call.phone.files.full:
        return await _refuse_install(call, "INSTALL_FAILED_INSUFFICIENT_STORAGE")
    if Fault.INSTALL_RESTRICTED in call.phone.faults:
        return await _refuse_install(
            call, "INSTALL_FAILED_USER_RESTRICTED: Install canceled by user"
        )
    manifest = read_manifest(data)
    if manifest is None:
        return await _refuse_install(call, "INSTALL_PARSE_FAILED_NOT_APK: no manifest")
    name = manifest.package
    if (installed := call.phone.packages.get(name)) is not None:
        if installed.signer != manifest.signer:
            why = f"Existing package {name} signatures do not match newer version; ignoring!"
            return await _refuse_install(call, f"INSTALL_FAILED_UPDATE_INCOMPATIBLE: {why}")
        if manifest.code < installed.code and "-d" not in words:
            why = f"Update version code {manifest.code} is older than current {installed.code}"
            code = "INSTALL_FAILED_VERSION_DOWNGRADE: Downgrade detected"
            return await _refuse_install(call, f"{code}: {why}")
    call.phone.packages[name] = Package(
        path=f"/data/app/{name}-1/base.apk",
        version=manifest.version,
        code=manifest.code,
        system=False,
        signer=manifest.signer,
    )
    call.phone.record(Kind.APP_INSTALLED, package=name, version=manifest.version)
    await call.say("Success")
    return 0


async def _refuse_install(call: Call, why: str) -> int:
    """Say why, on the standard output as AOSP's PackageManagerShellCommand does."""
    await call.say(f"Failure [{why}]")
    return 1


async def _uninstall(call: Call, name: str) -> int:
    package = call.phone.packages.get(name)
    if package is None or package.system:
        return await call.complain("Failure [DELETE_FAILED_INTERNAL_ERROR]")
    call.phone.apps.clear(name)
    del call.phone.packages[name]
    call.phone.record(Kind.APP_REMOVED, package=name)
    await call.say("Success")
    return 0


COMMANDS: Table = {"am": am, "monkey": monkey, "pm": pm}
