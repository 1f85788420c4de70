"""Limits: from and to messages."""

from typing import Final

from phonefarm.v1 import fleet_pb2 as pb

from phonefarm_controller.model.errors import invalid_field
from phonefarm_controller.model.limits import Limit, LimitKind, LimitScope
from phonefarm_controller.rpc.wire import moment_to_wire

_KINDS: Final = {
    pb.LIMIT_KIND_RUNS_PER_DAY: LimitKind.RUNS_PER_DAY,
    pb.LIMIT_KIND_SECONDS_BETWEEN_RUNS: LimitKind.SECONDS_BETWEEN_RUNS,
    pb.LIMIT_KIND_RUNS_AT_ONCE: LimitKind.RUNS_AT_ONCE,
}
_KINDS_TO_WIRE: Final = {word: kind for kind, word in _KINDS.items()}
_SCOPES: Final = {
    pb.LIMIT_SCOPE_ACCOUNT: LimitScope.ACCOUNT,
    pb.LIMIT_SCOPE_EVERY_ACCOUNT: LimitScope.EVERY_ACCOUNT,
    pb.LIMIT_SCOPE_GROUP: LimitScope.GROUP,
    pb.LIMIT_SCOPE_APP: LimitScope.APP,
    pb.LIMIT_SCOPE_AGENT: LimitScope.AGENT,
}
_SCOPES_TO_WIRE: Final = {word: scope for scope, word in _SCOPES.items()}


def limit_kind_of(kind: pb.LimitKind.ValueType) -> LimitKind:
    """Return the kind; FarmError when it is none of ours."""
    known = _KINDS.get(kind)
    if known is None:
        raise invalid_field("kind", f"must be one of {', '.join(LimitKind)}")
    return known


def limit_scope_of(scope: pb.LimitScope.ValueType) -> LimitScope:
    """Return the scope; FarmError when it is none of ours."""
    known = _SCOPES.get(scope)
    if known is None:
        raise invalid_field("scope", f"must be one of {', '.join(LimitScope)}")
    return known


def limit_to_wire(limit: Limit) -> pb.Limit:
    """Return the limit."""
    return pb.Limit(
        kind=_KINDS_TO_WIRE[limit.kind],
        scope=_SCOPES_TO_WIRE[limit.scope],
        name=limit.name,
        value=limit.value,
        zone=limit.zone,
        since=moment_to_wire(limit.since),
        by=limit.by,
        reason=limit.reason,
    )
