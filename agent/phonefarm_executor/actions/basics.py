"""Actions every app has: start, stop, touch, type, look."""

from phonefarm_executor.actions.registry import (
    Context,
    Direction,
    FileName,
    KeyName,
    Outputs,
    SelectorName,
    TypedText,
    action,
    phone_action,
)
from phonefarm_executor.failures import Code, FailedError


@action
def launch_app(context: Context) -> Outputs:
    """Bring the app to the front."""
    drive = context.drive
    drive.launch()
    return {"foreground": drive.phone.foreground() or drive.profile.component}


@action
def stop_app(context: Context) -> Outputs:
    """End the app."""
    context.drive.phone.stop(context.drive.profile.package)
    return {}


@action
def tap(
    context: Context,
    *,
    selector: SelectorName | None = None,
    x: int | None = None,
    y: int | None = None,
) -> Outputs:
    """Tap a view, or a point."""
    if selector is not None:
        context.drive.tap(selector)
    elif x is not None and y is not None:
        context.drive.phone.tap(x, y)
    else:
        raise FailedError(Code.PLAN_INVALID, "tap needs selector, or x and y")
    return {}


@action
def swipe(context: Context, *, direction: Direction) -> Outputs:
    """Swipe over the middle of the screen."""
    context.drive.phone.swipe(direction)
    return {}


@action
def type_text(context: Context, *, text: TypedText) -> Outputs:
    """Type into the field that has the focus."""
    if not context.drive.text.insert(text):
        message = f"no key types {text[:100]!r}, and the phone refuses access to its clipboard"
        raise FailedError(Code.TEXT_NOT_TYPEABLE, message)
    return {}


@action
def press_key(context: Context, *, key: KeyName) -> Outputs:
    """Press one key."""
    context.drive.phone.press(key)
    return {}


@action
def find(context: Context, *, selector: SelectorName, seconds: float | None = None) -> Outputs:
    """Find a view and read it, waiting *seconds* for it, or as long as views may take."""
    node = context.drive.find(selector, seconds=seconds)
    return {"text": node.text, "bounds": list(node.bounds)}


@action
def wait_for(context: Context, *, selector: SelectorName, seconds: float) -> Outputs:
    """Wait up to *seconds* for a view."""
    return find(context, selector=selector, seconds=seconds)


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
