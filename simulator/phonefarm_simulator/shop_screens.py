"""Builds the shop's screens as trees of views: few ids, and texts in the phone's language."""

from collections.abc import Mapping
from typing import assert_never

from phonefarm_simulator.shop_app import (
    PRODUCTS_ON_SCREEN,
    Dialog,
    Product,
    ShopApp,
    ShopScreen,
    search_products,
)
from phonefarm_simulator.views import (
    SCREEN,
    SHOP_PACKAGE,
    WIDTH,
    Bounds,
    Field,
    Focus,
    OpenProduct,
    ShopPress,
    Style,
    Tap,
    View,
)

_GERMAN: Mapping[str, str] = {
    "Offers": "Angebote",
    "Find": "Finden",
    "Found": "Gefunden",
    "Details": "Einzelheiten",
    "Account": "Konto",
    "Home": "Start",
    "Search": "Suche",
    "Go": "Los",
    "Signed in as": "Angemeldet als",
    "Your data": "Ihre Daten",
    "Accept all": "Alle akzeptieren",
    "A new version is there": "Eine neue Version ist da",
    "Later": "Später",
    "Do you like the shop?": "Gefällt Ihnen der Laden?",
}
_TITLES: Mapping[ShopScreen, str] = {
    ShopScreen.HOME: "Offers",
    ShopScreen.SEARCH: "Find",
    ShopScreen.RESULTS: "Found",
    ShopScreen.PRODUCT: "Details",
    ShopScreen.ACCOUNT: "Account",
}
_DIALOGS: Mapping[Dialog, tuple[str, str, ShopPress | None]] = {
    Dialog.CONSENT: ("Your data", "Accept all", ShopPress.ACCEPT),
    Dialog.UPDATE: ("A new version is there", "Later", ShopPress.LATER),
    Dialog.RATING: ("Do you like the shop?", "", None),
}
_TABS = (("Home", ShopPress.HOME), ("Search", ShopPress.SEARCH), ("Account", ShopPress.ACCOUNT))
_ROW_HEIGHT = 180


def shop_screen(app: ShopApp, *, locale: str) -> View:
    """Return the shop's screen, or its dialog's window when one is open."""
    words = _Words(locale)
    if app.dialog is not None:
        return _page(_dialog(app.dialog, words))
    title = _label(words(_TITLES[app.screen]), Bounds(32, 64, 560, 128), Style.TITLE)
    return _page(title, *_content(app, words), *_tabs(words))


class _Words:
    """The shop's words in the language of the phone: German, else English."""

    def __init__(self, locale: str) -> None:
        self._known = _GERMAN if locale.startswith("de") else {}

    def __call__(self, text: str) -> str:
        return self._known.get(text, text)


def _content(app: ShopApp, words: _Words) -> tuple[View, ...]:
    match app.screen:
        case ShopScreen.HOME:
            offers = search_products("offer")[:PRODUCTS_ON_SCREEN]
            return tuple(_card(one, place, tap=None) for place, one in enumerate(offers))
        case ShopScreen.SEARCH:
            return _search(app, words)
        case ShopScreen.RESULTS:
            first = app.results_offset
            shown = app.results[first : first + PRODUCTS_ON_SCREEN]
            return tuple(
                _card(one, place, tap=OpenProduct(index=first + place))
                for place, one in enumerate(shown)
            )
        case ShopScreen.PRODUCT:
            return _product(app.product) if app.product else ()
        case ShopScreen.ACCOUNT:
            return (
                _label(words("Signed in as"), Bounds(32, 200, 688, 260), Style.FAINT),
                _label(app.customer, Bounds(32, 270, 688, 330), Style.NAME),
            )
        case _:
            assert_never(app.screen)


def _search(app: ShopApp, words: _Words) -> tuple[View, ...]:
    field = View(
        kind="android.widget.EditText",
        bounds=Bounds(32, 176, 560, 264),
        package=SHOP_PACKAGE,
        text=app.query.text,
        style=Style.FIELD,
        tap=Focus(field=Field.PRODUCT),
        focusable=True,
        focused=app.focused is Field.PRODUCT,
    )
    return field, _button(words("Go"), Bounds(580, 176, 688, 264), ShopPress.GO)


def _product(product: Product) -> tuple[View, ...]:
    return (
        _label(product.name, Bounds(32, 600, 688, 680), Style.NAME),
        _label(_price(product), Bounds(32, 700, 688, 760), Style.TEXT),
    )


def _card(product: Product, place: int, *, tap: Tap | None) -> View:
    top = 176 + place * _ROW_HEIGHT
    return View(
        kind="android.view.ViewGroup",
        bounds=Bounds(16, top, 704, top + _ROW_HEIGHT - 12),
        package=SHOP_PACKAGE,
        name="card",
        style=Style.CARD,
        tap=tap,
        children=(
            _label(product.name, Bounds(40, top + 24, 680, top + 84), Style.TEXT),
            _label(_price(product), Bounds(40, top + 92, 680, top + 136), Style.FAINT),
        ),
    )


def _price(product: Product) -> str:
    return f"{product.price // 100}.{product.price % 100:02} EUR"


def _dialog(dialog: Dialog, words: _Words) -> View:
    title, button, press = _DIALOGS[dialog]
    place = Bounds(100, 720, 620, 808)
    buttons = () if press is None else (_button(words(button), place, press),)
    return View(
        kind="android.widget.FrameLayout",
        bounds=Bounds(60, 420, 660, 860),
        package=SHOP_PACKAGE,
        style=Style.DIALOG,
        children=(_label(words(title), Bounds(100, 460, 620, 520), Style.NAME), *buttons),
    )


def _tabs(words: _Words) -> tuple[View, ...]:
    """Return the bar below: pictures alone, which say what they are in their description."""
    width = WIDTH // len(_TABS)
    return tuple(
        View(
            kind="android.widget.ImageButton",
            bounds=Bounds(place * width, 1160, (place + 1) * width, 1280),
            package=SHOP_PACKAGE,
            description=words(text),
            style=Style.TAB,
            tap=press,
            focusable=True,
        )
        for place, (text, press) in enumerate(_TABS)
    )


def _page(*children: View) -> View:
    return View(
        kind="android.widget.FrameLayout",
        bounds=SCREEN,
        package=SHOP_PACKAGE,
        style=Style.PAGE,
        children=children,
    )


def _label(text: str, bounds: Bounds, style: Style) -> View:
    return View(
        kind="android.widget.TextView",
        bounds=bounds,
        package=SHOP_PACKAGE,
        text=text,
        style=style,
    )


def _button(text: str, bounds: Bounds, tap: Tap) -> View:
    return View(
        kind="android.widget.Button",
        bounds=bounds,
        package=SHOP_PACKAGE,
        text=text,
        style=Style.BUTTON,
        tap=tap,
        focusable=True,
    )
