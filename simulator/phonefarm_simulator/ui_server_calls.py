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
from phonefarm_simulator.ui_selector import focused_field
from phonefarm_simulator.ui_server_gestures import UiGestures
from phonefarm_simulator.ui_server_objects import (
    NOT_FOUND,
    RpcError,
    Selector,
    UiObjects,
    info,
    middle,
)
from phonefarm_simulator.views import Focus

_NOT_CONNECTED = "java.lang.IllegalStateException"


class UnknownMethodError(Exception):
    """The server has no method of that name."""


class UiCalls:
    """Performs the calls on one phone, and remembers what calls have left behind.

    That is the last dump (for the fault of a stale one), the waits, and the last toast.
    """

    def __init__(self, phone: Phone) -> None:
        self._phone = phone
        self._last_dump = ""
        self._toast: str | None = None
        self._waits = dict(_WAITS)
        self._objects = UiObjects(phone)
        self.gestures = UiGestures(phone, self._objects)

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
        return dict(self._waits)

    def set_configurator(self, waits: Mapping[str, int]) -> Mapping[str, int]:
        """Change the waits that are given, and return all; nothing here waits."""
        self._waits |= {name: int(waits[name]) for name in _WAITS if name in waits}
        return dict(self._waits)

    async def take_screenshot(self, scale: float = 1.0, quality: int = 90) -> str:
        """Return the picture as JPEG in base64."""
        picture = await asyncio.to_thread(jpeg_of, captured(self._phone), int(quality))
        return base64.b64encode(picture).decode()

    def exist(self, selector: Selector) -> bool:
        """Tell whether a view matches."""
        return bool(self._objects.all(selector))

    async def wait_for_exists(self, selector: Selector, milliseconds: int) -> bool:
        """Look for a view until it is there or the time is over."""
        clock = asyncio.get_running_loop()
        end = clock.time() + milliseconds / 1000
        while not self.exist(selector):
            if clock.time() >= end:
                return False
            await asyncio.sleep(0.05)  # a screen tells nobody that it has changed
        return True

    async def wait_until_gone(self, selector: Selector, milliseconds: int) -> bool:
        """Look for a view until it is gone or the time is over."""
        clock = asyncio.get_running_loop()
        end = clock.time() + milliseconds / 1000
        while self.exist(selector):
            if clock.time() >= end:
                return False
            await asyncio.sleep(0.05)  # a screen tells nobody that it has changed
        return True

    def object_info(self, selector: Selector) -> Mapping[str, Any]:
        """Return what the server tells of the first view that matches."""
        return info(self._objects.one(selector))

    def all_info(self, selector: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Return what the server tells of each view that matches."""
        return [info(view) for view in self._objects.all({**selector, "instance": None})]

    def count(self, selector: Mapping[str, Any]) -> int:
        """Return how many views match."""
        return self._objects.count(selector)

    def child_by_text(
        self,
        selector: Selector,
        pattern: Mapping[str, Any],
        text: str,
        may_scroll: bool = False,
    ) -> str:
        """Return a name for the child with that text in it; RpcError when there is none."""
        found = self.gestures.child_by(selector, pattern, lambda v: v.text == text, may_scroll)
        if found is None:
            raise RpcError(NOT_FOUND, f"for text= {text}")
        return found

    def child_by_description(
        self,
        selector: Selector,
        pattern: Mapping[str, Any],
        text: str,
        may_scroll: bool = False,
    ) -> str:
        """Return a name for the child with that description in it; RpcError as above."""
        found = self.gestures.child_by(
            selector, pattern, lambda v: v.description == text, may_scroll
        )
        if found is None:
            raise RpcError(NOT_FOUND, f"for description= {text}")
        return found

    def child_by_instance(
        self, selector: Selector, pattern: Mapping[str, Any], instance: int
    ) -> str:
        """Return a name for the child of that number."""
        return self._objects.name_instance(selector, pattern, int(instance))

    def get_text(self, selector: Selector) -> str:
        """Return a view's text, emoji included."""
        return self._objects.one(selector).text

    # Touching.

    def click(self, first: Any, second: Any = None, _hold: int = 0) -> bool:
        """Tap a point, or the middle of the view that a selector finds."""
        if isinstance(first, Mapping):
            first, second = middle(self._objects.one(first))
        input_events.tap(self._phone, float(first), float(second))
        return True

    def swipe(self, x1: float, y1: float, x2: float, y2: float, steps: int) -> bool:
        """Draw a finger from one point to the other."""
        input_events.swipe(self._phone, (float(x1), float(y1)), (float(x2), float(y2)))
        return steps > 0

    def long_click(self, selector: Selector) -> bool:
        """Hold the middle of a view; no view here tells it from a tap."""
        return self.click(selector)

    def drag(self, x1: float, y1: float, x2: float, y2: float, steps: int) -> bool:
        """Drag from one point to the other."""
        return self.swipe(x1, y1, x2, y2, steps)

    def drag_to(self, selector: Selector, *target: Any) -> bool:
        """Drag a view to a point, or to another view."""
        start = middle(self._objects.one(selector))
        end = (
            middle(self._objects.one(target[0]))
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

    def set_orientation(self, word: str) -> None:
        """Turn the screen and keep it so: natural, left or right (UiDevice)."""
        quarters = {"n": 0, "l": 1, "r": 3}.get(word[:1])
        if quarters is not None:
            self._phone.display.turn(quarters)

    def freeze_rotation(self, freeze: bool) -> None:
        """Keep the screen as it is turned now, or let it follow the phone again."""
        display = self._phone.display
        display.turn(display.rotation if freeze else None)

    def open_shade(self) -> bool:
        """Open the notifications, or the quick settings in the same place."""
        self._phone.display.open_shade()
        return True

    def make_toast(self, text: str, _milliseconds: float) -> bool:
        """Show a short message."""
        self._toast = str(text)
        return True

    def last_toast(self) -> str | None:
        """Return the last short message."""
        return self._toast

    def forget_toast(self) -> None:
        """Forget the last short message."""
        self._toast = None

    # Text.

    def set_text(self, selector: Selector, text: str) -> bool:
        """Replace what a field holds; true also when the app refused (UiObject2.setText)."""
        view = self._objects.one(selector)
        if not isinstance(view.tap, Focus) or self._phone.apps.front is None:
            return False
        self._phone.apps.front.tap(view.tap, view.bounds, middle(view)[0])
        if Fault.SET_TEXT_IGNORED not in self._phone.faults:
            input_events.put_text(self._phone, str(text))
        return True

    def clear_text_field(self, selector: Selector) -> bool:
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


_WAITS: Mapping[str, int] = {
    "actionAcknowledgmentTimeout": 500,
    "keyInjectionDelay": 0,
    "scrollAcknowledgmentTimeout": 200,
    "waitForIdleTimeout": 0,
    "waitForSelectorTimeout": 0,
}
_METHODS: Mapping[str, Callable[..., Any]] = {
    "childByDescription": UiCalls.child_by_description,
    "childByInstance": UiCalls.child_by_instance,
    "childByText": UiCalls.child_by_text,
    "clearInputText": UiCalls.clear_input_text,
    "clearLastToast": UiCalls.forget_toast,
    "clearLastTraversedText": lambda _server: None,
    "clearTextField": UiCalls.clear_text_field,
    "click": UiCalls.click,
    "count": UiCalls.count,
    "deviceInfo": UiCalls.device_info,
    "drag": UiCalls.drag,
    "dragTo": UiCalls.drag_to,
    "dumpWindowHierarchy": UiCalls.dump_window_hierarchy,
    "exist": UiCalls.exist,
    "flingBackward": lambda server, of, down: server.gestures.scroll(of, down, -1),
    "flingForward": lambda server, of, down: server.gestures.scroll(of, down, 1),
    "flingToBeginning": lambda server, of, down, n: server.gestures.scroll_far(of, down, n, -1),
    "flingToEnd": lambda server, of, down, n: server.gestures.scroll_far(of, down, n, 1),
    "freezeRotation": UiCalls.freeze_rotation,
    "gesture": lambda server, *given: server.gestures.draw_two(*given),
    "getClipboard": UiCalls.get_clipboard,
    "getConfigurator": UiCalls.get_configurator,
    "getLastToast": UiCalls.last_toast,
    "getLastTraversedText": lambda _server: None,
    "getText": UiCalls.get_text,
    "injectInputEvent": lambda server, *given: server.gestures.inject(*given),
    "longClick": UiCalls.long_click,
    "makeToast": UiCalls.make_toast,
    "objInfo": UiCalls.object_info,
    "objInfoOfAllInstances": UiCalls.all_info,
    "openNotification": UiCalls.open_shade,
    "openQuickSettings": UiCalls.open_shade,
    "pasteClipboard": UiCalls.paste_clipboard,
    "pinchIn": lambda server, *given: server.gestures.pinch_in(*given),
    "pinchOut": lambda server, *given: server.gestures.pinch_out(*given),
    "pressKey": UiCalls.press_key,
    "pressKeyCode": UiCalls.press_key_code,
    "scrollBackward": lambda server, of, down, *_: server.gestures.scroll(of, down, -1),
    "scrollForward": lambda server, of, down, *_: server.gestures.scroll(of, down, 1),
    "scrollTo": lambda server, *given: server.gestures.scroll_to(*given),
    "scrollToBeginning": lambda server, of, down, n, *_: server.gestures.scroll_far(
        of, down, n, -1
    ),
    "scrollToEnd": lambda server, of, down, n, *_: server.gestures.scroll_far(of, down, n, 1),
    "setClipboard": UiCalls.set_clipboard,
    "setConfigurator": UiCalls.set_configurator,
    "setOrientation": UiCalls.set_orientation,
    "setText": UiCalls.set_text,
    "sleep": UiCalls.sleep,
    "swipe": UiCalls.swipe,
    "swipePoints": UiCalls.swipe_points,
    "takeScreenshot": UiCalls.take_screenshot,
    "waitForExists": UiCalls.wait_for_exists,
    "waitUntilGone": UiCalls.wait_until_gone,
    "wakeUp": UiCalls.wake_up,
}
