"""Taps, swipes, typing and key presses: what the `input` command does to a phone."""

import contextlib

from phonefarm_simulator.faults import Fault
from phonefarm_simulator.keys import Key
from phonefarm_simulator.ledger import Kind
from phonefarm_simulator.phone import Phone
from phonefarm_simulator.views import Press, view_at

SWIPE_PIXELS = 80


def tap(phone: Phone, x: float, y: float) -> None:
    """Touch the display for a moment."""
    if not phone.awake:
        return
    view = view_at(phone.screen(), x, y)
    phone.record(Kind.TAPPED, x=x, y=y, target=view.name if view else "")
    if view is None or view.tap is None:
        return
    if view.tap is Press.OPEN_APP:
        phone.open_app()
    else:
        phone.app.tap(view.tap, view.bounds, x)


def swipe(phone: Phone, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw a finger over the display; a short way is a tap."""
    if not phone.awake:
        return
    across, down = end[0] - start[0], end[1] - start[1]
    if abs(across) < SWIPE_PIXELS and abs(down) < SWIPE_PIXELS:
        tap(phone, *start)
        return
    phone.record(Kind.SWIPED, start=list(start), end=list(end))
    if phone.app.in_front and not phone.locked and abs(down) > abs(across):
        phone.app.scroll(1 if down < 0 else -1)


def type_text(phone: Phone, text: str) -> None:
    """Type where the cursor is; without a cursor the text goes nowhere, as on a real phone."""
    usable = phone.awake and phone.app.in_front and not phone.locked
    box = phone.app.focused_field() if usable else None
    phone.record(Kind.TYPED, text=text, field=phone.app.focused if box is not None else None)
    if box is not None:
        box.insert(text)


def press_keys(phone: Phone, codes: list[int]) -> None:
    """Press keys one after the other."""
    phone.record(Kind.KEYS_PRESSED, codes=codes)
    for code in codes:
        with contextlib.suppress(ValueError):
            _press_key(phone, Key(code))


def _press_key(phone: Phone, key: Key) -> None:
    match key:
        case Key.POWER:
            phone.set_awake(not phone.awake)
            return
        case Key.SLEEP | Key.WAKEUP:
            phone.set_awake(key is Key.WAKEUP)
            return
        case Key.HOME | Key.APP_SWITCH:
            if Fault.IGNORES_HOME not in phone.faults:
                phone.go_home()
            return
        case _ if phone.locked or not (phone.awake and phone.app.in_front):
            return
        case Key.BACK:
            if not phone.app.back():
                phone.app.hide()
            return
        case Key.ENTER:
            phone.app.enter()
            return
        case _:
            pass
    box = phone.app.focused_field()
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
