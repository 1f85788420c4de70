"""Finds out who calls, and what the caller may do."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from phonefarm_common.certificates import CertificateFacts, certificate_facts
from phonefarm_common.reasons import FarmError, Reason

from phonefarm_controller.auth.api_keys import ApiKeys
from phonefarm_controller.auth.enrollment import Enrollment
from phonefarm_controller.callbacks.gateway_calls import GatewayCalls
from phonefarm_controller.model.errors import invalid_field
from phonefarm_controller.model.scopes import EVERY_SCOPE, INGEST_SECRET, Scope, allowed
from phonefarm_controller.rpc.errors import Context

GATEWAY_HEADER = "x-phonefarm-gateway-token"
_NO_GATEWAY: Final = frozenset(
    {Reason.CERTIFICATE_REFUSED, Reason.GATEWAY_TOKEN_REFUSED, Reason.ROLE_NOT_ALLOWED}
)


@dataclass(frozen=True, kw_only=True)
class Caller:
    """A caller, by the name of the key that it sent (`ingest_secret`: the server's own)."""

    name: str
    scopes: frozenset[Scope]

    def check(self, scope: Scope) -> None:
        """Raise FarmError `insufficient_scope:<scope>` unless the key may do that."""
        if scope not in self.scopes:
            raise FarmError(
                Reason.INSUFFICIENT_SCOPE,
                f"the key {self.name} lacks the scope {scope}, which this call needs",
                detail=scope,
            )


_CALLER: Final[ContextVar[Caller]] = ContextVar("caller")
"""The caller of the call that the current task serves."""


def caller() -> Caller:
    """Return who makes the call being served; LookupError where the call needs no key."""
    return _CALLER.get()


@dataclass(frozen=True, kw_only=True)
class Authenticator:
    """The secrets that this controller accepts; None for each that is not configured."""

    ingest_secret: str | None
    agent_token: str | None
    gateway_token: str | None
    api_keys: ApiKeys
    enrollment: Enrollment
    gateway_calls: GatewayCalls

    async def check_caller(self, context: Context, scope: Scope | None) -> None:
        """Raise FarmError unless the caller shows a good key, and one with the *scope* if any.

        From then on `caller()` returns it. A gateway that calls for someone shows its certificate
        or its token too, and a wrong one is refused first.
        """
        shown = await self._identify(context)
        if scope is not None:
            shown.check(scope)
        _CALLER.set(shown)

    async def _identify(self, context: Context) -> Caller:
        token = metadata_value(context, GATEWAY_HEADER)
        if peer_certificate(context) is not None or token is not None:
            await self.check_gateway(context)
        shown = _bearer(context)
        if self.ingest_secret is not None and _equal(shown, self.ingest_secret):
            return Caller(name=INGEST_SECRET, scopes=EVERY_SCOPE)
        key = None if shown is None else await self.api_keys.find(shown)
        if key is not None:
            return Caller(name=key.name, scopes=allowed(key.scopes))
        if self.ingest_secret is None and not await self.api_keys.any():
            raise FarmError(
                Reason.NO_SECRET_CONFIGURED,
                (
                    "the controller has neither a secret nor an API key: set INGEST_SECRET or "
                    "INGEST_SECRET_FILE for the controller"
                ),
            )
        raise _unauthenticated("a valid key")

    async def check_agent(self, context: Context) -> None:
        """Raise FarmError unless an agent's certificate or the agents' token is shown."""
        if await self._is_member(context, "agent"):
            return
        if self.agent_token is None or not _equal(_bearer(context), self.agent_token):
            raise _unauthenticated("the agents' token")

    async def check_gateway(self, context: Context) -> None:
        """Raise FarmError unless a gateway's certificate or the gateways' token is shown.

        A refusal is remembered for the doctor.
        """
        try:
            await self._check_gateway(context)
        except FarmError as error:
            if error.reason in _NO_GATEWAY:
                shown = peer_certificate(context)
                self.gateway_calls.refuse(
                    gateway_name(context),
                    member_id="" if shown is None or shown.role != "gateway" else shown.member_id,
                    why=str(error.reason),
                )
            raise

    async def _check_gateway(self, context: Context) -> None:
        if await self._is_member(context, "gateway"):
            return
        shown = metadata_value(context, GATEWAY_HEADER)
        if self.gateway_token is None or not _equal(shown, self.gateway_token):
            raise FarmError(
                Reason.GATEWAY_TOKEN_REFUSED,
                f"a gateway must send the controller's PHONEFARM_GATEWAY_TOKEN as {GATEWAY_HEADER}",
            )

    async def check_member(self, context: Context) -> CertificateFacts:
        """Return whom the certificate of the connection names, if it counts; FarmError."""
        shown = member_certificate(context)
        await self.enrollment.check(shown)
        return shown

    async def _is_member(self, context: Context, role: str) -> bool:
        if peer_certificate(context) is None:
            return False
        shown = await self.check_member(context)
        if shown.role != role:
            raise FarmError(
                Reason.ROLE_NOT_ALLOWED,
                (
                    f"{shown.member_id} has the certificate of a {shown.role}, but this "
                    f"call is for a {role}"
                ),
                detail=shown.role,
            )
        return True


def gateway_name(context: Context) -> str:
    """Return the name of the member that calls; without a certificate, the host it calls from."""
    shown = peer_certificate(context)
    return context.peer().rpartition(":")[0] if shown is None else shown.member_id


def peer_certificate(context: Context) -> CertificateFacts | None:
    """Return whom the connection's certificate names; None on a port that asks for none.

    The handshake has proved the key and that our authority signed; FarmError for another's names.
    """
    # The stubs describe another shape; it is a mapping of names to lists of bytes.
    told: Mapping[str, Sequence[bytes]] = context.auth_context()  # type: ignore[assignment]
    pem = next(iter(told.get("x509_pem_cert", ())), None)
    if pem is None:
        return None
    try:
        return certificate_facts(pem)
    except ValueError as error:
        raise FarmError(Reason.CERTIFICATE_REFUSED, str(error)) from error


def member_certificate(context: Context) -> CertificateFacts:
    """Return whom the connection's certificate names; FarmError where none is shown."""
    shown = peer_certificate(context)
    if shown is None:
        raise _unauthenticated("a certificate of this farm")
    return shown


def scope_of(text: str) -> Scope:
    """Return the scope of this name; FarmError names the field `scope`."""
    try:
        return Scope(text)
    except ValueError:
        raise invalid_field("scope", f"must be one of: {', '.join(Scope)}") from None


def _unauthenticated(what: str) -> FarmError:
    return FarmError(
        Reason.UNAUTHENTICATED, f"{what} is required: send it as `authorization: Bearer KEY`"
    )


def _bearer(context: Context) -> str | None:
    scheme, _, key = (metadata_value(context, "authorization") or "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def metadata_value(context: Context, name: str) -> str | None:
    """Return what the caller sent as *name*, None if nothing."""
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
