"""The views that screens are made of: bounds, texts and tap actions."""

import enum
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

WIDTH = 720
HEIGHT = 1280
APP_PACKAGE = "com.example.shortvideo"
SHOP_PACKAGE = "com.example.shop"
BROWSER_PACKAGE = "com.example.browser"
LAUNCHER_PACKAGE = "com.android.launcher"
KEYGUARD_PACKAGE = "com.android.systemui"


class Bounds(NamedTuple):
    """A rectangle in pixels; right and bottom are just outside."""

    left: int
    top: int
    right: int
    bottom: int

    def contains(self, x: float, y: float) -> bool:
        """Whether the point lies inside."""
        return self.left <= x < self.right and self.top <= y < self.bottom

    def __str__(self) -> str:
        return f"[{self.left},{self.top}][{self.right},{self.bottom}]"


SCREEN = Bounds(0, 0, WIDTH, HEIGHT)


class Style(enum.Enum):
    """How a view is drawn; not part of the dump."""

    PLAIN = enum.auto()
    PAGE = enum.auto()
    BAR = enum.auto()
    TITLE = enum.auto()
    TEXT = enum.auto()
    NAME = enum.auto()
    FAINT = enum.auto()
    FIELD = enum.auto()
    BUTTON = enum.auto()
    QUIET_BUTTON = enum.auto()
    TAB = enum.auto()
    CARD = enum.auto()
    THUMBNAIL = enum.auto()
    VIDEO = enum.auto()
    VIDEO_TITLE = enum.auto()
    VIDEO_AUTHOR = enum.auto()
    PROGRESS = enum.auto()
    AVATAR = enum.auto()
    DIALOG = enum.auto()
    WALLPAPER = enum.auto()
    ICON = enum.auto()
    ALERT = enum.auto()


class Field(enum.StrEnum):
    """The text fields; the value is the resource name."""

    SEARCH = "search_box"
    DISPLAY_NAME = "edit_display_name"
    USERNAME = "edit_username"
    BIO = "edit_bio"
    CAPTION = "caption_box"
    PRODUCT = "product"  # of the shop, which gives it no resource name


class Press(enum.Enum):
    """The tap actions without a value."""

    FEED = enum.auto()
    SEARCH = enum.auto()
    PROFILE = enum.auto()
    SUBMIT_SEARCH = enum.auto()
    EDIT_PROFILE = enum.auto()
    SAVE_PROFILE = enum.auto()
    CANCEL_EDIT = enum.auto()
    POST = enum.auto()
    ACCEPT_CONSENT = enum.auto()
    LOG_IN = enum.auto()


class ShopPress(enum.Enum):
    """The tap actions of the shop without a value."""

    HOME = enum.auto()
    SEARCH = enum.auto()
    ACCOUNT = enum.auto()
    GO = enum.auto()
    ACCEPT = enum.auto()
    LATER = enum.auto()


@dataclass(frozen=True, kw_only=True)
class OpenApp:
    """A tap on the launcher that opens an app."""

    package: str


@dataclass(frozen=True, kw_only=True)
class Focus:
    """A tap that puts the cursor into a field."""

    field: Field


@dataclass(frozen=True, kw_only=True)
class OpenResult:
    """A tap that plays the search result at `index`."""

    index: int


@dataclass(frozen=True, kw_only=True)
class OpenProduct:
    """A tap that opens the shop's product at `index`."""

    index: int


Tap = Press | ShopPress | Focus | OpenApp | OpenResult | OpenProduct


@dataclass(frozen=True, kw_only=True)
class View:
    """One view of the screen and its children; hashable, so that pictures can be cached."""

    kind: str
    bounds: Bounds
    package: str = APP_PACKAGE
    name: str = ""
    text: str = ""
    description: str = ""
    style: Style = Style.PLAIN
    tap: Tap | None = None
    focusable: bool = False
    focused: bool = False
    scrollable: bool = False
    selected: bool = False
    share: float = 0.0
    children: tuple["View", ...] = ()

    @property
    def resource_id(self) -> str:
        """The full id as the dump shows it; empty for a view without a name."""
        return f"{self.package}:id/{self.name}" if self.name else ""

    def walk(self) -> Iterator["View"]:
        """Yield this view and all below it, in drawing order."""
        yield self
        for child in self.children:
            yield from child.walk()


def view_at(root: View, x: float, y: float) -> View | None:
    """Return the topmost view at the point that does something when tapped."""
    found = None
    for view in root.walk():
        if view.tap is not None and view.bounds.contains(x, y):
            found = view
    return found


def moved_down(root: View, pixels: int) -> View:
    """Return a screen whose views lie lower, as on their way during a transition."""
    box = root.bounds
    bounds = Bounds(box.left, box.top + pixels, box.right, box.bottom + pixels)
    return replace(
        root, bounds=bounds, children=tuple(moved_down(child, pixels) for child in root.children)
    )


def turned(root: View) -> View:
    """Return a screen stretched from upright to lying: an app that fills either."""
    box = root.bounds
    bounds = Bounds(
        box.left * HEIGHT // WIDTH,
        box.top * WIDTH // HEIGHT,
        box.right * HEIGHT // WIDTH,
        box.bottom * WIDTH // HEIGHT,
    )
    return replace(root, bounds=bounds, children=tuple(turned(child) for child in root.children))
