"""Decides from which origins a browser may use the console: HTTPS, or this machine itself."""

import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web

_LOOPBACK: Final = re.compile(
    r"(localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])(:\d{1,5})?", re.IGNORECASE
)
_HOST: Final = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")


def public_origin(text: str) -> str:
    """Return `https://HOST[:PORT]` in the form that browsers send; ValueError for anything else."""
    parts = urlsplit(text)
    is_bare = parts.path in {"", "/"} and not (parts.query or parts.fragment or parts.username)
    if parts.scheme != "https" or not _HOST.fullmatch(parts.netloc) or not is_bare:
        raise ValueError(
            f"{text!r} is not a valid origin; an origin looks like https://farm.example.com"
        )
    return f"https://{parts.netloc.lower().removesuffix(':443')}"


class Origins:
    """Finds the origin of a request from its Host header, if the console may be used from there.

    A page of another site can make a browser send requests here under that site's own name (DNS
    rebinding), so a name counts only if it is of this machine, proved by our certificate, or in
    *public*: the origins of proxies that end TLS for this gateway.
    """

    def __init__(self, public: Iterable[str] = ()) -> None:
        self._public = {origin.removeprefix("https://"): origin for origin in public}

    def of(self, request: web.Request) -> str | None:
        """Return the origin that a browser shows for this request; None when it is not allowed."""
        hosts = request.headers.getall(hdrs.HOST, [])
        if len(hosts) != 1:
            return None
        host = hosts[0].lower()
        if host.removesuffix(":443") in self._public:
            return self._public[host.removesuffix(":443")]
        if request.secure and _HOST.fullmatch(host):
            return f"https://{host.removesuffix(':443')}"
        if _LOOPBACK.fullmatch(host):
            return f"http://{host.removesuffix(':80')}"
        return None


def cookie_name(origin: str) -> str:
    """Return the name of the session's cookie; on loopback each port has its own."""
    if origin.startswith("https://"):
        return "__Host-phonefarm"
    port = urlsplit(origin).port or 80
    return f"phonefarm-{port}"


def is_loopback(request: web.Request) -> bool:
    """Tell whether the caller is on this machine and calls it by a loopback address."""
    hosts = request.headers.getall(hdrs.HOST, [])
    if len(hosts) != 1 or not _LOOPBACK.fullmatch(hosts[0]):
        return False
    try:
        return ip_address(request.remote or "").is_loopback
    except ValueError:
        return False
