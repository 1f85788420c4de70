"""Reads the XML of a UI tree, as uiautomator and u2.jar dump it, into nodes."""

import re
from collections.abc import Iterator
from typing import Final
from xml.parsers import expat

from phonefarm_agent.model.screen import UiNode

MOST_NODES: Final = 5000
FLAGS: Final = (
    "clickable",
    "enabled",
    "checked",
    "focused",
    "selected",
    "scrollable",
    "password",
)
_BOUNDS: Final = re.compile(r"\[(-?\d{1,6}),(-?\d{1,6})\]\[(-?\d{1,6}),(-?\d{1,6})\]")


class BadTreeError(Exception):
    """The text is no UI tree; it says why."""


def read_tree(text: str) -> tuple[UiNode, ...]:
    """Return the elements in the document's order, at most 5,000; BadTreeError.

    Entities other than XML's own are refused: a dump has none.
    """
    nodes: list[UiNode] = []
    open_nodes: list[int] = []

    def begin(tag: str, attributes: dict[str, str]) -> None:
        if tag != "node":
            open_nodes.append(-1)
            return
        parent = next((index for index in reversed(open_nodes) if index >= 0), -1)
        open_nodes.append(len(nodes))
        if len(nodes) >= MOST_NODES:
            raise BadTreeError(f"more than {MOST_NODES} elements")
        nodes.append(_node(parent, attributes))

    def refuse(*_: object) -> None:
        raise BadTreeError("the dump declares an entity")

    parser = expat.ParserCreate()
    parser.StartElementHandler = begin
    parser.EndElementHandler = lambda _: open_nodes.pop()
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise BadTreeError(f"the dump is not XML: {error}") from error
    if not nodes:
        raise BadTreeError("the dump has no element")
    return tuple(nodes)


def _node(parent: int, attributes: dict[str, str]) -> UiNode:
    found = _BOUNDS.fullmatch(attributes.get("bounds", ""))
    left, top, right, bottom = (int(each) for each in found.groups()) if found else (0, 0, 0, 0)
    return UiNode(
        parent=parent,
        class_name=attributes.get("class", ""),
        text=attributes.get("text", ""),
        resource_id=attributes.get("resource-id", ""),
        description=attributes.get("content-desc", ""),
        package=attributes.get("package", ""),
        bounds=(left, top, right, bottom),
        flags=frozenset(_flags(attributes)),
    )


def _flags(attributes: dict[str, str]) -> Iterator[str]:
    return (flag for flag in FLAGS if attributes.get(flag) == "true")
