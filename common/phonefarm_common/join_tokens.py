"""Encodes an invitation as a join token, one word."""

import base64
import binascii
import json
import zlib
from dataclasses import dataclass, field
from typing import Final

from phonefarm_common.certificates import ROLES
from phonefarm_common.config import ConfigError, address
from phonefarm_common.ids import is_name

PREFIX: Final = "pfj_"
LONGEST: Final = 8192


class InvitationError(Exception):
    """The text is no join token; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Invitation:
    """The content of a join token; only a server with this authority is trusted."""

    role: str
    member_id: str
    """The host's name; if empty, the host chooses it."""
    join: str
    """HOST:PORT for hosts without a certificate."""
    controller: str
    """HOST:PORT for hosts with a certificate."""
    authority: bytes = field(repr=False)
    """The farm's certificate authority, DER."""
    secret: str = field(repr=False)


def encode_token(invitation: Invitation) -> str:
    """Return the invitation as a token."""
    body = json.dumps(
        {
            "role": invitation.role,
            "id": invitation.member_id,
            "join": invitation.join,
            "controller": invitation.controller,
            "ca": base64.b64encode(invitation.authority).decode(),
            "secret": invitation.secret,
        },
        separators=(",", ":"),
    ).encode()
    packed = base64.urlsafe_b64encode(body).decode().rstrip("=")
    return f"{PREFIX}{packed}{zlib.crc32(body):08x}"


def decode_token(token: str) -> Invitation:
    """Return the invitation in the token; InvitationError when it was cut or mistyped."""
    token = token.strip()
    if not token.startswith(PREFIX) or len(token) > LONGEST:
        raise InvitationError(
            f"this is not an invitation: an invitation begins with {PREFIX}, and "
            "`phonefarm agents invite` or `phonefarm gateways invite` prints one"
        )
    packed, checksum = token[len(PREFIX) : -8], token[-8:]
    broken = "the invitation is incomplete or mistyped: copy all of it"
    try:
        body = base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True)
        if f"{zlib.crc32(body):08x}" != checksum:
            raise InvitationError(broken)
        values = json.loads(body)
        invitation = Invitation(
            role=str(values["role"]),
            member_id=str(values["id"]),
            join=str(values["join"]),
            controller=str(values["controller"]),
            authority=base64.b64decode(values["ca"], validate=True),
            secret=str(values["secret"]),
        )
        address(invitation.join, name="join")
        address(invitation.controller, name="controller")
    except (binascii.Error, ValueError, KeyError, TypeError, RecursionError, ConfigError) as error:
        raise InvitationError(broken) from error
    if invitation.role not in ROLES or (invitation.member_id and not is_name(invitation.member_id)):
        raise InvitationError(broken)
    return invitation
