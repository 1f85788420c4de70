"""The simulated shop: an app that nobody prepared, with few ids, two languages and three dialogs.

Like short_video_app, it neither draws (see shop_screens) nor knows of adb.
"""

import enum
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from phonefarm_simulator.ledger import Entry, Kind
from phonefarm_simulator.text_field import TextField
from phonefarm_simulator.views import (
    SHOP_PACKAGE,
    Bounds,
    Field,
    Focus,
    OpenProduct,
    ShopPress,
    Tap,
)

PRODUCTS_PER_SEARCH = 9
PRODUCTS_ON_SCREEN = 5
PRODUCTS_BEFORE_RATING = 2
"""The shop asks for a rating when so many products were opened."""
_KINDS = ("classic", "light", "for two", "in blue", "refurbished", "mini", "deluxe", "set", "spare")


class ShopScreen(enum.StrEnum):
    """The screens of the shop; a dialog may cover them."""

    HOME = "home"
    SEARCH = "search"
    RESULTS = "results"
    PRODUCT = "product"
    ACCOUNT = "account"


class Dialog(enum.StrEnum):
    """What lies over the shop's screens, one at a time."""

    CONSENT = "consent"
    UPDATE = "update"
    RATING = "rating"


@dataclass(frozen=True, kw_only=True)
class Product:
    """One thing for sale; the price in cents."""

    name: str
    price: int


def search_products(query: str) -> tuple[Product, ...]:
    """Return what a search finds: nothing for blanks, else nine products, the same everywhere."""
    words = " ".join(query.split())
    if not words:
        return ()
    number = int.from_bytes(hashlib.sha256(words.lower().encode()).digest()[:2], "big")
    return tuple(
        Product(name=f"{words.capitalize()}, {kind}", price=499 + (number + place * 377) % 9000)
        for place, kind in enumerate(_KINDS[:PRODUCTS_PER_SEARCH])
    )


class ShopApp:
    """The shop, running or stopped. Consent and rating survive it; `pm clear` forgets them."""

    package = SHOP_PACKAGE
    keyboard_drawn = True

    def __init__(self, *, customer: str, record: Callable[..., Entry]) -> None:
        self.customer = customer
        self._record = record
        self.running = False
        self.in_front = False
        self._forget()

    def _forget(self) -> None:
        self._consented = False
        self._rated = False
        self._reset()

    def _reset(self) -> None:
        self.screen = ShopScreen.HOME
        self.update_offered = True
        self.query = TextField()
        self.focused: Field | None = None
        self.results: tuple[Product, ...] = ()
        self.results_offset = 0
        self.product: Product | None = None
        self._opened = 0

    @property
    def activity(self) -> str:
        """The name of the activity in front."""
        return "MainActivity"

    @property
    def place(self) -> str:
        """What the user would say is shown."""
        return self.dialog or self.screen

    @property
    def dialog(self) -> Dialog | None:
        """The dialog that covers the screens now."""
        if not self._consented:
            return Dialog.CONSENT
        if self.update_offered:
            return Dialog.UPDATE
        if self._opened >= PRODUCTS_BEFORE_RATING and not self._rated:
            return Dialog.RATING
        return None

    def start(self) -> bool:
        """Bring the shop to the front as it was left, else its first screen; tell whether cold."""
        cold = not self.running
        if cold:
            self._reset()
            self.running = True
        if cold or not self.in_front:
            self._record(Kind.APP_STARTED, cold=cold, package=self.package)
        self.in_front = True
        return cold

    def stop(self, reason: str) -> bool:
        """End the shop's process; tell whether it ran."""
        if not self.running:
            return False
        self.running = self.in_front = False
        self._reset()
        self._record(Kind.APP_STOPPED, reason=reason, package=self.package)
        return True

    def hide(self) -> None:
        """Leave the foreground; the shop keeps its state."""
        self.in_front = False

    def clear_data(self) -> None:
        """Forget everything, as `pm clear` does."""
        self.stop("data cleared")
        self._forget()
        self._record(Kind.APP_DATA_CLEARED, package=self.package)

    def tap(self, tap: Tap, bounds: Bounds, x: float) -> None:
        """Do what a tap on a view with this action and these bounds does."""
        match tap:
            case Focus():
                self.focused = tap.field
                self.query.move_near((x - bounds.left) / max(1, bounds.right - bounds.left))
            case OpenProduct():
                self.product = self.results[tap.index]
                self._show(ShopScreen.PRODUCT)
                self._opened += 1
            case ShopPress():
                self._press(tap)
            case _:
                pass  # a view of another app

    def _press(self, press: ShopPress) -> None:
        match press:
            case ShopPress.ACCEPT:
                self._consented = True
                self._record(Kind.DIALOG_DISMISSED, dialog=Dialog.CONSENT)
            case ShopPress.LATER:
                self.update_offered = False
                self._record(Kind.DIALOG_DISMISSED, dialog=Dialog.UPDATE)
            case ShopPress.HOME:
                self._show(ShopScreen.HOME)
            case ShopPress.SEARCH:
                self.query.put("")
                self._show(ShopScreen.SEARCH)
            case ShopPress.ACCOUNT:
                self._show(ShopScreen.ACCOUNT)
            case ShopPress.GO:
                self.enter()

    def back(self) -> bool:
        """Do what the BACK key does; tell whether the shop stays in front."""
        match self.dialog:
            case Dialog.RATING:
                self._rated = True
                self._record(Kind.DIALOG_DISMISSED, dialog=Dialog.RATING)
                return True
            case Dialog.CONSENT | Dialog.UPDATE:
                return True
            case None:
                pass
        if self.focused is not None:
            self.focused = None
        elif self.screen is ShopScreen.PRODUCT:
            self._show(ShopScreen.RESULTS)
        elif self.screen is ShopScreen.RESULTS:
            self._show(ShopScreen.SEARCH)
        elif self.screen is not ShopScreen.HOME:
            self._show(ShopScreen.HOME)
        else:
            return False
        return True

    def enter(self) -> None:
        """Search for what the field holds."""
        found = search_products(self.query.text)
        if self.dialog or self.screen is not ShopScreen.SEARCH or not found:
            return
        self.results, self.results_offset = found, 0
        self._record(Kind.SEARCHED, query=self.query.text.strip(), results=len(found))
        self._show(ShopScreen.RESULTS)

    def scroll(self, step: int) -> None:
        """Follow a swipe: step 1 towards what comes next, -1 back."""
        if self.dialog is None and self.screen is ShopScreen.RESULTS:
            last = max(0, len(self.results) - PRODUCTS_ON_SCREEN)
            moved = self.results_offset + step * (PRODUCTS_ON_SCREEN - 1)
            self.results_offset = min(last, max(0, moved))

    def focused_field(self) -> TextField | None:
        """Return the field the keyboard types into, None when it types nowhere."""
        return self.query if self.focused is not None and self.dialog is None else None

    def _show(self, screen: ShopScreen) -> None:
        changed = screen is not self.screen or screen is ShopScreen.PRODUCT
        self.screen = screen
        self.focused = None
        if changed:
            shown = {"product": self.product.name} if self.product else {}
            self._record(Kind.SCREEN_SHOWN, screen=screen, package=self.package, **shown)
