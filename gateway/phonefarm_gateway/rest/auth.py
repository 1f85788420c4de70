"""Reads the bearer key of a request; the controller says whether it is valid."""

import hashlib
from collections import OrderedDict
from typing import Final

from aiohttp import hdrs, web
from phonefarm_common.clock import Clock

MOST_KEY_CHARACTERS: Final = 1024
RECENT_SECONDS: Final = 60.0
MOST_RECENT: Final = 10_000


class RecentKeys:
    """Knows the keys that a controller has accepted for a scope within the last minute.

    That authenticates nobody. It spares a call to the controller before a body is read: the call
    that the request leads to checks the key.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def add(self, key: str | None, scope: str) -> None:
        """Remember that a controller has just accepted the key; the oldest are forgotten."""
        name = _name(key, scope)
        self._until.pop(name, None)
        self._until[name] = self._clock.monotonic() + RECENT_SECONDS
        while len(self._until) > MOST_RECENT:
            self._until.popitem(last=False)

    def drop(self, key: str | None, scope: str) -> None:
        """Forget the key: a controller has refused it, or failed."""
        self._until.pop(_name(key, scope), None)

    def has(self, key: str | None, scope: str) -> bool:
        """Tell whether a controller accepted the key for the scope within the last minute."""
        return self._until.get(_name(key, scope), 0.0) > self._clock.monotonic()


def _name(key: str | None, scope: str) -> bytes:
    # By digest, so that a memory dump does not list the keys.
    return hashlib.sha256(f"{scope} {key}".encode()).digest()


def is_sound_key(key: str) -> bool:
    """Tell whether *key* can be valid: 1 to 1,024 visible ASCII characters.

    gRPC metadata carries nothing else, and no key that we make has anything else.
    """
    return 0 < len(key) <= MOST_KEY_CHARACTERS and all("!" <= char <= "~" for char in key)


def bearer_key(request: web.Request) -> str | None:
    """Return the key of `Authorization: Bearer KEY` (RFC 6750); None when it cannot be valid."""
    headers = request.headers.getall(hdrs.AUTHORIZATION, [])
    if len(headers) != 1:
        return None
    scheme, _, key = headers[0].partition(" ")
    key = key.strip()
    return key if scheme.lower() == "bearer" and is_sound_key(key) else None
