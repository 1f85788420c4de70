"""Editing the account's own profile."""

from phonefarm_executor.actions.registry import Context, Outputs, ProfileField, TypedText, action
from phonefarm_executor.failures import Code, FailedError
from phonefarm_executor.text_input import as_dumped


@action
def edit_profile_field(context: Context, *, field: ProfileField, value: TypedText) -> Outputs:
    """Give a field of the profile a value, save, and read it back; done already is done."""
    drive = context.drive
    shown = drive.profile.selector(f"profile.{field}")
    wanted = value.strip()
    dumped = as_dumped(wanted)
    drive.reach("profile")
    # A dump writes every emoji alike: with some in it, the value is saved whatever is shown.
    if dumped != wanted or shown.value_of(drive.find(shown.name)) != wanted:
        drive.reach("edit_profile")
        drive.fill(f"edit_profile.{field}", value)
        drive.tap("edit_profile.save")
        drive.arrive("profile")
    saved = drive.until(
        lambda screen: (
            (node := screen.find(shown)) is not None and shown.value_of(node) in {wanted, dumped}
        )
    )
    if saved is None:
        reads = shown.value_of(drive.find(shown.name))
        message = f"{field} reads {reads!r} after saving {wanted!r}"
        raise FailedError(Code.SCREEN_NOT_REACHED, message)
    return {"field": field, "value": wanted}
