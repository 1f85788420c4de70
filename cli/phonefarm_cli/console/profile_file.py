"""Reads files of app profiles; errors name the line and key, before a phone is touched.

docs/app-profiles.md describes the format. The executor reads profiles by the same rules; this check
saves a run that would fail.
"""

import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from phonefarm_cli.console.input_file import InputFileError, InputProblem, decode_text

FORMATS: Final = (1, 2)
_SEVERAL: Final = ("text", "text_contains", "description", "description_contains")
_IDENTIFYING: Final = ("id", *_SEVERAL, "class")
_SELECTOR: Final = (*_IDENTIFYING, "index", "strip")
_MOST_ALTERNATIVES: Final = 50
_MOST_INDEX: Final = 1000
_SCREEN: Final = ("shows", "tap", "from")
_ENDS: Final = ("dismiss", "press", "stop")
_INTERRUPT: Final = ("name", "shows", *_ENDS)
_ACCOUNT: Final = ("screen", "name")
_PRESSED: Final = re.compile(r"[A-Z0-9][A-Z0-9_]{0,40}")
_STOPS: Final = (
    "account_challenged",
    "account_logged_out",
    "account_suspended",
    "app_update_required",
)
_TOML_LINE: Final = re.compile(r" \(at line (\d+), column \d+\)$")
_HEADER: Final = re.compile(r"\s*(\[\[?)\s*([^\]\n]+?)\s*\]")
_KEY: Final = re.compile(r"\s*([A-Za-z0-9_.\"' -]+?)\s*=")

_Problem = tuple[str, str]
"""The dotted key, and what is wrong with it."""


@dataclass(frozen=True, kw_only=True)
class ProfileFile:
    """A profile that can be tried; `tapped` are the screens that a tap leads to."""

    toml: str
    screens: frozenset[str]
    tapped: frozenset[str]


def read_profile_file(content: bytes) -> ProfileFile:
    """Return the profile; InputFileError names every wrong key with its line."""
    text = decode_text(content)
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        at = _TOML_LINE.search(str(error))
        told = f"is not TOML: {_TOML_LINE.sub('', str(error))}"
        raise InputFileError(InputProblem(line=int(at[1]) if at else 0, text=told)) from error
    if problems := list(_problems(table)):
        lines = _lines(text)
        wrong = [
            InputProblem(line=_line(lines, key), text=f"{key} {told}") for key, told in problems
        ]
        raise InputFileError(*sorted(wrong, key=lambda one: one.line))
    screens: dict[str, Any] = table.get("screens", {})
    tapped = frozenset(name for name, screen in screens.items() if "tap" in screen)
    return ProfileFile(toml=text, screens=frozenset(screens), tapped=tapped)


def _problems(table: Mapping[str, Any]) -> Iterator[_Problem]:
    if table.get("format") not in FORMATS or isinstance(table.get("format"), bool):
        yield "format", "must be 1 or 2, which are the formats that this farm supports"
    for key in ("package", "activity"):
        if not _is_text(table.get(key)):
            yield key, "must be given, and must be text"
    if "share_activity" in table and not _is_text(table["share_activity"]):
        yield "share_activity", "must be text"
    selectors, screens = table.get("selectors", {}), table.get("screens", {})
    names: set[str] = set()
    for group, entries in _tables(selectors):
        if not isinstance(entries, dict):
            yield f"selectors.{group}", "must be a table of selectors"
            continue
        names |= {f"{group}.{name}" for name in entries}
        for name, selector in entries.items():
            yield from _selector(f"selectors.{group}.{name}", selector)
    for key, value in (("selectors", selectors), ("screens", screens)):
        if not isinstance(value, dict):
            yield key, "must be a table"
    for name, screen in _tables(screens):
        yield from _screen(name, screen, screens, names)
    if "account" in table:
        yield from _account(table, screens, names)
    interrupts = table.get("interrupts", [])
    if not isinstance(interrupts, list):
        yield "interrupts", "must be an array of tables: [[interrupts]]"
        return
    for index, interrupt in enumerate(interrupts):
        yield from _interrupt(f"interrupts[{index}]", interrupt)


def _screen(
    name: str, screen: Any, screens: Mapping[str, Any], selectors: set[str]
) -> Iterator[_Problem]:
    key = f"screens.{name}"
    if not isinstance(screen, dict):
        yield key, "must be a table"
        return
    yield from _unknown(key, screen, _SCREEN)
    yield from _selector(f"{key}.shows", screen.get("shows"))
    tap, source = screen.get("tap"), screen.get("from")
    if tap is not None and (not isinstance(tap, str) or tap not in selectors):
        yield f"{key}.tap", f"is not the name of a selector in this file: {tap!r:.80}"
    if source is None:
        return
    if tap is None:
        yield f"{key}.from", "needs a `tap` in the same table"
    elif not _leads_back(name, screens):
        yield f"{key}.from", "must lead back to a screen that has a `tap` and no `from`"


def _account(table: Mapping[str, Any], screens: Any, selectors: set[str]) -> Iterator[_Problem]:
    account = table["account"]
    if table.get("format") == 1:
        yield "account", "requires format = 2"
    if not isinstance(account, dict):
        yield "account", "must be a table"
        return
    yield from _unknown("account", account, _ACCOUNT)
    screen, name = account.get("screen"), account.get("name")
    place = screens.get(screen) if isinstance(screen, str) and isinstance(screens, dict) else None
    if not isinstance(place, dict) or "tap" not in place:
        yield "account.screen", f"must name a screen that a tap leads to, not {screen!r:.80}"
    if not isinstance(name, str) or name not in selectors:
        yield "account.name", f"is not the name of a selector in this file: {name!r:.80}"


def _leads_back(name: str, screens: Mapping[str, Any]) -> bool:
    seen: set[str] = set()
    while name not in seen:
        seen.add(name)
        screen = screens.get(name)
        if not isinstance(screen, dict) or "tap" not in screen:
            return False
        if screen.get("from") is None:
            return True
        if not isinstance(screen["from"], str):
            return False
        name = screen["from"]
    return False


def _interrupt(key: str, interrupt: Any) -> Iterator[_Problem]:
    if not isinstance(interrupt, dict):
        yield key, "must be a table"
        return
    yield from _unknown(key, interrupt, _INTERRUPT)
    if not _is_text(interrupt.get("name")):
        yield f"{key}.name", "must be given, and must be text"
    yield from _selector(f"{key}.shows", interrupt.get("shows"))
    if len(interrupt.keys() & set(_ENDS)) != 1:
        yield key, "needs one of dismiss, press and stop"
    elif "dismiss" in interrupt:
        yield from _selector(f"{key}.dismiss", interrupt["dismiss"])
    elif "press" in interrupt:
        pressed = interrupt["press"]
        if not isinstance(pressed, str) or not _PRESSED.fullmatch(pressed):
            yield f"{key}.press", "must be a KEYCODE_ name without the prefix, such as BACK"
    elif not isinstance(interrupt["stop"], str) or interrupt["stop"] not in _STOPS:
        yield f"{key}.stop", f"must be one of {', '.join(_STOPS)}"


def _selector(key: str, selector: Any) -> Iterator[_Problem]:
    alternatives = selector if isinstance(selector, list) else [selector]
    count = 0
    for alternative in alternatives:
        if not isinstance(alternative, dict):
            yield key, 'must be a selector, for example { id = "search_box" }, or a list of them'
            return
        count += math.prod(len(text) for text in alternative.values() if isinstance(text, list))
        yield from _alternative(key, alternative)
    if not 0 < count <= _MOST_ALTERNATIVES:
        yield key, f"must contain 1 to {_MOST_ALTERNATIVES} alternatives"


def _alternative(key: str, alternative: Mapping[str, Any]) -> Iterator[_Problem]:
    yield from _unknown(key, alternative, _SELECTOR)
    if not alternative.keys() & set(_IDENTIFYING):
        yield key, f"must contain at least one of {', '.join(_IDENTIFYING)}"
    for name, value in alternative.items():
        texts = value if name in _SEVERAL and isinstance(value, list) else [value]
        if name == "index":
            if (
                isinstance(value, bool)
                or not isinstance(value, int)
                or not 0 <= value <= _MOST_INDEX
            ):
                yield f"{key}.index", f"must be a whole number from 0 to {_MOST_INDEX}"
        elif not texts or not all(isinstance(text, str) for text in texts):
            several = ", or a list of texts" if name in _SEVERAL else ""
            yield f"{key}.{name}", f"must be text{several}"


def _unknown(key: str, table: Mapping[str, Any], known: tuple[str, ...]) -> Iterator[_Problem]:
    for name in table:
        if name not in known:
            yield f"{key}.{name}", f"is not a known key; known keys: {', '.join(known)}"


def _tables(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from value.items()


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _lines(text: str) -> dict[str, int]:
    """Return the line on which each key begins, by its dotted name."""
    found: dict[str, int] = {}
    counts: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = _plain(header[2])
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = f"{table}[{counts[table]}]"
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            found.setdefault(".".join(filter(None, (table, _plain(key[1])))), number)
    return found


def _plain(name: str) -> str:
    return re.sub(r"[\s\"']", "", name)


def _line(lines: Mapping[str, int], key: str) -> int:
    """Return the line of the key, else of the nearest table around it, else 0."""
    while key:
        if key in lines:
            return lines[key]
        key = key.rpartition(".")[0]
    return 0
