"""Which views a UiSelector finds: the dict that uiautomator2 sends, by its names and its mask."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from phonefarm_simulator.views import Focus, View


class BadSelectorError(Exception):
    """The selector asks for what this server does not know."""


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A view and where it is: its parent, and its place among the parent's children."""

    view: View
    parent: "_Place | None" = None
    index: int = 0

    def walk(self) -> Iterator["_Place"]:
        """Yield this place and all below it, in drawing order."""
        yield self
        for index, child in enumerate(self.view.children):
            yield from _Place(view=child, parent=self, index=index).walk()


_TESTS: Mapping[str, Callable[[View, Any], bool]] = {
    "text": lambda view, value: view.text == value,
    "textContains": lambda view, value: value in view.text,
    "textMatches": lambda view, value: re.fullmatch(value, view.text) is not None,
    "textStartsWith": lambda view, value: view.text.startswith(value),
    "className": lambda view, value: view.kind == value,
    "classNameMatches": lambda view, value: re.fullmatch(value, view.kind) is not None,
    "description": lambda view, value: view.description == value,
    "descriptionContains": lambda view, value: value in view.description,
    "descriptionMatches": lambda view, value: re.fullmatch(value, view.description) is not None,
    "descriptionStartsWith": lambda view, value: view.description.startswith(value),
    "clickable": lambda view, value: (view.tap is not None) == value,
    "scrollable": lambda view, value: view.scrollable == value,
    "enabled": lambda _view, value: value is True,
    "checkable": lambda _view, value: value is False,
    "checked": lambda _view, value: value is False,
    "longClickable": lambda _view, value: value is False,
    "focusable": lambda view, value: view.focusable == value,
    "focused": lambda view, value: view.focused == value,
    "selected": lambda view, value: view.selected == value,
    "packageName": lambda view, value: view.package == value,
    "packageNameMatches": lambda view, value: re.fullmatch(value, view.package) is not None,
    "resourceId": lambda view, value: view.resource_id == value,
    "resourceIdMatches": lambda view, value: re.fullmatch(value, view.resource_id) is not None,
}
_ENVELOPE = frozenset({"mask", "childOrSibling", "childOrSiblingSelector", "instance", "index"})


def matching(root: View, selector: Mapping[str, Any]) -> list[View]:
    """Return the views that match, in drawing order; `instance` picks one of them."""
    try:
        return [place.view for place in _matching(_Place(view=root).walk(), selector)]
    except (TypeError, re.error) as error:
        raise BadSelectorError(str(error)) from error


def _matching(places: Iterator[_Place], selector: Mapping[str, Any]) -> list[_Place]:
    given = {name: value for name, value in selector.items() if name not in _ENVELOPE}
    for name in given:
        if name not in _TESTS:
            raise BadSelectorError(f"unknown field {name}")
    index = selector.get("index")
    found = [
        place
        for place in places
        if (index is None or place.index == index)
        and all(_TESTS[name](place.view, value) for name, value in given.items())
    ]
    steps = zip(
        selector.get("childOrSibling") or (),
        selector.get("childOrSiblingSelector") or (),
        strict=False,
    )
    for how, inner in steps:
        if how not in {"child", "sibling"}:
            raise BadSelectorError(f"only child and sibling are known, not {how}")
        starts = found if how == "child" else [place.parent for place in found if place.parent]
        found = [below for start in starts for below in _matching(_below(start), inner)]
    instance = selector.get("instance")
    return found if instance is None else found[int(instance) : int(instance) + 1]


def _below(start: _Place) -> Iterator[_Place]:
    places = start.walk()
    next(places)
    return places


def focused_field(root: View) -> View | None:
    """Return the text field that has the cursor."""
    fields = (view for view in root.walk() if view.focused and isinstance(view.tap, Focus))
    return next(fields, None)
