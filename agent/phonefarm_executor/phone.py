"""Acts on the phone; each text from a caller is passed as one quoted argument."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from phonefarm_executor.adb_link import Answer, Link
from phonefarm_executor.deadlines import Pace
from phonefarm_executor.failures import Code, FailedError
from phonefarm_executor.packages import Packages
from phonefarm_executor.screen import DumpError, Screen, read_screen

COMMAND_SECONDS = 8.0
"""A command's limit. It is less than any action's limit, so that a phone which hangs is told apart
from an action that is slow.
"""
START_SECONDS = 30.0
DUMP_SECONDS = 13.0
"""A dump waits up to 10 s for an idle screen; 11.4 s were measured (phone-harness#77)."""
SETTLE_SECONDS = 0.3
TEXT_AT_ONCE = 100
KEYS_AT_ONCE = 50
SWIPE_MILLISECONDS = 300
_PNG = b"\x89PNG\r\n\x1a\n"
_SIZE = re.compile(r"(Physical|Override) size: (\d{2,5})x(\d{2,5})")
_FOCUS = re.compile(r"mCurrentFocus=Window\{\S+ \S+ ([\w.]+/[\w.$]+)\}")
_TURNED_SIZE = re.compile(r"\bcur=(\d{2,5})x(\d{2,5})\b")
_DISPLAY_ID = re.compile(r"^Display (\d{1,20}) ", re.MULTILINE)
# `dumpsys window policy` (AOSP PhoneWindowManager, KeyguardServiceDelegate, KeyguardStateMonitor).
_DARK = re.compile(r"interactiveState=INTERACTIVE_STATE_(?:SLEEP|OFF)|screenState=SCREEN_STATE_OFF")
_KEYGUARD = re.compile(r"^\s*(?:showing|mIsShowing|mShowingLockscreen)=true", re.MULTILINE)
_DELETE = "KEYCODE_DEL"
_SCAN_FILE = "android.intent.action.MEDIA_SCANNER_SCAN_FILE"
_MEDIA_NAME = re.compile(r"content://media/external(?:_primary)?/(video|images)/media/\d+")
_ROW = re.compile(r"\b_id=(\d+)")
MEDIA_PAUSE_SECONDS = 0.5
_VIEW = "android.intent.action.VIEW"
_COMPONENT = re.compile(r"^([\w.]+/[\w.$]+)$", re.MULTILINE)
_UNRESOLVED = re.compile(r"^Error: Activity not started, unable to resolve", re.MULTILINE)
_AM_ERROR = re.compile(r"^(?:Error|Exception|java\.)", re.MULTILINE)
# `getprop` without a name (AOSP toolbox/toybox): `[name]: [value]`.
_PROPERTY = re.compile(r"^\[([^\]\n]+)\]: \[(.*?)\]$(?=\n\[|\n?\Z)", re.MULTILINE | re.DOTALL)
_CHOOSERS = ("ResolverActivity", "ChooserActivity", "ChooserActivityLauncher")
"""The ends of the names of activities that ask which app to use: AOSP's,
com.android.intentresolver's, and HwResolverActivity of com.huawei.android.internal.app.
"""


class Phone:
    """One phone. Everything raises what Link.shell raises."""

    def __init__(self, link: Link, pace: Pace, *, folder: str) -> None:
        self._link = link
        self._pace = pace
        self._folder = folder
        self.packages = Packages(self._run, self.push, pace, folder=folder)
        self.size = (0, 0)
        """Width and height of the upright screen; `wm size` never turns with it."""
        self.rotation: int | None = None
        """The rotation at the last look, in quarter turns; None before the first."""

    def greet(self, package: str) -> None:
        """Learn by reads alone that the phone answers, its size, and that the app is installed.

        A run without an app has the package "". What breaks is asked again, see `_repeated`.
        """
        self._repeated(lambda: self._greet(package))

    def _repeated(self, question: Callable[[], None]) -> None:
        """Ask up to three times; *question* must do no harm when it is asked again.

        When another agent takes the run over, it restarts adb. That can cut the first command of a
        phone that is well.
        """
        for tries_left in (2, 1, 0):
            try:
                question()
            except FailedError as error:
                if error.code is not Code.ADB_FAILED or not tries_left:
                    raise
                self._pace.wait(SETTLE_SECONDS)
            else:
                return

    def _greet(self, package: str) -> None:
        if not self._run("getprop", "ro.build.version.sdk").stdout.strip():
            raise FailedError(Code.ADB_FAILED, "the phone did not report its Android version")
        found = {
            kind: (int(width), int(height))
            for kind, width, height in _SIZE.findall(self._run("wm", "size").text())
        }
        size = found.get("Override") or found.get("Physical")
        if size is None:
            raise FailedError(Code.ADB_FAILED, "the phone did not report the size of its screen")
        self.size = size
        if package and b"package:" not in self._run("pm", "path", package, expect=None).stdout:
            raise FailedError(Code.APP_NOT_INSTALLED, f"{package} is not installed on the phone")

    def make_folder(self) -> None:
        """Make the run's folder on the phone.

        This is the first command after the start gate, and another agent may have just taken over
        the run. So it is asked again like `greet`; `mkdir -p` does no harm twice.
        """

        def make() -> None:
            self._run("mkdir", "-p", self._folder)

        self._repeated(make)

    def tap(self, x: int, y: int) -> None:
        """Touch a point."""
        self._run("input", "tap", str(x), str(y))

    def swipe(self, direction: str) -> None:
        """Swipe over the middle of the screen; the direction is the finger's."""
        width, height = self._turned_size()
        ends = {"near": 3, "far": 7}
        across = {name: str(width * tenths // 10) for name, tenths in ends.items()}
        along = {name: str(height * tenths // 10) for name, tenths in ends.items()}
        x, y = str(width // 2), str(height // 2)
        way = {
            "up": (x, along["far"], x, along["near"]),
            "down": (x, along["near"], x, along["far"]),
            "left": (across["far"], y, across["near"], y),
            "right": (across["near"], y, across["far"], y),
        }[direction]
        self._run("input", "swipe", *way, str(SWIPE_MILLISECONDS))

    def _turned_size(self) -> tuple[int, int]:
        """Return width and height as the screen is turned now."""
        if self.rotation is None:
            found = _TURNED_SIZE.search(self._run("dumpsys", "window", "displays").text())
            return (int(found[1]), int(found[2])) if found else self.size
        width, height = self.size
        return (height, width) if self.rotation % 2 else (width, height)

    def uncover(self) -> bool:
        """Light the display and take a keyguard without a secret away; tell whether one was needed.

        `display_dark` when no key lights it, `screen_locked` when the keyguard stays.
        """
        policy = self._policy()
        dark, locked = bool(_DARK.search(policy)), bool(_KEYGUARD.search(policy))
        if dark:
            self.press("WAKEUP")
            self._pace.wait(SETTLE_SECONDS)
            policy = self._policy()
            if found := _DARK.search(policy):
                message = f"the key WAKEUP does not turn on the display: {found[0]}"
                raise FailedError(Code.DISPLAY_DARK, message)
        for words in (("wm", "dismiss-keyguard"), ("input", "keyevent", "KEYCODE_MENU")):
            if not _KEYGUARD.search(policy):
                break
            self._run(*words, expect=None)
            self._pace.wait(SETTLE_SECONDS)
            policy = self._policy()
        if found := _KEYGUARD.search(policy):
            message = f"the keyguard is still shown after `wm dismiss-keyguard`: {found[0].strip()}"
            raise FailedError(Code.SCREEN_LOCKED, message)
        return dark or locked

    def _policy(self) -> str:
        return self._run("dumpsys", "window", "policy").text()

    def type_text(self, text: str) -> None:
        """Type printable ASCII into the field that has the focus."""
        for piece in typed_pieces(text):
            self._run("input", "text", piece)

    def press(self, key: str) -> None:
        """Press one key, named without its KEYCODE_ prefix."""
        self._run("input", "keyevent", f"KEYCODE_{key}")

    def delete_before_cursor(self, characters: int) -> None:
        """Go to the end of the focused field and delete so many characters."""
        self._run("input", "keyevent", "KEYCODE_MOVE_END")
        while characters > 0:
            now = min(characters, KEYS_AT_ONCE)
            self._run("input", "keyevent", *[_DELETE] * now)
            characters -= now

    def start(self, component: str) -> None:
        """Bring an activity to the front; `app_not_installed` when there is none."""
        self._start(component)

    def _start(self, component: str, *intent: str) -> None:
        # Without -W, which never returns on some phones (appium#12962): what follows looks.
        answer = self._run(
            "am", "start", "-n", component, *intent, expect=None, limit=START_SECONDS
        )
        if "does not exist" in answer.text():
            raise FailedError(Code.APP_NOT_INSTALLED, answer.text()[:500])
        if answer.code or "Error" in answer.text():
            message = f"{component} did not start (exit {answer.code}): {answer.text()[:500]}"
            raise FailedError(Code.SCREEN_NOT_REACHED, message)

    def viewer_of(self, url: str) -> str:
        """Return the activity that opens the URL, "" when the phone does not tell.

        `app_not_installed` when there is none, `no_default_app` when the phone would ask which.
        Source: AOSP PackageManagerShellCommand, resolve-activity (Android 7 and later).
        """
        words = ("package", "resolve-activity", "--brief", "-a", _VIEW, "-d", url)
        answer = self._run("cmd", *words, expect=None).text()
        if "No activity found" in answer:
            raise FailedError(Code.APP_NOT_INSTALLED, f"no app on the phone opens {url}")
        found = _COMPONENT.findall(answer)
        if found:
            check_chosen(found[-1], url)
        return found[-1] if found else ""

    def view(self, url: str) -> None:
        """Start the phone's viewer for a URL; what is in front afterwards tells whether it came.

        `am` prints the intent, so only what a line begins with counts; a warning that the viewer
        was running already is none. It exits with 0 also for an error on some phones. Source: AOSP
        ActivityManagerShellCommand, runStartActivity.
        """
        words = ("start", "-a", _VIEW, "-d", url)
        answer = self._run("am", *words, expect=None, limit=START_SECONDS)
        said = answer.text()
        if _UNRESOLVED.search(said):
            raise FailedError(Code.APP_NOT_INSTALLED, f"no app on the phone opens {url}")
        if answer.code or _AM_ERROR.search(said):
            message = f"`am start` exited with code {answer.code} for {url}: {said[-500:]}"
            raise FailedError(Code.SCREEN_NOT_REACHED, message)

    def properties(self) -> dict[str, str]:
        """Return every system property by its name; a value may have several lines."""
        said = self._run("getprop").text()
        return {match[1]: match[2] for match in _PROPERTY.finditer(said)}

    def stop(self, package: str) -> None:
        """End an app."""
        self._run("am", "force-stop", package)

    def push(self, source: Path, target: str, *, sha256: str) -> None:
        """Put a file on the phone and have the phone read it back: the very bytes, or a failure."""
        self._run("mkdir", "-p", target.rpartition("/")[0])
        self._link.push(source, target, limit=self._pace.remaining())
        said = self._run("sha256sum", target, limit=self._pace.remaining()).text()
        if said.partition(" ")[0].lower() != sha256:
            message = (
                f"{target} differs from the file that was pushed: on the phone it reads "
                f"{said[:200]!r}"
            )
            raise FailedError(Code.ADB_FAILED, message)

    def index_media(self, path: str, folder: str) -> str:
        """Have MediaStore index a video (or image) and return the `content://` name apps know.

        Android 11 and later scan on `content call --method scan_file` and answer with the name.
        Android 10 takes only the broadcast, which is deprecated and answers nothing: the name is
        then looked up by the path. Source: AOSP packages/providers/MediaProvider,
        MediaProvider.call (SCAN_FILE_CALL) and MediaService; frameworks/base, cmds/content.
        """
        real = path.replace("/sdcard/", "/storage/emulated/0/", 1)
        scan = ("--method", "scan_file", "--arg", real)
        said = self._run("content", "call", "--uri", "content://media", *scan, expect=None)
        named = _MEDIA_NAME.search(said.text())
        if named is not None and named[1] == folder:
            return named[0]
        self._run("am", "broadcast", "-a", _SCAN_FILE, "-d", f"file://{real}", expect=None)
        uri = f"content://media/external/{folder}/media"
        where = ("--projection", "_id", "--where", f"_data='{real}'")
        while True:
            row = self._run("content", "query", "--uri", uri, *where, expect=None)
            found = _ROW.search(row.text())
            if found is not None:
                return f"{uri}/{found[1]}"
            self._pace.wait(MEDIA_PAUSE_SECONDS)

    def share(self, component: str, uri: str, content_type: str) -> None:
        """Open an app's activity for a shared file; `app_not_installed` when there is none.

        The name is given as data too: what `am start` grants is the data, and the stream is the
        same (Android, Intent.FLAG_GRANT_READ_URI_PERMISSION: data and clip data). An activity whose
        filter names only a type matches a content: URI as well (intent-filter data test).
        """
        extra = ("--eu", "android.intent.extra.STREAM", uri, "--grant-read-uri-permission")
        what = ("-a", "android.intent.action.SEND", "-t", content_type, "-d", uri, *extra)
        self._start(component, *what)

    def hide_keyboard(self) -> None:
        """Close the keyboard, if it is drawn: it may lie over a button.

        `mInputShown` is true with a hardware keyboard too, and BACK would leave the screen
        (appium-adb#56): where the phone tells it, `mIsInputViewShown` counts.
        """
        said = self._run("dumpsys", "input_method").text()
        drawn = "mIsInputViewShown=true" in said or "mIsInputViewShown=" not in said
        if "mInputShown=true" in said and drawn:
            self.press("BACK")

    def foreground(self) -> str:
        """Return package/.Activity of the window in front, "" when the phone does not tell."""
        match = _FOCUS.search(self._run("dumpsys", "window").text())
        if match is None:
            return ""
        package, _, activity = match.group(1).partition("/")
        return f"{package}/{activity.removeprefix(package)}"

    def dump(self, *, compressed: bool) -> Screen | str:
        """Return the screen by `uiautomator dump`, or what the phone said instead of one."""
        path = f"{self._folder}/ui.xml"
        words = ("--compressed", path) if compressed else (path,)
        limit = min(DUMP_SECONDS, self._pace.remaining())
        try:
            answer = self._link.shell(("uiautomator", "dump", *words), limit=limit)
            if "dumped to" not in answer.text():
                return answer.text()[-500:] or f"it exited with {answer.code} and printed nothing"
            return read_screen(self._run("cat", path).stdout)
        except DumpError as error:
            return str(error)
        except FailedError as error:
            if error.code is not Code.ADB_FAILED:
                raise
            return error.message

    def picture(self) -> bytes:
        """Return the screen as a PNG; `adb_failed` when the phone sends something else.

        A phone with several displays warns first, on a stream that is one with the picture's, and
        shows the folded one (MaaAssistantArknights#9942, mobile-mcp#158): the last is asked for.
        """
        data = self._link.output(["screencap", "-p"], limit=self._limit())
        before, mark, rest = data.partition(_PNG)
        if b"display id" in before.lower():
            listed = self._run("dumpsys", "SurfaceFlinger", "--display-id", expect=None).text()
            for display in reversed(_DISPLAY_ID.findall(listed)):
                chosen = ["screencap", "-p", "-d", display]
                _, mark, rest = self._link.output(chosen, limit=self._limit()).partition(_PNG)
                if mark:
                    break
        if not mark:
            raise FailedError(Code.ADB_FAILED, f"screencap did not send a PNG: {data[:300]!r}")
        return mark + rest

    def _run(self, *words: str, expect: int | None = 0, limit: float | None = None) -> Answer:
        answer = self._link.shell(words, limit=self._limit(limit))
        if expect is not None and answer.code != expect:
            raise FailedError(
                Code.ADB_FAILED,
                f"`{words[0]}` exited with code {answer.code}: {answer.text()[:500]}",
            )
        return answer

    def _limit(self, seconds: float | None = None) -> float:
        return min(seconds or COMMAND_SECONDS, self._pace.remaining())


def check_chosen(component: str, url: str) -> None:
    """Raise `no_default_app` for the dialog that asks which app opens a URL."""
    if component.endswith(_CHOOSERS):
        message = (
            f"several apps on the phone can open {url}, and none is the default: set a default "
            f"browser in the phone's settings (the phone would show {component})"
        )
        raise FailedError(Code.NO_DEFAULT_APP, message)


def typed_pieces(text: str) -> Sequence[str]:
    """Return the arguments of `input text` that type *text*.

    `input` turns `%s` into a space: spaces travel as `%s`, and a `%s` that is meant is cut in two.
    """
    pieces: list[str] = []
    piece = ""
    for character in text:
        if len(piece) >= TEXT_AT_ONCE or (piece.endswith("%") and character == "s"):
            pieces.append(piece)
            piece = ""
        piece += "%s" if character == " " else character
    return [*pieces, piece] if piece else pieces


def has_keys(text: str) -> bool:
    """Tell whether `input text` has a key for every character: printable ASCII."""
    return text.isascii() and text.isprintable()
