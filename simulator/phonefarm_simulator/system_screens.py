"""Builds the screens of the system: the launcher, the keyguard, the notifications."""

from collections.abc import Container

from phonefarm_simulator.display import Display
from phonefarm_simulator.views import (
    APP_PACKAGE,
    KEYGUARD_PACKAGE,
    LAUNCHER_PACKAGE,
    SCREEN,
    SHOP_PACKAGE,
    WIDTH,
    Bounds,
    OpenApp,
    Style,
    View,
)

_ICONS = (
    (APP_PACKAGE, "Short Video", Bounds(280, 480, 440, 680)),
    (SHOP_PACKAGE, "Shop", Bounds(480, 480, 640, 680)),
)
_MARGIN = 32


def launcher_screen(installed: Container[str]) -> View:
    """Return the home screen, with the icons of the apps that are installed."""
    icons = tuple(
        View(
            kind="android.widget.TextView",
            bounds=bounds,
            package=LAUNCHER_PACKAGE,
            name="icon",
            text=title,
            description=title,
            style=Style.ICON,
            tap=OpenApp(package=package),
            focusable=True,
        )
        for package, title, bounds in _ICONS
        if package in installed
    )
    return View(
        kind="android.widget.FrameLayout",
        bounds=SCREEN,
        package=LAUNCHER_PACKAGE,
        name="launcher",
        style=Style.WALLPAPER,
        children=icons,
    )


def covering_screen(display: Display) -> View | None:
    """Return what the system has laid over the apps, if anything."""
    if display.keyguard:
        return _keyguard_screen(secure=display.locked)
    return _shade_screen() if display.shade else None


def _keyguard_screen(*, secure: bool) -> View:
    """Return what lies over a locked phone; nothing on it can be tapped."""
    return View(
        kind="android.widget.FrameLayout",
        bounds=SCREEN,
        package=KEYGUARD_PACKAGE,
        name="keyguard_password_view" if secure else "keyguard_root_view",
        style=Style.WALLPAPER,
    )


def _shade_screen() -> View:
    """Return the notifications, of which there are none."""
    empty = View(
        kind="android.widget.TextView",
        bounds=Bounds(_MARGIN, 400, WIDTH - _MARGIN, 480),
        package=KEYGUARD_PACKAGE,
        name="no_notifications",
        text="No notifications",
        style=Style.VIDEO_AUTHOR,
    )
    return View(
        kind="android.widget.FrameLayout",
        bounds=SCREEN,
        package=KEYGUARD_PACKAGE,
        name="notification_panel",
        style=Style.WALLPAPER,
        children=(empty,),
    )
