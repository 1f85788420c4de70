"""Who calls, and what that lets them do."""

import hashlib
import hmac
from dataclasses import dataclass

from phonefarm_common.reasons import FarmError, Reason

from phonefarm_controller.rpc.context import Context

GATEWAY_HEADER = "x-phonefarm-gateway-token"


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The secrets this controller accepts; None where none is configured."""

    ingest_secret: str | None
    agent_token: str | None
    gateway_token: str | None

    def check_caller(self, context: Context) -> str:
        """Return the caller's name; FarmError unless it shows a key."""
        if self.ingest_secret is None:
            raise FarmError(
                Reason.NO_SECRET_CONFIGURED,
                "no secret is configured: set INGEST_SECRET (or INGEST_SECRET_FILE) for the "
                "controller",
            )
        if not _equal(_bearer(context), self.ingest_secret):
            raise _unauthenticated("a valid key")
        return "ingest_secret"

    def check_agent(self, context: Context) -> None:
        """Raise FarmError unless the agents' token is shown."""
        if self.agent_token is None or not _equal(_bearer(context), self.agent_token):
            raise _unauthenticated("the agents' token")

    def check_gateway(self, context: Context) -> None:
        """Raise FarmError unless the gateways' token is shown."""
        shown = _metadata(context, GATEWAY_HEADER)
        if self.gateway_token is None or not _equal(shown, self.gateway_token):
            raise _unauthenticated("the gateways' token")


def _unauthenticated(what: str) -> FarmError:
    return FarmError(
        Reason.UNAUTHENTICATED, f"{what} is needed: send it as `authorization: Bearer KEY`"
    )


def _bearer(context: Context) -> str | None:
    scheme, _, key = (_metadata(context, "authorization") or "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def _metadata(context: Context, name: str) -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == name:
            return value if isinstance(value, str) else value.decode(errors="replace")
    return None


def _equal(shown: str | None, secret: str) -> bool:
    """Compare in constant time, whatever the lengths."""
    if shown is None:
        return False
    digests = [hashlib.sha256(text.encode()).digest() for text in (shown, secret)]
    return hmac.compare_digest(*digests)
