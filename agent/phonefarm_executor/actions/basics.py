"""Actions every app has: start, stop, touch, type, look."""

from phonefarm_executor.actions.registry import (
    Context,
    Direction,
    FileName,
    KeyName,
    Outputs,
    SelectorName,
    TypedText,
    View,
    action_with,
    phone_action,
)
from phonefarm_executor.app_profile import Profile
from phonefarm_executor.failures import Code, FailedError
from phonefarm_executor.screen import Selector

MOST_TEXT = 1000
"""So many characters of a view's text are returned: a run may find a hundred views."""


def _has_app(profile: Profile) -> None:
    if not profile.package:
        raise FailedError(Code.PLAN_INVALID, "the plan starts or stops an app, but names none")


@action_with(_has_app, needs_app=False)
def launch_app(context: Context) -> Outputs:
    """Bring the app to the front."""
    drive = context.drive
    drive.launch()
    return {"foreground": drive.phone.foreground() or drive.profile.component}


@action_with(_has_app, needs_app=False)
def stop_app(context: Context) -> Outputs:
    """End the app."""
    context.drive.phone.stop(context.drive.profile.package)
    return {}


@phone_action
def tap(
    context: Context,
    *,
    selector: SelectorName | None = None,
    view: View | None = None,
    x: int | None = None,
    y: int | None = None,
) -> Outputs:
    """Tap a view, or a point."""
    if x is not None and y is not None:
        context.drive.phone.tap(x, y)
    else:
        context.drive.tap(_wanted(selector, view))
    return {}


def _wanted(selector: str | None, view: Selector | None) -> str | Selector:
    wanted = selector if view is None else view
    if wanted is None:
        raise FailedError(Code.PLAN_INVALID, "the action names no view: it needs selector or view")
    return wanted


@phone_action
def swipe(context: Context, *, direction: Direction) -> Outputs:
    """Swipe over the middle of the screen."""
    context.drive.phone.swipe(direction)
    return {}


@phone_action
def type_text(context: Context, *, text: TypedText) -> Outputs:
    """Type into the field that has the focus."""
    if not context.drive.text.insert(text):
        message = f"no key types {text[:100]!r}, and the phone refuses access to its clipboard"
        raise FailedError(Code.TEXT_NOT_TYPEABLE, message)
    return {}


@phone_action
def press_key(context: Context, *, key: KeyName) -> Outputs:
    """Press one key."""
    context.drive.phone.press(key)
    return {}


@phone_action
def find(
    context: Context,
    *,
    selector: SelectorName | None = None,
    view: View | None = None,
    seconds: float | None = None,
) -> Outputs:
    """Find a view and read it, waiting *seconds* for it, or as long as views may take."""
    node = context.drive.find(_wanted(selector, view), seconds=seconds)
    return {"text": node.text[:MOST_TEXT], "bounds": list(node.bounds)}


@phone_action
def wait_for(
    context: Context,
    *,
    selector: SelectorName | None = None,
    view: View | None = None,
    seconds: float,
) -> Outputs:
    """Wait up to *seconds* for a view."""
    return find(context, selector=selector, view=view, seconds=seconds)


@phone_action
def wait(context: Context, *, seconds: float) -> Outputs:
    """Wait *seconds*."""
    context.drive.pace.wait(seconds)
    return {}


@phone_action
def screenshot(context: Context, *, name: FileName) -> Outputs:
    """Keep the screen as a picture."""
    return _kept(context.evidence.keep_picture(f"{name}.png", context.index))


@phone_action
def ui_dump(context: Context, *, name: FileName) -> Outputs:
    """Keep the screen as a UI dump."""
    screen = context.drive.reader.look()
    return _kept(context.evidence.keep_dump(f"{name}.xml", context.index, screen))


def _kept(name: str | None) -> Outputs:
    return (
        {"evidence": name}
        if name
        else {"evidence": None, "missing": "there is no room for more evidence"}
    )
