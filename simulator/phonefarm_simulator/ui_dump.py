"""Writes the screen as `uiautomator dump` does."""

from xml.sax.saxutils import quoteattr

from phonefarm_simulator.views import View


def dump(root: View, *, rotation: int = 0, by_server: bool = False) -> str:
    """Return the window hierarchy as XML in one line, with the attributes of the real tool.

    The UI server of uiautomator2 adds attributes of its own and writes `.` for each half of a
    surrogate pair (uiautomator2#1111).
    """
    return (
        "<?xml version='1.0' encoding='UTF-8' standalone='yes' ?>"
        f'<hierarchy rotation="{rotation}">{_node(root, 0, by_server)}</hierarchy>'
    )


def _node(view: View, index: int, by_server: bool) -> str:
    attributes = {
        "index": str(index),
        "text": view.text,
        "resource-id": view.resource_id,
        "class": view.kind,
        "package": view.package,
        "content-desc": view.description,
        "checkable": "false",
        "checked": "false",
        "clickable": _truth(view.tap is not None),
        "enabled": "true",
        "focusable": _truth(view.focusable),
        "focused": _truth(view.focused),
        "scrollable": _truth(view.scrollable),
        "long-clickable": "false",
        "password": "false",
        "selected": _truth(view.selected),
        "bounds": str(view.bounds),
    }
    if by_server:
        attributes |= {"visible-to-user": "true", "hint": "", "display-id": "0"}
        attributes["text"] = _without_surrogates(view.text)
    opening = "<node " + " ".join(f"{name}={_quoted(value)}" for name, value in attributes.items())
    if not view.children:
        return opening + " />"
    inner = "".join(_node(child, place, by_server) for place, child in enumerate(view.children))
    return f"{opening}>{inner}</node>"


def _without_surrogates(text: str) -> str:
    return "".join(".." if ord(letter) > 0xFFFF else letter for letter in text)


def _quoted(value: str) -> str:
    printable = "".join(letter if letter.isprintable() else " " for letter in value)
    return quoteattr(printable, {'"': "&quot;"})


def _truth(value: bool) -> str:
    return "true" if value else "false"
