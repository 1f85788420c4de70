"""What a key may do, and how a key is written."""

import hashlib
import re
import zlib
from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import Final

PREFIX: Final = "pf_"
_KEY: Final = re.compile(r"pf_([A-Za-z0-9_-]{43})([0-9a-f]{8})")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
INGEST_SECRET: Final = "ingest_secret"  # noqa: S105 - a name, not a secret
"""The name of the server's own secret, in places where keys have names."""


class Scope(StrEnum):
    """A kind of call; every call needs one."""

    SUBMIT = "submit"
    READ = "read"
    WATCH = "watch"
    CANCEL = "cancel"
    OPERATE = "operate"
    ADMIN = "admin"


EVERY_SCOPE: Final = frozenset(Scope)


def allowed(given: Iterable[Scope]) -> frozenset[Scope]:
    """Return what a key with the *given* scopes may do: admin all, operate also read and watch."""
    held = frozenset(given)
    if Scope.ADMIN in held:
        return EVERY_SCOPE
    return held | {Scope.READ, Scope.WATCH} if Scope.OPERATE in held else held


def in_order(scopes: Collection[Scope]) -> tuple[Scope, ...]:
    """Return each of *scopes* once, in the order in which they are always shown."""
    return tuple(scope for scope in Scope if scope in scopes)


def key_of(secret: str) -> str:
    """Return the key of *secret* (32 bytes as 43 URL-safe characters): prefix, secret, checksum."""
    return f"{PREFIX}{secret}{_checksum(secret)}"


def is_key(text: str) -> bool:
    """Tell whether *text* can be a key of ours; what was mistyped cannot."""
    found = _KEY.fullmatch(text)
    return found is not None and _checksum(found[1]) == found[2]


def is_key_name(text: str) -> bool:
    """Tell whether *text* may name a key: 1-64 [A-Za-z0-9._-], and not the server's secret."""
    return _NAME.fullmatch(text) is not None and text != INGEST_SECRET


def digest_of(key: str) -> str:
    """Return the digest of a key for the store; 256 random bits need no salt or slow hash."""
    return hashlib.sha256(key.encode()).hexdigest()


def _checksum(secret: str) -> str:
    return f"{zlib.crc32(secret.encode()):08x}"
