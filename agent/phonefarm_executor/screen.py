"""A screen as `uiautomator dump` describes it, and the selectors that find things on it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

_BOUNDS = re.compile(r"\[(-?\d{1,6}),(-?\d{1,6})\]\[(-?\d{1,6}),(-?\d{1,6})\]")


class DumpError(Exception):
    """The text is no UI dump; it says why."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One view; bounds in pixels, right and bottom just outside."""

    resource_id: str
    text: str
    description: str
    kind: str
    package: str
    bounds: tuple[int, int, int, int]
    element: ET.Element = field(repr=False, compare=False)

    @property
    def center(self) -> tuple[int, int]:
        """Where a finger would touch it."""
        left, top, right, bottom = self.bounds
        return (left + right) // 2, (top + bottom) // 2

    def texts(self) -> tuple[str, ...]:
        """Return its own text and description and those of all views in it."""
        return tuple(
            text
            for view in self.element.iter("node")
            for text in (view.get("text"), view.get("content-desc"))
            if text
        )


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """What a view must have; everything that is given must match."""

    resource_id: str | None = None
    text: str | None = None
    text_contains: str | None = None
    description: str | None = None
    description_contains: str | None = None
    kind: str | None = None
    index: int | None = None  # which of the views that match, from 0; None: any of them
    strip: str = ""  # a prefix the app puts before the value, e.g. `@`

    def matches(self, node: Node) -> bool:
        """Tell whether the view has all that is given, whichever of them it is."""
        return (
            self.resource_id in {None, node.resource_id}
            and self.text in {None, node.text}
            and self.description in {None, node.description}
            and self.kind in {None, node.kind}
            and (self.text_contains is None or self.text_contains in node.text)
            and (self.description_contains is None or self.description_contains in node.description)
        )

    def __str__(self) -> str:
        given = {
            "resource-id": self.resource_id,
            "text": self.text,
            "text containing": self.text_contains,
            "content-desc": self.description,
            "content-desc containing": self.description_contains,
            "class": self.kind,
            "index": self.index,
        }
        return ", ".join(f"{name} {value}" for name, value in given.items() if value is not None)


@dataclass(frozen=True, kw_only=True)
class Selector:
    """Names a view of the app: the first alternative that matches something counts."""

    name: str
    alternatives: tuple[Alternative, ...]

    def value_of(self, node: Node) -> str:
        """Return the view's text without the prefix the app puts before it."""
        fitting = (each.strip for each in self.alternatives if each.matches(node))
        return node.text.removeprefix(next(fitting, "")).strip()

    def __str__(self) -> str:
        return f"{self.name} ({'; or '.join(map(str, self.alternatives))})"


@dataclass(frozen=True, kw_only=True)
class Screen:
    """All views in drawing order, and the dump they were read from."""

    xml: bytes
    nodes: tuple[Node, ...]
    rotation: int = 0  # quarters of a turn

    def find(self, selector: Selector) -> Node | None:
        """Return the first view that matches."""
        return next(self.find_all(selector), None)

    def find_all(self, selector: Selector) -> Iterator[Node]:
        """Yield every view that the first fitting alternative matches, from top to bottom."""
        fitting = self.alternative_of(selector)
        return iter(self.matches(fitting) if fitting else ())

    def alternative_of(self, selector: Selector) -> Alternative | None:
        """Return the first alternative that matches a view; None when none does."""
        return next((each for each in selector.alternatives if self.matches(each)), None)

    def matches(self, alternative: Alternative) -> tuple[Node, ...]:
        """Return every view that matches, from top to bottom; with an index only that one."""
        found = tuple(node for node in self.nodes if alternative.matches(node))
        at = alternative.index
        return found if at is None else found[at : at + 1]

    def packages(self) -> set[str]:
        """Return the packages whose views are shown."""
        return {node.package for node in self.nodes if node.package}

    def words(self, most: int = 300) -> str:
        """Return the texts to be read on the screen, for a message."""
        return " | ".join(node.text for node in self.nodes if node.text)[:most]


def read_screen(xml: bytes) -> Screen:
    """Return the screen of a dump; raise DumpError for anything that is none."""
    text = xml.decode(errors="replace")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DumpError("a UI dump must not declare a document type")
    try:
        root = ET.fromstring(text)  # noqa: S314 - entities cannot be declared, see above
    except (ET.ParseError, ValueError) as error:
        raise DumpError(f"the UI dump cannot be read: {error}") from error
    if root.tag != "hierarchy":
        raise DumpError(f"the root of a UI dump must be <hierarchy>, not <{root.tag[:100]}>")
    turned = root.get("rotation", "0")
    return Screen(
        xml=xml,
        nodes=tuple(_node(element) for element in root.iter("node")),
        rotation=int(turned) if turned in {"0", "1", "2", "3"} else 0,
    )


def _node(element: ET.Element) -> Node:
    match = _BOUNDS.fullmatch(element.get("bounds", ""))
    left, top, right, bottom = map(int, match.groups()) if match else (0, 0, 0, 0)
    return Node(
        resource_id=element.get("resource-id", ""),
        text=element.get("text", ""),
        description=element.get("content-desc", ""),
        kind=element.get("class", ""),
        package=element.get("package", ""),
        bounds=(left, top, right, bottom),
        element=element,
    )
