"""Which views a UiSelector finds: the dict that uiautomator2 sends, by its names and its mask."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from phonefarm_simulator.views import Focus, View


class BadSelectorError(Exception):
    """The selector asks for what this server does not know."""


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
    given = {name: value for name, value in selector.items() if name not in _ENVELOPE}
    for name in given:
        if name not in _TESTS:
            raise BadSelectorError(f"unknown field {name}")
    try:
        found = [
            view
            for view in root.walk()
            if all(_TESTS[name](view, value) for name, value in given.items())
        ]
    except (TypeError, re.error) as error:
        raise BadSelectorError(str(error)) from error
    steps = zip(
        selector.get("childOrSibling") or (),
        selector.get("childOrSiblingSelector") or (),
        strict=False,
    )
    for how, inner in steps:
        if how != "child":
            raise BadSelectorError(f"only child is known, not {how}")
        found = [
            below for view in found for child in view.children for below in matching(child, inner)
        ]
    instance = selector.get("instance")
    if instance is None:
        return found
    return found[int(instance) : int(instance) + 1]


def focused_field(root: View) -> View | None:
    """Return the text field that has the cursor."""
    fields = (view for view in root.walk() if view.focused and isinstance(view.tap, Focus))
    return next(fields, None)
