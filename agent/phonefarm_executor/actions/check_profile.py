"""Checks an app profile on the app itself: which screens it reaches, and what it finds there."""

from typing import Any

from phonefarm_executor.actions.registry import Context, Outputs, action
from phonefarm_executor.app_driver import Drive
from phonefarm_executor.app_profile import Place
from phonefarm_executor.failures import Code, FailedError
from phonefarm_executor.screen import Screen, Selector

SCREEN_SECONDS = 35.0
"""Reaching one screen may take this long."""
SETTLE_SECONDS = 3.0
"""The views of a screen may take this long to appear; scaled in tests."""
TEXT_LIMIT = 200
_TOLD = frozenset(
    {
        Code.SCREEN_NOT_REACHED,
        Code.SELECTOR_NOT_FOUND,
        Code.PLAN_INVALID,
        Code.ACTION_TIMEOUT,
    }
)
"""The failures after which the check continues with the next screen."""


@action
def check_profile(context: Context) -> Outputs:
    """Go to every screen that taps lead to and look for each of its selectors.

    Only what leads to screens is tapped; nothing is typed, saved or posted. Selectors of a group
    that is no screen (`nav`, say) are looked for on every screen that was reached.
    """
    drive = context.drive
    # Not `launch`: a profile that knows no screen is what this is to find out.
    drive.phone.start(drive.profile.component)
    groups: dict[str, list[Selector]] = {}
    for name, selector in drive.profile.selectors.items():
        groups.setdefault(name.partition(".")[0], []).append(selector)
    seen: list[Screen] = []
    screens = [_screen(drive, place, groups, seen) for place in drive.profile.places.values()]
    homeless = [
        {
            "screen": group,
            "reached": bool(seen),
            "why": (
                "the profile has no screen with this name: the run looked for these selectors on "
                "every screen that it reached"
            ),
            "selectors": [_found(selector, seen) for selector in selectors],
        }
        for group, selectors in groups.items()
        if group not in drive.profile.places
    ]
    return {"screens": screens + homeless}


def _screen(
    drive: Drive, place: Place, groups: dict[str, list[Selector]], seen: list[Screen]
) -> dict[str, Any]:
    selectors = groups.get(place.name, [])
    screen, why = _reach(drive, place, selectors)
    if screen is not None:
        seen.append(screen)
    return {
        "screen": place.name,
        "reached": screen is not None,
        "why": why,
        "shows": _found(place.shows, [screen] if screen else []),
        "selectors": [_found(selector, [screen] if screen else []) for selector in selectors],
    }


def _reach(drive: Drive, place: Place, selectors: list[Selector]) -> tuple[Screen | None, str]:
    """Return the screen with as many of its selectors as appear, or why it is not reached."""
    if place.tap is None:
        return None, "only an action leads to this screen, not a tap"
    left = drive.pace.remaining()
    if left < SETTLE_SECONDS:
        return None, "no time was left"
    try:
        with drive.pace.limited(min(SCREEN_SECONDS, left - 1), f"screen {place.name}"):
            screen = drive.reach(place.name)
            whole = drive.until(
                lambda now: drive.is_at(place)(now) and all(now.find(one) for one in selectors),
                seconds=min(SETTLE_SECONDS, drive.patience),
            )
            return whole or screen, ""
    except FailedError as error:
        if error.code not in _TOLD:
            raise
        shown = drive.last_screen
        if error.code is not Code.ACTION_TIMEOUT or shown is None:
            return None, error.message
        where, words = drive.name_of(shown), shown.words()
        return None, f"{error.message}; the phone shows {where}, which reads: {words}"


def _found(selector: Selector, screens: list[Screen]) -> dict[str, Any]:
    """Return what the selector finds on the first of *screens*, and which alternatives would."""
    screen = next((each for each in screens if each.find(selector)), None)
    node = screen.find(selector) if screen else None
    used = screen.alternative_of(selector) if screen else None
    return {
        "selector": selector.name,
        "found": node is not None,
        "text": node.text[:TEXT_LIMIT] if node else "",
        "bounds": list(node.bounds) if node else None,
        "alternatives": [
            {
                "wanted": str(each),
                "found": any(screen.matches(each) for screen in screens),
                "used": each is used,
            }
            for each in selector.alternatives
        ],
    }
