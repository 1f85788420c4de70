"""Seals an API key into a cookie and opens it again, so that no gateway stores sessions."""

import base64
import binascii
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from phonefarm_common.clock import Clock

SESSION_TIME: Final = timedelta(hours=12)
_NONCE_BYTES: Final = 12
_TIME_BYTES: Final = 8
_MOST_CHARACTERS: Final = 4000
"""Browsers drop cookies above 4,096 bytes."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """A person's login: the key, and the time at which the person must log in again."""

    key: str = field(repr=False)
    expires_at: datetime


class SessionSeal:
    """Seals sessions with AES-GCM. Gateways that share *secret* open each other's cookies.

    A cookie opens only for the origin that it was sealed for: browsers send cookies to every port
    of a host.
    """

    def __init__(self, secret: str | None, clock: Clock) -> None:
        """Without a *secret*, take one that is forgotten when the program ends."""
        material = secret.encode() if secret else secrets.token_bytes(32)
        derived = HKDF(SHA256(), length=32, salt=None, info=b"phonefarm console session 1")
        self._cipher = AESGCM(derived.derive(material))
        self._clock = clock

    def begin(self, key: str) -> Session:
        """Return a session of *key* that begins now."""
        # Whole seconds, as the cookie keeps them.
        ends = (self._clock.now() + SESSION_TIME).replace(microsecond=0)
        return Session(key=key, expires_at=ends)

    def seal(self, session: Session, origin: str) -> str:
        """Return the value of the session's cookie."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        ends = int(session.expires_at.timestamp()).to_bytes(_TIME_BYTES, "big")
        sealed = self._cipher.encrypt(nonce, ends + session.key.encode(), origin.encode())
        return base64.urlsafe_b64encode(nonce + sealed).rstrip(b"=").decode()

    def open(self, value: str, origin: str) -> Session | None:
        """Return the session in a cookie; None when it is over, of another origin, or forged."""
        if len(value) > _MOST_CHARACTERS:
            return None
        try:
            raw = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
            plain = self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], origin.encode())
        except (ValueError, binascii.Error, InvalidTag):
            return None
        ends = datetime.fromtimestamp(int.from_bytes(plain[:_TIME_BYTES], "big"), UTC)
        if ends <= self._clock.now():
            return None
        return Session(key=plain[_TIME_BYTES:].decode(), expires_at=ends)
