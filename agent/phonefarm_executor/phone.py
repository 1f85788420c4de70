"""What the run does to the phone; whatever a caller wrote travels as one quoted argument."""

import re
import time
from collections.abc import Sequence

from phonefarm_executor.failures import Code, FailedError
from phonefarm_executor.link import Answer, Link
from phonefarm_executor.pace import Pace
from phonefarm_executor.screen import DumpError, Screen, read_screen

COMMAND_SECONDS = 8.0
LEAST_COMMAND_SECONDS = 4.0
"""A command's limit, and how far tests may scale it down. It is less than any action's limit, so
that a phone which hangs is told apart from an action that is slow.
"""
START_SECONDS = 30.0
DUMP_SECONDS = 10.0
DUMP_PAUSE_SECONDS = 0.5
TEXT_AT_ONCE = 100
KEYS_AT_ONCE = 50
SWIPE_MILLISECONDS = 300
_PNG = b"\x89PNG\r\n\x1a\n"
_SIZE = re.compile(r"(Physical|Override) size: (\d{2,5})x(\d{2,5})")
_FOCUS = re.compile(r"mCurrentFocus=Window\{\S+ \S+ ([\w.]+/[\w.$]+)\}")
_DELETE = "KEYCODE_DEL"


class Phone:
    """One phone. Everything raises what Link.shell raises."""

    def __init__(self, link: Link, pace: Pace, *, folder: str, time_scale: float) -> None:
        self._link = link
        self._pace = pace
        self._folder = folder
        self._command_seconds = max(LEAST_COMMAND_SECONDS, COMMAND_SECONDS * time_scale)
        self.size = (0, 0)

    def greet(self, package: str) -> None:
        """Learn by reads alone that the phone answers, its size, and that the app is installed."""
        if not self._run("getprop", "ro.build.version.sdk").stdout.strip():
            raise FailedError(Code.ADB_FAILED, "the phone did not tell its Android version")
        found = {
            kind: (int(width), int(height))
            for kind, width, height in _SIZE.findall(self._run("wm", "size").text())
        }
        size = found.get("Override") or found.get("Physical")
        if size is None:
            raise FailedError(Code.ADB_FAILED, "the phone did not tell the size of its screen")
        self.size = size
        if b"package:" not in self._run("pm", "path", package, expect=None).stdout:
            raise FailedError(Code.APP_NOT_INSTALLED, f"{package} is not installed on the phone")

    def make_folder(self) -> None:
        """Make the run's folder on the phone."""
        self._run("mkdir", "-p", self._folder)

    def tap(self, x: int, y: int) -> None:
        """Touch a point."""
        self._run("input", "tap", str(x), str(y))

    def swipe(self, direction: str) -> None:
        """Swipe over the middle of the screen; the direction is the finger's."""
        width, height = self.size
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
        answer = self._run("am", "start", "-W", "-n", component, expect=None, limit=START_SECONDS)
        if "does not exist" in answer.text():
            raise FailedError(Code.APP_NOT_INSTALLED, answer.text()[:500])
        if "Error" in answer.text():
            raise FailedError(
                Code.SCREEN_NOT_REACHED, f"{component} did not start: {answer.text()[:500]}"
            )

    def stop(self, package: str) -> None:
        """End an app."""
        self._run("am", "force-stop", package)

    def foreground(self) -> str:
        """Return package/.Activity of the window in front, "" when the phone does not tell."""
        match = _FOCUS.search(self._run("dumpsys", "window").text())
        if match is None:
            return ""
        package, _, activity = match.group(1).partition("/")
        return f"{package}/{activity.removeprefix(package)}"

    def look(self) -> Screen:
        """Return what is on the screen; `action_timeout` when there is no dump within 10 s."""
        path = f"{self._folder}/ui.xml"
        end = time.monotonic() + DUMP_SECONDS
        while True:
            # A moving screen is refused now and then ("could not get idle state"): ask again.
            said = self._run("uiautomator", "dump", path, expect=None)
            problem = said.text()[:300]
            if "dumped to" in problem:
                try:
                    return read_screen(self._run("cat", path).stdout)
                except DumpError as error:
                    problem = str(error)
            if time.monotonic() >= end:
                message = f"no UI dump within {DUMP_SECONDS:g} s; the phone said: {problem}"
                raise FailedError(Code.ACTION_TIMEOUT, message)
            self._pace.wait(DUMP_PAUSE_SECONDS)

    def picture(self) -> bytes:
        """Return the screen as a PNG; `adb_failed` when the phone sends something else."""
        data = self._link.output(["screencap", "-p"], limit=self._limit())
        if not data.startswith(_PNG):
            raise FailedError(Code.ADB_FAILED, f"screencap sent no PNG: {data[:100]!r}")
        return data

    def _run(self, *words: str, expect: int | None = 0, limit: float | None = None) -> Answer:
        answer = self._link.shell(words, limit=self._limit(limit))
        if expect is not None and answer.code != expect:
            raise FailedError(
                Code.ADB_FAILED,
                f"`{words[0]}` ended with {answer.code}: {answer.text()[:500]}",
            )
        return answer

    def _limit(self, seconds: float | None = None) -> float:
        return min(seconds or self._command_seconds, self._pace.remaining())


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


def is_typeable(text: str) -> bool:
    """Tell whether `input text` has a key for every character: printable ASCII."""
    return text.isascii() and text.isprintable()
