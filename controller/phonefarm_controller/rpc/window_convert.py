"""Windows: from and to messages."""

from typing import Final

from phonefarm.v1 import fleet_pb2 as pb

from phonefarm_controller.model.errors import invalid_field
from phonefarm_controller.model.windows import WindowNow, WindowScope
from phonefarm_controller.rpc.wire import moment_to_wire

_SCOPES: Final = {
    pb.WINDOW_SCOPE_ACCOUNT: WindowScope.ACCOUNT,
    pb.WINDOW_SCOPE_PHONE: WindowScope.PHONE,
    pb.WINDOW_SCOPE_GROUP: WindowScope.GROUP,
    pb.WINDOW_SCOPE_CAPABILITY: WindowScope.CAPABILITY,
}
_SCOPES_TO_WIRE: Final = {word: scope for scope, word in _SCOPES.items()}


def window_scope_of(scope: pb.WindowScope.ValueType) -> WindowScope:
    """Return the scope; FarmError when it is none of ours."""
    known = _SCOPES.get(scope)
    if known is None:
        raise invalid_field("scope", f"must be one of {', '.join(WindowScope)}")
    return known


def window_to_wire(seen: WindowNow) -> pb.Window:
    """Return the window, and whether it is open."""
    window = seen.window
    return pb.Window(
        scope=_SCOPES_TO_WIRE[window.scope],
        name=window.name,
        zone=window.hours.zone,
        hours=window.hours.spans,
        may_overrun=window.may_overrun,
        since=moment_to_wire(window.since),
        by=window.by,
        reason=window.reason,
        open=seen.period.open,
        changes_at=moment_to_wire(seen.period.until),
    )
