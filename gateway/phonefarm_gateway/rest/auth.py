"""Reads the bearer key of a request; the controller says whether it is valid."""

from typing import Final

from aiohttp import hdrs, web

MOST_KEY_CHARACTERS: Final = 1024


def bearer_key(request: web.Request) -> str | None:
    """Return the key of `Authorization: Bearer KEY` (RFC 6750); None when it cannot be valid."""
    headers = request.headers.getall(hdrs.AUTHORIZATION, [])
    if len(headers) != 1:
        return None
    scheme, _, key = headers[0].partition(" ")
    key = key.strip()
    # gRPC metadata carries visible ASCII only, and no key that we make has anything else.
    is_sound = 0 < len(key) <= MOST_KEY_CHARACTERS and all("!" <= char <= "~" for char in key)
    return key if scheme.lower() == "bearer" and is_sound else None
