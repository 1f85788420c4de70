"""The simulated browser: it shows one page, which says which URL it is; it loads nothing."""

from collections.abc import Callable

from phonefarm_simulator.ledger import Entry, Kind
from phonefarm_simulator.text_field import TextField
from phonefarm_simulator.views import BROWSER_PACKAGE, SCREEN, WIDTH, Bounds, Style, Tap, View

_MARGIN = 32


class BrowserApp:
    """The browser, running or stopped; its page is lost when it is stopped."""

    package = BROWSER_PACKAGE
    activity = "MainActivity"
    keyboard_drawn = True
    focused = None

    def __init__(self, *, record: Callable[..., Entry]) -> None:
        self._record = record
        self.running = False
        self.in_front = False
        self.url = ""

    @property
    def place(self) -> str:
        """What the user would say is shown."""
        return self.url or "new tab"

    def start(self) -> bool:
        """Bring the browser to the front; tell whether it was stopped."""
        cold = not self.running
        if cold or not self.in_front:
            self._record(Kind.APP_STARTED, cold=cold, package=self.package)
        self.running = self.in_front = True
        return cold

    def open(self, url: str) -> None:
        """Show the page of a URL."""
        self.url = url
        self._record(Kind.URL_OPENED, url=url, package=self.package)

    def stop(self, reason: str) -> bool:
        """End the browser's process; tell whether it ran."""
        if not self.running:
            return False
        self.running = self.in_front = False
        self.url = ""
        self._record(Kind.APP_STOPPED, reason=reason, package=self.package)
        return True

    def hide(self) -> None:
        """Leave the foreground; the page stays."""
        self.in_front = False

    def clear_data(self) -> None:
        """Forget everything, as `pm clear` does."""
        self.stop("data cleared")
        self._record(Kind.APP_DATA_CLEARED, package=self.package)

    def tap(self, tap: Tap, bounds: Bounds, x: float) -> None:
        """Do nothing: the page has nothing to tap."""

    def back(self) -> bool:
        """Do what the BACK key does; tell whether the browser stays in front."""
        return False

    def enter(self) -> None:
        """Do nothing: the page has no field."""

    def scroll(self, step: int) -> None:
        """Do nothing: the page is short."""

    def focused_field(self) -> TextField | None:
        """Return None: the keyboard types nowhere."""
        return None


def browser_screen(app: BrowserApp) -> View:
    """Return the address and the page."""
    address = View(
        kind="android.widget.TextView",
        bounds=Bounds(_MARGIN, 48, WIDTH - _MARGIN, 112),
        package=BROWSER_PACKAGE,
        name="address",
        text=app.url,
        style=Style.FIELD,
    )
    page = View(
        kind="android.webkit.WebView",
        bounds=Bounds(_MARGIN, 144, WIDTH - _MARGIN, 1200),
        package=BROWSER_PACKAGE,
        name="page",
        text=f"The page of {app.url}" if app.url else "New tab",
        style=Style.TEXT,
    )
    return View(
        kind="android.widget.FrameLayout",
        bounds=SCREEN,
        package=BROWSER_PACKAGE,
        style=Style.PAGE,
        children=(address, page),
    )
