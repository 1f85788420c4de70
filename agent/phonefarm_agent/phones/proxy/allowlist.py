"""The allow-list of shell commands: no metacharacters, and a rule for each command."""

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType

META = frozenset(";|&$`<>(){}*?[]~#!\\")
"""Characters with a meaning for the shell; they may occur only inside quotes."""
META_IN_DOUBLE_QUOTES = frozenset("$`\\")
WORDS_LIMIT = 256
NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
PACKAGE = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)+")
MEDIA_NAME = re.compile(r"content://media/external(_primary)?/(video|images)/media/[0-9]{1,19}")
MEDIA_COLLECTION = re.compile(r"content://media/external/(video|images)/media")
PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]+")
SHARED = "/sdcard/"
SHARED_REALLY = "/storage/emulated/0/"
VIEW = "android.intent.action.VIEW"
SCAN_FILE = "android.intent.action.MEDIA_SCANNER_SCAN_FILE"
DISPLAY = re.compile(r"[0-9]{1,20}")
NUMBER = re.compile(r"-?[0-9]{1,6}")
KEY = re.compile(r"[0-9]{1,3}|[A-Z][A-Z0-9_]{0,63}")
POWER_KEYS = frozenset({"26", "POWER"})


class RequestRefusedError(Exception):
    """The request is not allowed; the text says which rule refused it."""


class Effect(Enum):
    """Whether a command changes anything; only reads pass before `go`."""

    READS = auto()
    ACTS = auto()


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What one run may use: its folders on the phone, its app, its commands.

    *media_folder* is where its app can read; a run that pushes nothing has none. A run without an
    app has no *package*. *urls* are those of its plan, which the phone's viewer may open. A run
    whose plan *installs* may install a file that is in its own folder.
    """

    phone_folder: str
    package: str
    words: frozenset[str]
    media_folder: str = ""
    urls: frozenset[str] = frozenset()
    installs: bool = False

    def __post_init__(self) -> None:
        if self.phone_folder.count("/") < 2 or normalised(self.phone_folder) != self.phone_folder:
            raise ValueError(f"the phone folder must be a plain absolute path: {self.phone_folder}")

        if self.media_folder and (
            not self.media_folder.startswith(SHARED)
            or normalised(self.media_folder) != self.media_folder
            or self.media_folder.count("/") < 3
        ):
            raise ValueError(f"the media folder must be below /sdcard: {self.media_folder}")

    def check_path(self, path: str) -> None:
        """Raise RequestRefusedError unless *path* is the run's folder or below it."""
        plain = normalised(path)
        for folder in (self.phone_folder, self.media_folder):
            if folder and (plain == folder or plain.startswith(folder + "/")):
                return
        raise RequestRefusedError(f"the path is outside the run's folder: {path[:200]}")

    def check_media(self, path: str) -> None:
        """Raise RequestRefusedError unless *path* is a plain file in the run's media folder."""
        _expect(bool(self.media_folder), "this run has no media folder")
        real = SHARED_REALLY + self.media_folder.removeprefix(SHARED)
        _expect(
            PLAIN_PATH.fullmatch(path) is not None
            and normalised(path) == path
            and path.startswith(real + "/"),
            f"the path is not below the run's media folder: {path[:200]}",
        )


@dataclass(frozen=True, kw_only=True)
class Command:
    """An allowed command; `text` is quoted again from the words that were judged."""

    text: str
    effect: Effect


def normalised(path: str) -> str:
    """Return *path* with single slashes; RequestRefusedError if it is relative or has `..`."""
    if not path.startswith("/"):
        raise RequestRefusedError(f"the path is not absolute: {path[:200]}")
    if not path.isprintable():
        raise RequestRefusedError("the path has characters that are not printable")
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise RequestRefusedError(f"the path contains ..: {path[:200]}")
    return "/" + "/".join(parts)


def split(text: str) -> list[str]:
    """Return the words of a command line; RequestRefusedError if it has shell syntax."""
    words: list[str] = []
    word: list[str] | None = None
    quote = ""
    for character in text:
        if not character.isprintable():
            raise RequestRefusedError(f"character {ord(character):#x} in a command")
        if quote:
            word = word if word is not None else []
            if character == quote:
                quote = ""
            elif quote == '"' and character in META_IN_DOUBLE_QUOTES:
                raise RequestRefusedError(f"{character} inside double quotes")
            else:
                word.append(character)
        elif character in "'\"":
            quote = character
            word = word if word is not None else []
        elif character == " ":
            if word is not None:
                words.append("".join(word))
            word = None
        elif character in META:
            raise RequestRefusedError(f"unquoted {character}")
        else:
            word = word if word is not None else []
            word.append(character)
    if quote:
        raise RequestRefusedError("a quote is not closed")
    if word is not None:
        words.append("".join(word))
    if len(words) > WORDS_LIMIT:
        raise RequestRefusedError(f"more than {WORDS_LIMIT} words")
    return words


def check_command(text: str, scope: Scope) -> Command:
    """Return the command to run for *text*; raise RequestRefusedError when it is not allowed."""
    words = split(text)
    if not words:
        raise RequestRefusedError("an interactive shell is not allowed")
    name, *arguments = words
    rule = RULES.get(name) if name in scope.words else None
    if rule is None:
        raise RequestRefusedError(f"the command is not on the run's allow-list: {name[:100]}")
    try:
        effect = rule(arguments, scope)
    except RequestRefusedError as error:
        raise RequestRefusedError(f"{name}: {error}") from error
    return Command(text=shlex.join(words), effect=effect)


def _getprop(arguments: list[str], _scope: Scope) -> Effect:
    _expect(len(arguments) <= 1, "allows exactly one name")
    _expect_all(NAME, arguments)
    return Effect.READS


def _settings(arguments: list[str], _scope: Scope) -> Effect:
    match arguments:
        case ["get", "system" | "secure" | "global", key]:
            _expect_all(NAME, [key])
        case _:
            raise RequestRefusedError("only `settings get NAMESPACE KEY` is allowed")
    return Effect.READS


def _wm(arguments: list[str], _scope: Scope) -> Effect:
    if arguments == ["dismiss-keyguard"]:
        return Effect.ACTS
    allowed = arguments in (["size"], ["density"])
    _expect(allowed, "only `wm size`, `wm density` and `wm dismiss-keyguard` are allowed")
    return Effect.READS


def _pm(arguments: list[str], scope: Scope) -> Effect:
    match arguments:
        case ["install", "-r", path]:
            _expect(scope.installs, "the plan installs nothing")
            _expect(
                path.startswith(f"{scope.phone_folder}/") and normalised(path) == path,
                f"the file is outside the run's folder: {path[:200]}",
            )
            return Effect.ACTS
        case ["path", package]:
            _expect_all(PACKAGE, [package])
        case ["list", "packages", *rest]:
            _expect_all(re.compile(r"-[fdes3]|--show-versioncode|[A-Za-z0-9_.]+"), rest)
        case _:
            raise RequestRefusedError(
                "only `pm path PACKAGE`, `pm list packages` and `pm install -r FILE` are allowed"
            )
    return Effect.READS


def _dumpsys(arguments: list[str], _scope: Scope) -> Effect:
    match arguments:
        case ["battery" | "window" | "activity" | "display" | "input_method"]:
            pass
        case ["window", "windows" | "displays" | "policy"] | [
            "activity",
            "activities" | "top" | "recents",
        ]:
            pass
        case ["package", package]:
            _expect_all(PACKAGE, [package])
        case ["SurfaceFlinger", "--display-id"]:
            pass
        case _:
            raise RequestRefusedError(
                "allows only the services battery, window, activity, display and package NAME"
            )
    return Effect.READS


def _input(arguments: list[str], _scope: Scope) -> Effect:
    match arguments:
        case ["tap", x, y]:
            _expect_all(NUMBER, [x, y])
        case ["swipe", *numbers] if len(numbers) in {4, 5}:
            _expect_all(NUMBER, numbers)
        case ["text", text]:
            _expect(bool(text), "no text")
        case ["keyevent", *keys]:
            keys = keys[1:] if keys[:1] == ["--longpress"] else keys
            _expect(bool(keys), "no key")
            _expect_all(KEY, keys)
            _expect(
                all(_key_name(key) not in POWER_KEYS for key in keys),
                "only the agent may press the power key",
            )
        case _:
            raise RequestRefusedError(
                "only tap X Y, swipe X1 Y1 X2 Y2 [MS], text TEXT and keyevent KEY... are allowed"
            )
    return Effect.ACTS


def _key_name(key: str) -> str:
    """Return a key without what `input` ignores: old releases take KEYCODE_026 for 26.

    Source: AOSP KeyEvent.keyCodeFromString, whose older form reads the rest as a number.
    """
    return key.removeprefix("KEYCODE_").lstrip("0")


def _am(arguments: list[str], scope: Scope) -> Effect:
    match arguments:
        case ["force-stop", package]:
            _expect(bool(scope.package), "the run has no app to stop")
            _expect(package == scope.package, f"the run may stop only {scope.package}")
        case ["start", "-a", action, "-d", url] if action == VIEW:
            _expect(url in scope.urls, f"the plan opens no such URL: {url[:200]}")
        case ["start", *rest]:
            _intent(rest, scope)
        case ["broadcast", "-a", action, "-d", url] if action == SCAN_FILE:
            _expect(url.startswith("file://"), "the run may scan only files")
            scope.check_media(url.removeprefix("file://"))
        case _:
            raise RequestRefusedError(
                "only `am start -n COMPONENT`, `am force-stop PACKAGE`, the URLs of the plan and "
                "the scan of a file are allowed"
            )
    return Effect.ACTS


_INTENT_TAKES = MappingProxyType(
    {"-a": 1, "-c": 1, "-d": 1, "-t": 1, "-f": 1, "--es": 2, "--eu": 2, "--ez": 2, "--ei": 2}
)


def _intent(arguments: list[str], scope: Scope) -> None:
    _expect(bool(scope.package), "the run has no app to start")
    rest = iter(arguments)
    components = 0
    data, granted = "", False
    for argument in rest:
        if argument == "-n":
            component = next(rest, "")
            package, slash, activity = component.partition("/")
            _expect(
                package == scope.package and bool(slash) and bool(activity),
                f"only activities of {scope.package} may be started, not {component[:100]}",
            )
            components += 1
        elif argument in _INTENT_TAKES:
            values = [next(rest, None) for _ in range(_INTENT_TAKES[argument])]
            _expect(None not in values, f"{argument} needs a value")
            data = values[0] or "" if argument == "-d" else data
        elif argument == "--grant-read-uri-permission":
            granted = True
        else:
            _expect(argument in {"-W", "-S"}, f"this option is not allowed: {argument[:100]}")
    _expect(components == 1, "exactly one -n COMPONENT is needed")
    if granted:
        _expect(bool(scope.media_folder), "a run may grant access to files only if it pushes files")
        _expect(
            MEDIA_NAME.fullmatch(data) is not None,
            "a run may grant access only to files in MediaStore",
        )


def _cmd(arguments: list[str], scope: Scope) -> Effect:
    match arguments:
        case ["package", "resolve-activity", "--brief", "-a", action, "-d", url] if action == VIEW:
            _expect(url in scope.urls, f"the plan opens no such URL: {url[:200]}")
        case _:
            raise RequestRefusedError(
                "only `cmd package resolve-activity --brief -a VIEW -d URL` is allowed"
            )
    return Effect.READS


def _content(arguments: list[str], scope: Scope) -> Effect:
    match arguments:
        case ["call", "--uri", "content://media", "--method", "scan_file", "--arg", path]:
            scope.check_media(path)
        case ["query", "--uri", uri, "--projection", "_id", "--where", where]:
            _expect_all(MEDIA_COLLECTION, [uri])
            match = re.fullmatch(r"_data='([^']*)'", where)
            _expect(match is not None, "only `--where _data='PATH'` is allowed")
            scope.check_media(match[1] if match else "")
        case _:
            raise RequestRefusedError("only scan_file and the query for a file's row are allowed")
    return Effect.ACTS


def _uiautomator(arguments: list[str], scope: Scope) -> Effect:
    _expect(arguments[:1] == ["dump"], "only `uiautomator dump` is allowed")
    rest = arguments[1:]
    rest = rest[1:] if rest[:1] == ["--compressed"] else rest
    _expect(len(rest) == 1, "must name the output file: a file in the run's folder, or /dev/tty")
    if rest != ["/dev/tty"]:
        scope.check_path(rest[0])
    return Effect.ACTS


def _screencap(arguments: list[str], scope: Scope) -> Effect:
    rest = arguments[1:] if arguments[:1] == ["-p"] else arguments
    if rest[:1] == ["-d"]:
        _expect_all(DISPLAY, rest[1:2])
        rest = rest[2:]
    _expect(len(rest) <= 1, "accepts only -p, -d DISPLAY and one file")
    for path in rest:
        scope.check_path(path)
    return Effect.ACTS


def _file_word(options: str, scope: Scope, arguments: list[str]) -> Effect:
    paths = [argument for argument in arguments if not argument.startswith("-")]
    for option in arguments:
        if option.startswith("-"):
            _expect(
                len(option) > 1 and set(option[1:]) <= set(options),
                f"this option is not allowed: {option[:100]}",
            )
    _expect(bool(paths), "no path")
    for path in paths:
        scope.check_path(path)
    return Effect.ACTS


RULES: Mapping[str, Callable[[list[str], Scope], Effect]] = MappingProxyType(
    {
        "am": _am,
        "cmd": _cmd,
        "content": _content,
        "cat": lambda arguments, scope: _file_word("", scope, arguments),
        "dumpsys": _dumpsys,
        "getprop": _getprop,
        "input": _input,
        "ls": lambda arguments, scope: _file_word("aln1d", scope, arguments),
        "mkdir": lambda arguments, scope: _file_word("p", scope, arguments),
        "pm": _pm,
        "rm": lambda arguments, scope: _file_word("rf", scope, arguments),
        "screencap": _screencap,
        "settings": _settings,
        "sha256sum": lambda arguments, scope: _file_word("", scope, arguments),
        "uiautomator": _uiautomator,
        "wm": _wm,
    }
)
DEFAULT_WORDS = frozenset(RULES)


def _expect(holds: bool, rule: str) -> None:
    if not holds:
        raise RequestRefusedError(rule)


def _expect_all(pattern: re.Pattern[str], words: list[str]) -> None:
    for word in words:
        _expect(pattern.fullmatch(word) is not None, f"this argument is not allowed: {word[:100]}")
