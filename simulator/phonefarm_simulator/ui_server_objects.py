"""The views that calls of the UI server are about: found by a selector, or by a name given out."""

from collections.abc import Callable, Mapping
from typing import Any

from phonefarm_simulator.phone import Phone
from phonefarm_simulator.ui_selector import BadSelectorError, matching
from phonefarm_simulator.views import View

Selector = Mapping[str, Any] | str
"""A UiSelector, or the name that `childByText` and its kin have returned."""
NOT_FOUND = "androidx.test.uiautomator.UiObjectNotFoundException"


class RpcError(Exception):
    """The call failed on the phone; *kind* is the Java class that the answer names."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class UiObjects:
    """Finds views on what is on the screen now, each time anew."""

    def __init__(self, phone: Phone) -> None:
        self._phone = phone
        self._named: dict[str, Callable[[], list[View]]] = {}

    def all(self, selector: Selector) -> list[View]:
        """Return all views that match; RpcError for a selector that is none."""
        if isinstance(selector, str):
            return self._named[selector]() if selector in self._named else []
        return self._below(self._phone.screen(), selector)

    def one(self, selector: Selector) -> View:
        """Return the first view; RpcError when there is none."""
        found = self.all(selector)
        if not found:
            if isinstance(selector, str):
                raise RpcError(NOT_FOUND, selector)
            given = {name: value for name, value in selector.items() if value}
            raise RpcError(NOT_FOUND, str(given))
        return found[0]

    def count(self, selector: Mapping[str, Any]) -> int:
        """Return how many views match."""
        return len(self.all({**selector, "instance": None}))

    def name_child(
        self, selector: Selector, pattern: Mapping[str, Any], has: Callable[[View], bool]
    ) -> str | None:
        """Return a name for the first child that matches and has such a view in it, if any."""

        def find() -> list[View]:
            children = self._below(self.one(selector), {**pattern, "instance": None})
            return [child for child in children if any(has(view) for view in child.walk())]

        return self._name(find) if find() else None

    def name_instance(self, selector: Selector, pattern: Mapping[str, Any], instance: int) -> str:
        """Return a name for the child of that number among those that match."""
        numbered = {**pattern, "instance": instance}
        return self._name(lambda: self._below(self.one(selector), numbered))

    def _name(self, find: Callable[[], list[View]]) -> str:
        name = f"object-{len(self._named)}"
        self._named[name] = find
        return name

    def _below(self, root: View, selector: Mapping[str, Any]) -> list[View]:
        try:
            return matching(root, selector)
        except BadSelectorError as error:
            raise RpcError("java.lang.IllegalArgumentException", str(error)) from error


def middle(view: View) -> tuple[float, float]:
    """Return the point in the middle of a view."""
    box = view.bounds
    return (box.left + box.right) / 2, (box.top + box.bottom) / 2


def info(view: View) -> Mapping[str, Any]:
    """Return what the server tells of a view (ObjInfo)."""
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
