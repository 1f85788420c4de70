"""Limits: from messages, and the words of the wire."""

from typing import Final

from phonefarm.schemas import limits
from phonefarm.v1 import fleet_pb2 as pb

from phonefarm_gateway.client.convert import moment

KINDS: Final = {
    "runs_per_day": pb.LIMIT_KIND_RUNS_PER_DAY,
    "seconds_between_runs": pb.LIMIT_KIND_SECONDS_BETWEEN_RUNS,
    "runs_at_once": pb.LIMIT_KIND_RUNS_AT_ONCE,
}
SCOPES: Final = {
    "account": pb.LIMIT_SCOPE_ACCOUNT,
    "every_account": pb.LIMIT_SCOPE_EVERY_ACCOUNT,
    "group": pb.LIMIT_SCOPE_GROUP,
    "app": pb.LIMIT_SCOPE_APP,
    "agent": pb.LIMIT_SCOPE_AGENT,
}
_KIND_WORDS: Final = {kind: word for word, kind in KINDS.items()}
_SCOPE_WORDS: Final = {scope: word for word, scope in SCOPES.items()}


def limit(message: pb.Limit) -> limits.Limit:
    """Return one limit."""
    return limits.Limit(
        kind=_KIND_WORDS.get(message.kind, str(message.kind)),
        scope=_SCOPE_WORDS.get(message.scope, str(message.scope)),
        name=message.name or None,
        value=message.value,
        zone=message.zone or None,
        since=moment(message.since),
        by=message.by,
        reason=message.reason,
    )
