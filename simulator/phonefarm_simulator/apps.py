"""The apps of a phone: which of them is in front, and what it shows."""

from collections.abc import Callable, Container

from phonefarm_simulator.app_account import Account
from phonefarm_simulator.browser_app import BrowserApp, browser_screen
from phonefarm_simulator.screens import app_screen
from phonefarm_simulator.shop_app import ShopApp
from phonefarm_simulator.shop_screens import shop_screen
from phonefarm_simulator.short_video_app import ShortVideoApp
from phonefarm_simulator.system_screens import launcher_screen
from phonefarm_simulator.views import View

App = ShortVideoApp | ShopApp | BrowserApp


class Apps:
    """The short-video app, the shop and the browser; at most one is in front, or the launcher."""

    def __init__(
        self,
        *,
        video: ShortVideoApp,
        shop: ShopApp,
        browser: BrowserApp,
        new_account: Callable[[], Account],
    ) -> None:
        """Use *new_account* for the short-video app whose data were cleared."""
        self.video = video
        self.shop = shop
        self.browser = browser
        self._new_account = new_account
        self.all: tuple[App, ...] = (video, shop, browser)

    @property
    def front(self) -> App | None:
        """The app in front; None while the launcher is."""
        return next((app for app in self.all if app.in_front), None)

    def find(self, package: str) -> App | None:
        """Return the app of a package, if it is one of these."""
        return next((app for app in self.all if app.package == package), None)

    def screen(self, *, installed: Container[str], locale: str) -> View:
        """Return what the app in front shows, else the launcher."""
        match self.front:
            case ShortVideoApp() as video:
                return app_screen(video)
            case ShopApp() as shop:
                return shop_screen(shop, locale=locale)
            case BrowserApp() as browser:
                return browser_screen(browser)
            case None:
                return launcher_screen(installed)

    def bring_to_front(self, app: App) -> bool:
        """Start an app or bring it back; tell whether it was stopped."""
        for other in self.all:
            if other is not app and other.in_front:
                other.hide()
        return app.start()

    def hide(self) -> None:
        """Show the launcher; the apps keep their state behind it."""
        for app in self.all:
            app.hide()

    def stop(self, reason: str, package: str = "") -> None:
        """End the process of the package's app, of all apps without one."""
        for app in self.all:
            if package in {"", app.package}:
                app.stop(reason)

    def clear(self, package: str) -> None:
        """Do what `pm clear` does to an app."""
        match self.find(package):
            case ShortVideoApp() as video:
                video.clear_data(self._new_account())
            case ShopApp() as shop:
                shop.clear_data()
            case BrowserApp() as browser:
                browser.clear_data()
            case None:
                pass
