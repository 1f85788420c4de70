"""Names the receiver of callbacks: the scheme, host and port of a URL."""

from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

LONGEST: Final = 300
_PORTS: Final = {"http": 80, "https": 443}


@lru_cache(maxsize=4096)
def receiver_of(url: str) -> str:
    """Return `scheme://host:port` of *url* in lower case; the URL's beginning when it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme.lower(), 0)
    except ValueError:
        return url[:LONGEST]
    host = parts.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}:{port}".lower()[:LONGEST]
