"""The gestures of the UI server: touches in their parts, two fingers, flings and scrolls.

Names and results are those of u2.jar 0.4.1 (AutomatorServiceImpl); how far fingers go is that of
AOSP's UiObject.
"""

from collections.abc import Callable, Mapping
from typing import Any

from phonefarm_simulator import input_events
from phonefarm_simulator.input_events import Point
from phonefarm_simulator.phone import Phone
from phonefarm_simulator.ui_server_objects import Selector, UiObjects, middle
from phonefarm_simulator.views import View

FINGER_HALF_WIDTH = 20
MOST_SEARCH_SWIPES = 30
DOWN, UP = 0, 1


class UiGestures:
    """Performs the gestures on one phone."""

    def __init__(self, phone: Phone, objects: UiObjects) -> None:
        self._phone = phone
        self._objects = objects
        self._touched: Point | None = None

    def inject(self, action: int, x: float, y: float, _meta: int = 0) -> bool:
        """Put a finger down (0), move it (2), lift it (1)."""
        if action == DOWN:
            self._touched = float(x), float(y)
        elif action == UP and self._touched is not None:
            input_events.swipe(self._phone, self._touched, (float(x), float(y)))
            self._touched = None
        return True

    def draw_two(self, selector: Selector, *points: Any) -> bool:
        """Draw two fingers: where both begin, where both end, and the steps."""
        self._objects.one(selector)
        starts, ends = points[:2], points[2:4]
        fingers = [
            ((float(start["x"]), float(start["y"])), (float(end["x"]), float(end["y"])))
            for start, end in zip(starts, ends, strict=True)
        ]
        input_events.pinch(self._phone, *fingers)
        return True

    def pinch_out(self, selector: Selector, percent: int, _steps: int) -> bool:
        """Draw two fingers from the middle of a view towards its sides."""
        input_events.pinch(self._phone, *_pinch(self._objects.one(selector), percent))
        return True

    def pinch_in(self, selector: Selector, percent: int, _steps: int) -> bool:
        """Draw two fingers from the sides of a view to its middle."""
        fingers = _pinch(self._objects.one(selector), percent)
        input_events.pinch(self._phone, *((end, start) for start, end in fingers))
        return True

    def scroll(self, selector: Selector, vertical: bool, step: int) -> bool:
        """Scroll a list or pager by a page; tell whether something else is shown."""
        self._objects.one(selector)
        front = self._phone.apps.front
        if front is None or not vertical:
            return False  # nothing here scrolls to the side
        before = _shown(self._phone.screen())
        front.scroll(step)
        return _shown(self._phone.screen()) != before

    def scroll_far(self, selector: Selector, vertical: bool, most: int, step: int) -> bool:
        """Scroll until nothing changes, or so often."""
        return any(not self.scroll(selector, vertical, step) for _ in range(int(most)))

    def scroll_to(self, selector: Selector, target: Mapping[str, Any], vertical: bool) -> bool:
        """Scroll from the beginning until a view is there."""
        if self._objects.all(target):
            return True
        self.scroll_far(selector, vertical, MOST_SEARCH_SWIPES, -1)
        return self._search(selector, vertical, lambda: bool(self._objects.all(target)))

    def child_by(
        self,
        selector: Selector,
        pattern: Mapping[str, Any],
        has: Callable[[View], bool],
        may_scroll: bool,
    ) -> str | None:
        """Return a name for the child that has such a view in it, and scroll to it if allowed."""
        if name := self._objects.name_child(selector, pattern, has):
            return name
        if may_scroll:
            self.scroll_far(selector, True, MOST_SEARCH_SWIPES, -1)
            self._search(
                selector,
                True,
                lambda: self._objects.name_child(selector, pattern, has) is not None,
            )
        return self._objects.name_child(selector, pattern, has)

    def _search(self, selector: Selector, vertical: bool, found: Callable[[], bool]) -> bool:
        for _ in range(MOST_SEARCH_SWIPES):
            if found():
                return True
            if not self.scroll(selector, vertical, 1):
                return False
        return found()


def _shown(screen: View) -> list[tuple[str, str]]:
    """Return what is on a screen, whether or not a video in it moves."""
    return [(view.resource_id, view.text or view.description) for view in screen.walk()]


def _pinch(view: View, percent: int) -> list[tuple[Point, Point]]:
    x, y = middle(view)
    reach = (view.bounds.right - view.bounds.left) / 2 * min(100, max(0, percent)) / 100
    return [
        ((x - FINGER_HALF_WIDTH, y), (x - reach, y)),
        ((x + FINGER_HALF_WIDTH, y), (x + reach, y)),
    ]
