"""Reads the screen by the UI server, even while it moves, or else by `uiautomator dump`.

Tried in this order: the UI server, once more, restarted, then the shell's dump, compressed and
plain. Only the first two count against the action's limit: what comes after is the phone's fault.
"""

from collections.abc import Callable
from dataclasses import dataclass

from phonefarm_executor.deadlines import Pace
from phonefarm_executor.failures import Code, FailedError
from phonefarm_executor.phone import Phone
from phonefarm_executor.screen import DumpError, Screen, read_screen
from phonefarm_executor.ui_server import UiServer, UiServerError, UiServerLostError

LOOK_LIMITS = (5.0, 3.0)
"""The limits in seconds of a dump by the UI server, and of one more."""
MOST_RESTARTS = 3
"""The UI server is restarted at most this often in one action."""
DEPTH = 50
LESS_DEPTH = 30
"""The levels of the tree that a dump contains, and after a StackOverflowError."""

SYSTEM_UI = "com.android.systemui"

AskAgent = Callable[[bool, str], str]
"""Asks the agent to start (True) or end the UI server, and says why; returns "" or the error."""


@dataclass(frozen=True, kw_only=True)
class _Failed:
    """Why an attempt read no screen; *blind*: the server answers but does not see the app."""

    why: str
    blind: bool = False


class ScreenReader:
    """Reads the screen for one run. Everything raises what Phone raises."""

    def __init__(
        self, *, phone: Phone, server: UiServer, ask_agent: AskAgent, package: str, pace: Pace
    ) -> None:
        self._phone = phone
        self._server = server
        self._ask_agent = ask_agent
        self._package = package
        self._pace = pace
        self._depth = DEPTH
        self._up = False
        self._restarts = 0
        self._shell_only = False

    @property
    def waited_for_rest(self) -> bool:
        """Tell whether looks come from `uiautomator dump`, which waits for rest by itself."""
        return self._shell_only

    def begin_action(self) -> None:
        """Take note of a new action, or a new try of one: the UI server is tried again."""
        self._shell_only = False
        self._restarts = 0

    def look(self) -> Screen:
        """Return what is on the screen.

        `screen_unreadable` (work) when the phone is well and shows nothing of the app,
        `ui_automation_taken` or `ui_server_failed` (infra) when it cannot be read at all.
        """
        screen = self._read()
        self._phone.rotation = screen.rotation
        return screen

    def _read(self) -> Screen:
        screen = self._read_as_it_is()
        if self._is_covered(screen) and self._phone.uncover():
            screen = self._read_as_it_is()
        return screen

    def _is_covered(self, screen: Screen) -> bool:
        """Tell whether a keyguard may lie over the app: nothing but the system's own is shown."""
        return screen.packages() <= {SYSTEM_UI, "android"}

    def _read_as_it_is(self) -> Screen:
        if self._shell_only:
            with self._pace.uncharged():
                return self._by_shell(_Failed(why="the UI server does not answer"))
        failed = self._started() if not self._up else None
        if failed is None:
            found = self._by_server()
            if isinstance(found, Screen):
                return found
            failed = found
            if self._restarts < MOST_RESTARTS:
                self._restarts += 1
                with self._pace.uncharged():
                    again = self._restarted(found.why)
                if again is None:
                    found = self._by_server()
                    if isinstance(found, Screen):
                        return found
                    failed = found
                else:
                    failed = again
        self._shell_only = True
        with self._pace.uncharged():
            return self._by_shell(failed)

    def _started(self) -> _Failed | None:
        with self._pace.uncharged():
            why = self._ask_agent(True, "the first look")
        self._up = not why
        return _Failed(why=why) if why else None

    def _restarted(self, why: str) -> _Failed | None:
        self._server.hang_up()
        self._ask_agent(False, why)
        refused = self._ask_agent(True, why)
        self._up = not refused
        return _Failed(why=refused) if refused else None

    def _by_server(self) -> Screen | _Failed:
        failed = _Failed(why="")
        for limit in LOOK_LIMITS:
            try:
                xml = self._server.call(
                    "dumpWindowHierarchy", False, self._depth, True, limit=self._limit(limit)
                )
                screen = read_screen(str(xml).encode())
            except UiServerLostError as error:
                failed = _Failed(why=str(error))
                continue
            except UiServerError as error:
                failed = _Failed(why=f"UI server: {error}")
                if "StackOverflow" in str(error):
                    self._depth = LESS_DEPTH
                continue
            except DumpError as error:
                failed = _Failed(why=f"UI server: {error}", blind=True)
                self._phone.uncover()  # a dark display has no views
                continue
            if not self._is_blind(screen):
                return screen
            failed = _Failed(
                why=f"UI server: it reports only {len(screen.nodes)} views", blind=True
            )
        return failed

    def _is_blind(self, screen: Screen) -> bool:
        """Tell whether the screen shows nothing although the app is in front."""
        if self._package in screen.packages():
            return False
        if screen.packages() - {"android"}:
            return False
        return self._phone.foreground().startswith(f"{self._package}/") or not screen.nodes

    def _by_shell(self, before: _Failed) -> Screen:
        """Return the screen by `uiautomator dump`; *before* says why the UI server gave none."""
        self._server.hang_up()
        self._ask_agent(False, before.why)
        self._up = False
        said = []
        for compressed in (True, False):
            problem = self._phone.dump(compressed=compressed)
            if isinstance(problem, Screen):
                return problem
            said.append(problem)
            if "did not answer" in problem:
                break  # a phone that hangs would only hang again
        message = f"the screen cannot be read. {before.why}; uiautomator dump: {'; '.join(said)}"
        taken = before.why.startswith(Code.UI_AUTOMATION_TAKEN)
        if taken or any("already registered" in text for text in said):
            raise FailedError(Code.UI_AUTOMATION_TAKEN, message)
        if before.blind:
            raise FailedError(Code.SCREEN_UNREADABLE, message)
        raise FailedError(Code.UI_SERVER_FAILED, message)

    def _limit(self, seconds: float) -> float:
        return min(seconds, self._pace.remaining())
