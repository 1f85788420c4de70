"""What the UI server of uiautomator2 does when it is called: look, touch, put text into fields.

Names and results are those of u2.jar 0.4.1 (AutomatorServiceImpl).
"""

import asyncio
import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from phonefarm_simulator import input_events
from phonefarm_simulator.capture import captured
from phonefarm_simulator.faults import Fault
from phonefarm_simulator.keys import Key, key_code
from phonefarm_simulator.phone import Phone
from phonefarm_simulator.screenshot import jpeg_of
from phonefarm_simulator.ui_dump import dump
from phonefarm_simulator.ui_selector import BadSelectorError, focused_field, matching
from phonefarm_simulator.views import Focus, View

_NOT_CONNECTED = "java.lang.IllegalStateException"


class RpcError(Exception):
    """The call failed on the phone; *kind* is the Java class that the answer names."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class UnknownMethodError(Exception):
    """The server has no method of that name."""


class UiCalls:
    """Performs the calls on one phone; it remembers the last dump for the fault of a stale one."""

    def __init__(self, phone: Phone) -> None:
        self._phone = phone
        self._last_dump = ""

    async def perform(self, name: str, given: list[Any]) -> Any:
        """Return the result of a call; RpcError or UnknownMethodError."""
        if Fault.UI_SERVER_NOT_CONNECTED in self._phone.faults:
            raise RpcError(_NOT_CONNECTED, "UiAutomation not connected!")
        method = _METHODS.get(name)
        if method is None:
            raise UnknownMethodError(name)
        found = method(self, *given)
        return await found if asyncio.iscoroutine(found) else found

    # Looking.

    def dump_window_hierarchy(
        self, compressed: bool = False, depth: int = 50, root_in_active: bool = False
    ) -> str:
        """Return the screen as XML, moving or not."""
        faults = self._phone.faults
        if Fault.UI_SERVER_OVERFLOWS in faults and depth > 30:
            raise RpcError("java.lang.StackOverflowError", "stack size 1040KB")
        if Fault.UI_SERVER_EMPTY in faults:
            return ""
        if Fault.UI_SERVER_STALE in faults and self._last_dump:
            return self._last_dump
        blind = Fault.UI_SERVER_BLIND in faults
        screen = self._phone.blind_screen() if blind else self._phone.looked_at()
        if not self._phone.awake:
            return ""
        self._last_dump = dump(screen, rotation=self._phone.display.rotation, by_server=True)
        return self._last_dump

    def device_info(self) -> Mapping[str, Any]:
        """Return what the server tells of the display."""
        width, height = self._phone.display.size
        return {
            "currentPackageName": self._phone.focus[0],
            "displayHeight": height,
            "displayRotation": self._phone.display.rotation,
            "displaySizeDpX": width // 2,
            "displaySizeDpY": height // 2,
            "displayWidth": width,
            "productName": "sim_phone",
            "screenOn": self._phone.awake,
            "sdkInt": self._phone.sdk,
            "naturalOrientation": self._phone.display.rotation == 0,
        }

    def get_configurator(self) -> Mapping[str, int]:
        """Return the waits; that for rest is 0."""
        return {
            "actionAcknowledgmentTimeout": 500,
            "keyInjectionDelay": 0,
            "scrollAcknowledgmentTimeout": 200,
            "waitForIdleTimeout": 0,
            "waitForSelectorTimeout": 0,
        }

    async def take_screenshot(self, scale: float = 1.0, quality: int = 90) -> str:
        """Return the picture as JPEG in base64."""
        picture = await asyncio.to_thread(jpeg_of, captured(self._phone), int(quality))
        return base64.b64encode(picture).decode()

    def exist(self, selector: Mapping[str, Any]) -> bool:
        """Tell whether a view matches."""
        return self._find(selector) is not None

    async def wait_for_exists(self, selector: Mapping[str, Any], milliseconds: int) -> bool:
        """Look for a view until it is there or the time is over."""
        clock = asyncio.get_running_loop()
        end = clock.time() + milliseconds / 1000
        while not self.exist(selector):
            if clock.time() >= end:
                return False
            await asyncio.sleep(0.05)  # a screen tells nobody that it has changed
        return True

    async def wait_until_gone(self, selector: Mapping[str, Any], milliseconds: int) -> bool:
        """Look for a view until it is gone or the time is over."""
        clock = asyncio.get_running_loop()
        end = clock.time() + milliseconds / 1000
        while self.exist(selector):
            if clock.time() >= end:
                return False
            await asyncio.sleep(0.05)  # a screen tells nobody that it has changed
        return True

    def object_info(self, selector: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what the server tells of the first view that matches."""
        return _info(self._one(selector))

    def count(self, selector: Mapping[str, Any]) -> int:
        """Return how many views match."""
        return len(matching(self._phone.screen(), {**selector, "instance": None}))

    def get_text(self, selector: Mapping[str, Any]) -> str:
        """Return a view's text, emoji included."""
        return self._one(selector).text

    # Touching.

    def click(self, first: Any, second: Any = None, _hold: int = 0) -> bool:
        """Tap a point, or the middle of the view that a selector finds."""
        if isinstance(first, Mapping):
            first, second = _middle(self._one(first))
        input_events.tap(self._phone, float(first), float(second))
        return True

    def swipe(self, x1: float, y1: float, x2: float, y2: float, steps: int) -> bool:
        """Draw a finger from one point to the other."""
        input_events.swipe(self._phone, (float(x1), float(y1)), (float(x2), float(y2)))
        return steps > 0

    def long_click(self, selector: Mapping[str, Any]) -> bool:
        """Hold the middle of a view; no view here tells it from a tap."""
        return self.click(selector)

    def drag(self, x1: float, y1: float, x2: float, y2: float, steps: int) -> bool:
        """Drag from one point to the other."""
        return self.swipe(x1, y1, x2, y2, steps)

    def drag_to(self, selector: Mapping[str, Any], *target: Any) -> bool:
        """Drag a view to a point, or to another view."""
        start = _middle(self._one(selector))
        end = (
            _middle(self._one(target[0]))
            if isinstance(target[0], Mapping)
            else (float(target[0]), float(target[1]))
        )
        return self.swipe(*start, *end, int(target[-1]))

    def swipe_points(self, points: Sequence[float], steps: int) -> bool:
        """Draw a finger over all points: x and y in turn."""
        return self.swipe(points[0], points[1], points[-2], points[-1], steps)

    def press_key(self, name: str) -> bool:
        """Press a key by the name UiDevice knows."""
        known = {"del": "DEL", "delete": "DEL", "recent": "APP_SWITCH", "center": "DPAD_CENTER"}
        code = key_code(known.get(name, name))
        if code is None:
            return False
        input_events.press_keys(self._phone, [code])
        return True

    def press_key_code(self, code: int, _meta: int = 0) -> bool:
        """Press a key by its number."""
        input_events.press_keys(self._phone, [int(code)])
        return True

    def wake_up(self) -> bool:
        """Light the display."""
        input_events.press_keys(self._phone, [Key.WAKEUP])
        return True

    def sleep(self) -> bool:
        """Darken the display."""
        input_events.press_keys(self._phone, [Key.SLEEP])
        return True

    def scroll(self, selector: Mapping[str, Any], _vertical: bool, step: int) -> bool:
        """Scroll a list or pager by a page."""
        self._one(selector)
        if self._phone.apps.front is not None:
            self._phone.apps.front.scroll(step)
        return True

    # Text.

    def set_text(self, selector: Mapping[str, Any], text: str) -> bool:
        """Replace what a field holds; true also when the app refused (UiObject2.setText)."""
        view = self._one(selector)
        if not isinstance(view.tap, Focus) or self._phone.apps.front is None:
            return False
        self._phone.apps.front.tap(view.tap, view.bounds, _middle(view)[0])
        if Fault.SET_TEXT_IGNORED not in self._phone.faults:
            input_events.put_text(self._phone, str(text))
        return True

    def clear_text_field(self, selector: Mapping[str, Any]) -> bool:
        """Empty a field."""
        return self.set_text(selector, "")

    def clear_input_text(self) -> bool:
        """Empty the field that has the focus."""
        if focused_field(self._phone.screen()) is None:
            return False
        input_events.put_text(self._phone, "")
        return True

    def set_clipboard(self, _label: str | None, text: str) -> None:
        """Put a text on the clipboard."""
        self._check_clipboard()
        self._phone.clipboard.put(str(text))

    def get_clipboard(self) -> str | None:
        """Return what is on the clipboard."""
        self._check_clipboard()
        return self._phone.clipboard.text

    def _check_clipboard(self) -> None:
        if Fault.CLIPBOARD_DENIED in self._phone.faults:
            raise RpcError("java.lang.SecurityException", "Package android does not belong to 2000")

    def paste_clipboard(self) -> bool:
        """Type the clipboard's text where the cursor is."""
        input_events.paste(self._phone)
        return True

    def _find(self, selector: Mapping[str, Any]) -> View | None:
        try:
            found = matching(self._phone.screen(), selector)
        except BadSelectorError as error:
            raise RpcError("java.lang.IllegalArgumentException", str(error)) from error
        return found[0] if found else None

    def _one(self, selector: Mapping[str, Any]) -> View:
        view = self._find(selector)
        if view is None:
            given = {name: value for name, value in selector.items() if value}
            raise RpcError("androidx.test.uiautomator.UiObjectNotFoundException", str(given))
        return view


def _middle(view: View) -> tuple[float, float]:
    box = view.bounds
    return (box.left + box.right) / 2, (box.top + box.bottom) / 2


def _info(view: View) -> Mapping[str, Any]:
    box = view.bounds
    bounds = {"bottom": box.bottom, "left": box.left, "right": box.right, "top": box.top}
    return {
        "bounds": bounds,
        "visibleBounds": bounds,
        "childCount": len(view.children),
        "className": view.kind,
        "contentDescription": view.description,
        "packageName": view.package,
        "resourceName": view.resource_id,
        "text": view.text,
        "checkable": False,
        "checked": False,
        "clickable": view.tap is not None,
        "enabled": True,
        "focusable": view.focusable,
        "focused": view.focused,
        "longClickable": False,
        "scrollable": view.scrollable,
        "selected": view.selected,
    }


_METHODS: Mapping[str, Callable[..., Any]] = {
    "clearInputText": UiCalls.clear_input_text,
    "clearLastToast": lambda _server: None,
    "clearTextField": UiCalls.clear_text_field,
    "click": UiCalls.click,
    "count": UiCalls.count,
    "deviceInfo": UiCalls.device_info,
    "drag": UiCalls.drag,
    "dragTo": UiCalls.drag_to,
    "dumpWindowHierarchy": UiCalls.dump_window_hierarchy,
    "exist": UiCalls.exist,
    "getClipboard": UiCalls.get_clipboard,
    "getConfigurator": UiCalls.get_configurator,
    "getLastToast": lambda _server: None,
    "getText": UiCalls.get_text,
    "longClick": UiCalls.long_click,
    "objInfo": UiCalls.object_info,
    "pasteClipboard": UiCalls.paste_clipboard,
    "pressKey": UiCalls.press_key,
    "pressKeyCode": UiCalls.press_key_code,
    "scrollBackward": lambda server, selector, vertical, *_: server.scroll(selector, vertical, -1),
    "scrollForward": lambda server, selector, vertical, *_: server.scroll(selector, vertical, 1),
    "setClipboard": UiCalls.set_clipboard,
    "setText": UiCalls.set_text,
    "sleep": UiCalls.sleep,
    "swipe": UiCalls.swipe,
    "swipePoints": UiCalls.swipe_points,
    "takeScreenshot": UiCalls.take_screenshot,
    "waitForExists": UiCalls.wait_for_exists,
    "waitUntilGone": UiCalls.wait_until_gone,
    "wakeUp": UiCalls.wake_up,
}
