"""An app profile as the executor uses it; docs/app-profiles.md describes the format."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any

from phonefarm_executor.failures import Code, FailedError
from phonefarm_executor.screen import Alternative, Screen, Selector

FORMATS = (1, 2)
MOST_ALTERNATIVES = 50
MOST_INDEX = 1000
STOPS = frozenset(
    {
        Code.ACCOUNT_LOGGED_OUT,
        Code.ACCOUNT_CHALLENGED,
        Code.ACCOUNT_SUSPENDED,
        Code.APP_UPDATE_REQUIRED,
    }
)
_SELECTOR_KEYS = {"id": "resource_id", "class": "kind"} | {
    field.name: field.name
    for field in fields(Alternative)
    if field.name not in {"resource_id", "kind"}
}
_IDENTIFYING = frozenset(_SELECTOR_KEYS) - {"strip", "index"}
_SEVERAL = frozenset({"text", "text_contains", "description", "description_contains"})
"""Keys that may have several texts; each text is an alternative."""
_KEY_NAME = re.compile(r"[A-Z0-9][A-Z0-9_]{0,40}")


@dataclass(frozen=True, kw_only=True)
class Place:
    """A screen of the app: how to recognise it, and how to get there."""

    name: str
    shows: Selector
    source: str | None = None  # the screen one comes from; None: from every screen
    tap: Selector | None = None  # what to tap there; None: only actions lead to it


@dataclass(frozen=True, kw_only=True)
class Interrupt:
    """A screen that may appear at any time: a button or a key dismisses it, or it ends the run."""

    name: str
    shows: Selector
    dismiss: Selector | None = None
    press: str | None = None  # a key, named without its KEYCODE_ prefix
    stop: Code | None = None


@dataclass(frozen=True, kw_only=True)
class AccountSign:
    """Where the app shows which account is logged in."""

    screen: str
    name: Selector


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How one app is driven."""

    name: str
    package: str
    activity: str
    places: Mapping[str, Place]
    selectors: Mapping[str, Selector]
    interrupts: tuple[Interrupt, ...]
    share_activity: str | None = None  # takes a shared video
    account: AccountSign | None = None  # None: the app is not asked who is logged in

    @property
    def is_unknown(self) -> bool:
        """Tell whether nothing of the app is known but its component, if that."""
        return not self.name

    @property
    def component(self) -> str:
        """What `am start -n` takes."""
        return f"{self.package}/{self.activity}"

    @property
    def share_component(self) -> str:
        """What `am start -n` takes to share a video; `plan_invalid` when the profile has none."""
        if self.share_activity is None:
            raise _invalid(f"the app profile {self.name} has no share_activity")
        return f"{self.package}/{self.share_activity}"

    def selector(self, name: str) -> Selector:
        """Return the selector *name*; `plan_invalid` when the profile has none."""
        found = self.selectors.get(name)
        if found is None:
            profile = f"the app profile {self.name}" if self.name else "a plan without a profile"
            raise _invalid(f"{profile} has no selector {name}")
        return found

    def place(self, name: str) -> Place:
        """Return the screen *name*; `plan_invalid` when the profile has none."""
        found = self.places.get(name)
        if found is None:
            raise _invalid(f"the app profile {self.name} has no screen {name}")
        return found

    def place_of(self, screen: Screen) -> Place | None:
        """Return which of the app's screens this is; None for one the profile does not know."""
        return next((p for p in self.places.values() if screen.find(p.shows)), None)

    def interrupt_of(self, screen: Screen) -> Interrupt | None:
        """Return the interrupt that lies over the screen, if one does."""
        return next((i for i in self.interrupts if screen.find(i.shows)), None)


NO_PROFILE = Profile(name="", package="", activity="", places={}, selectors={}, interrupts=())
"""The profile of a run without an app."""
_COMPONENT = re.compile(r"([A-Za-z]\w*(?:\.\w+)+)/([A-Za-z_.][\w.$]*)", re.ASCII)


def unknown_app(component: Any) -> Profile:
    """Return the profile of an app of which only the component is known; `plan_invalid`."""
    match = _COMPONENT.fullmatch(component) if isinstance(component, str) else None
    if match is None:
        raise _invalid("component must be an activity, as PACKAGE/ACTIVITY")
    return replace(NO_PROFILE, package=match[1], activity=match[2])


def read_view(value: Any) -> Selector:
    """Return the selector that an action has inline; `plan_invalid`. Its id is as in a dump."""
    return _selector("the view", value, "")


def read_profile(content: Any) -> Profile:
    """Return the profile, NO_PROFILE for None; `plan_invalid` names what is wrong with it."""
    if content is None:
        return NO_PROFILE
    table = _table(content, "profile")
    if table.get("format") not in FORMATS or isinstance(table["format"], bool):
        raise _invalid(f"profile.format must be 1 or 2, not {table.get('format')!r}")
    package = _text(table, "package", "profile")
    selectors = {
        f"{group}.{name}": _selector(f"{group}.{name}", value, package)
        for group, entries in _table(table.get("selectors", {}), "selectors").items()
        for name, value in _table(entries, f"selectors.{group}").items()
    }
    places = {
        name: _place(name, _table(value, f"screens.{name}"), selectors, package)
        for name, value in _table(table.get("screens", {}), "screens").items()
    }
    for place in places.values():
        _check_way(place, places)
    interrupts = table.get("interrupts", [])
    if not isinstance(interrupts, list):
        raise _invalid("interrupts must be an array of tables")
    return Profile(
        name=_text(table, "name", "profile"),
        package=package,
        activity=_text(table, "activity", "profile"),
        places=places,
        selectors=selectors,
        interrupts=tuple(_interrupt(_table(value, "interrupts"), package) for value in interrupts),
        share_activity=(
            _text(table, "share_activity", "profile") if "share_activity" in table else None
        ),
        account=_account(table, places, selectors),
    )


def _place(
    name: str, table: dict[str, Any], selectors: Mapping[str, Selector], package: str
) -> Place:
    _only(table, {"shows", "from", "tap"}, f"screens.{name}")
    tap = table.get("tap")
    if tap is not None and (not isinstance(tap, str) or tap not in selectors):
        raise _invalid(f"screens.{name}.tap is not the name of a selector: {tap!r}")
    source = table.get("from")
    if source is not None and not isinstance(source, str):
        raise _invalid(f"screens.{name}.from must be a string")
    if source is not None and tap is None:
        raise _invalid(f"screens.{name}.from requires a tap")
    return Place(
        name=name,
        shows=_selector(f"screens.{name}.shows", table.get("shows"), package),
        source=source,
        tap=None if tap is None else selectors[tap],
    )


def _account(
    table: dict[str, Any], places: Mapping[str, Place], selectors: Mapping[str, Selector]
) -> AccountSign | None:
    if "account" not in table:
        return None
    if table["format"] == 1:  # an executor that knows format 1 alone would pass over it
        raise _invalid("account requires format = 2")
    account = _table(table["account"], "account")
    _only(account, {"screen", "name"}, "account")
    screen, name = _text(account, "screen", "account"), _text(account, "name", "account")
    if screen not in places or places[screen].tap is None:
        raise _invalid(f"account.screen: {screen!r} is not a screen that a tap leads to")
    if name not in selectors:
        raise _invalid(f"account.name is not the name of a selector: {name!r}")
    return AccountSign(screen=screen, name=selectors[name])


def _check_way(place: Place, places: Mapping[str, Place]) -> None:
    seen = {place.name}
    here = place
    while here.source is not None:
        if here.source not in places or here.source in seen:
            raise _invalid(
                f"screens.{place.name}: its `from` does not lead back to a screen that has a `tap`"
            )
        seen.add(here.source)
        here = places[here.source]
    if here.tap is None and here is not place:
        raise _invalid(f"screens.{place.name}: no tap leads to {here.name}")


def _interrupt(table: dict[str, Any], package: str) -> Interrupt:
    _only(table, {"name", "shows", "dismiss", "press", "stop"}, "interrupts")
    name = _text(table, "name", "interrupts")
    shows = _selector(f"interrupts.{name}.shows", table.get("shows"), package)
    if len(table.keys() & {"dismiss", "press", "stop"}) != 1:
        raise _invalid(f"interrupt {name} needs one of dismiss, press and stop")
    if "dismiss" in table:
        dismiss = _selector(f"interrupts.{name}.dismiss", table["dismiss"], package)
        return Interrupt(name=name, shows=shows, dismiss=dismiss)
    if "press" in table:
        press = _text(table, "press", f"interrupt {name}")
        if not _KEY_NAME.fullmatch(press):
            raise _invalid(f"interrupt {name}: press must be a KEYCODE_ name without the prefix")
        return Interrupt(name=name, shows=shows, press=press)
    stop = table["stop"]
    if not isinstance(stop, str) or stop not in STOPS:
        raise _invalid(f"interrupt {name}: stop must be one of {', '.join(sorted(STOPS))}")
    return Interrupt(name=name, shows=shows, stop=Code(stop))


def _selector(name: str, value: Any, package: str) -> Selector:
    tables = value if isinstance(value, list) else [value]
    alternatives = [each for table in tables for each in _alternatives(name, table, package)]
    if not 0 < len(alternatives) <= MOST_ALTERNATIVES:
        raise _invalid(f"{name} must contain 1 to {MOST_ALTERNATIVES} alternatives")
    return Selector(name=name, alternatives=tuple(alternatives))


def _alternatives(name: str, value: Any, package: str) -> list[Alternative]:
    """Return what a table stands for: one alternative for each text of a list."""
    table = _table(value, name)
    _only(table, set(_SELECTOR_KEYS), name)
    if not table.keys() & _IDENTIFYING:
        raise _invalid(f"{name} must contain at least one of {', '.join(sorted(_IDENTIFYING))}")
    choices = {key: _choices(name, key, given) for key, given in table.items()}
    if math.prod(map(len, choices.values())) > MOST_ALTERNATIVES:
        raise _invalid(f"{name} must contain 1 to {MOST_ALTERNATIVES} alternatives")
    found = []
    for values in product(*choices.values()):
        given = dict(zip(map(_SELECTOR_KEYS.__getitem__, choices), values, strict=True))
        resource_id = given.get("resource_id")
        if package and resource_id is not None and ":" not in resource_id:
            given["resource_id"] = f"{package}:id/{resource_id}"
        found.append(Alternative(**given))
    return found


def _choices(name: str, key: str, value: Any) -> list[Any]:
    if key == "index":
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_INDEX:
            raise _invalid(f"{name}.index must be a whole number from 0 to {MOST_INDEX}")
        return [value]
    several = isinstance(value, list) and key in _SEVERAL
    texts = value if several else [value]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise _invalid(f"{name}.{key} must be text{', or a list of texts' * (key in _SEVERAL)}")
    return texts


def _table(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _invalid(f"{name} must be a table")
    return value


def _text(table: dict[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise _invalid(f"{where}.{key} must be a string")
    return value


def _only(table: dict[str, Any], keys: set[str], where: str) -> None:
    unknown = sorted(table.keys() - keys)
    if unknown:
        raise _invalid(f"{where} has unknown keys: {', '.join(unknown)}")


def _invalid(message: str) -> FailedError:
    return FailedError(Code.PLAN_INVALID, message)
