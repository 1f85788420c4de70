"""Taps, swipes, typing and key presses: what the `input` command does to a phone."""

import contextlib

from phonefarm_simulator.faults import Fault
from phonefarm_simulator.keys import Key
from phonefarm_simulator.ledger import Kind
from phonefarm_simulator.phone import Phone
from phonefarm_simulator.views import Focus, OpenApp, view_at

SWIPE_PIXELS = 80
SETTLING_SECONDS = 0.3
"""Letters may get lost for this long after the touch that set the cursor."""
INJECT_DENIED = (
    "Injecting input events requires the caller (or the source of the instrumentation, if any) to "
    "have the INJECT_EVENTS permission."
)
"""Android's error on phones whose maker does not let the shell user send input."""

Point = tuple[float, float]


def tap(phone: Phone, x: float, y: float) -> None:
    """Touch the display for a moment."""
    if not phone.awake:
        return
    phone.display.touch()
    view = view_at(phone.screen(), x, y)
    phone.record(Kind.TAPPED, x=x, y=y, target=view.name if view else "")
    if view is None or view.tap is None:
        return
    front = phone.apps.front
    if isinstance(view.tap, OpenApp):
        phone.open_app(view.tap.package)
    elif front is not None:
        front.tap(view.tap, view.bounds, x)
        if isinstance(view.tap, Focus):
            phone.focused_at = phone.monotonic()


def swipe(phone: Phone, start: Point, end: Point) -> None:
    """Draw a finger over the display; a short way is a tap."""
    if not phone.awake:
        return
    across, down = end[0] - start[0], end[1] - start[1]
    if abs(across) < SWIPE_PIXELS and abs(down) < SWIPE_PIXELS:
        tap(phone, *start)
        return
    phone.display.touch()
    phone.record(Kind.SWIPED, start=list(start), end=list(end))
    width, height = phone.display.size
    if not (0 <= start[0] < width and 0 <= start[1] < height):
        return  # it began beside the display: no view gets it
    if phone.display.keyguard or phone.display.shade:
        if down < 0 and -down > abs(across):
            phone.display.close_shade()
            phone.display.dismiss_keyguard()
    elif phone.apps.front is not None and abs(down) > abs(across):
        phone.apps.front.scroll(1 if down < 0 else -1)


def pinch(phone: Phone, *fingers: tuple[Point, Point]) -> None:
    """Draw several fingers at once, each from a point to a point; no app here zooms."""
    if phone.awake:
        phone.display.touch()
        phone.record(Kind.PINCHED, fingers=[[list(start), list(end)] for start, end in fingers])


def turn_wheel(phone: Phone, x: float, y: float, *, across: float, down: float) -> None:
    """Turn a mouse's wheel at a point; a positive *down* shows what comes before, as on Android."""
    if not phone.awake:
        return
    phone.display.touch()
    phone.record(Kind.SCROLLED, x=x, y=y, across=across, down=down)
    if down and not phone.display.covered and phone.apps.front is not None:
        phone.apps.front.scroll(-1 if down > 0 else 1)


def type_text(phone: Phone, text: str) -> None:
    """Type where the cursor is; without a cursor the text goes nowhere, as on a real phone."""
    front = None if phone.display.covered else phone.apps.front
    box = front.focused_field() if front else None
    phone.display.touch()
    lost = phone.faults.get(Fault.LETTERS_LOST)
    if lost is not None and phone.monotonic() - phone.focused_at < SETTLING_SECONDS:
        text = text[lost.count :]
    phone.record(Kind.TYPED, text=text, field=front.focused if front and box is not None else None)
    if box is not None:
        box.insert(text)


def put_text(phone: Phone, text: str) -> None:
    """Replace what the field with the cursor holds, as ACTION_SET_TEXT does: no key is pressed."""
    front = None if phone.display.covered else phone.apps.front
    box = front.focused_field() if front else None
    phone.record(Kind.TYPED, text=text, field=front.focused if front and box is not None else None)
    if box is not None:
        box.put(text)


def paste(phone: Phone) -> None:
    """Insert the clipboard's text where the cursor is, as the key PASTE does."""
    front = None if phone.display.covered else phone.apps.front
    box = front.focused_field() if front else None
    if front is not None and box is not None and phone.clipboard.text:
        phone.record(Kind.TYPED, text=phone.clipboard.text, field=front.focused)
        box.insert(phone.clipboard.text)


def press_keys(phone: Phone, codes: list[int]) -> None:
    """Press keys one after the other."""
    phone.record(Kind.KEYS_PRESSED, codes=codes)
    for code in codes:
        with contextlib.suppress(ValueError):
            _press_key(phone, Key(code))


def _press_key(phone: Phone, key: Key) -> None:
    lit = phone.awake
    match key:
        case Key.POWER if not lit:
            phone.display.wake()
            return
        case Key.POWER | Key.SLEEP:
            phone.display.darken()
            return
        case Key.WAKEUP:
            phone.display.wake()
            return
        case _ if not lit:
            return
        case Key.MENU if phone.display.keyguard:
            phone.display.dismiss_keyguard()
            return
        case _:
            phone.display.touch()
    _press_in_app(phone, key)


def _press_in_app(phone: Phone, key: Key) -> None:
    front = phone.apps.front
    match key:
        case Key.HOME | Key.APP_SWITCH:
            phone.display.close_shade()
            if Fault.IGNORES_HOME not in phone.faults:
                phone.go_home()
            return
        case _ if phone.display.keyguard:
            return
        case Key.BACK if phone.display.shade:
            phone.display.close_shade()
            return
        case _ if front is None:
            return
        case Key.BACK:
            if not front.back():
                front.hide()
            return
        case Key.ENTER:
            front.enter()
            return
        case Key.PASTE:
            paste(phone)
            return
        case _:
            pass
    box = front.focused_field()
    if box is None:
        return
    match key:
        case Key.DEL:
            box.delete_before()
        case Key.FORWARD_DEL:
            box.delete_after()
        case Key.MOVE_HOME:
            box.move(-len(box.text))
        case Key.MOVE_END:
            box.move(len(box.text))
        case Key.DPAD_LEFT:
            box.move(-1)
        case Key.DPAD_RIGHT:
            box.move(1)
        case _:
            pass
