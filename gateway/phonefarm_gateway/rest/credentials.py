"""Reads the key of a request, from its header or from the console's cookie.

The controller says whether the key is valid. A browser sends the cookie by itself, also when a page
of another site makes it send a request, so a request with the cookie must show that our own page
made it.
"""

from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web

from phonefarm_gateway.console.origins import cookie_name
from phonefarm_gateway.console.session_seal import Session
from phonefarm_gateway.rest.app_keys import ORIGINS, SEAL
from phonefarm_gateway.rest.auth import bearer_key
from phonefarm_gateway.rest.problems import Problem

_SAFE_METHODS: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})
_FETCH_SITE: Final = "Sec-Fetch-Site"


def caller_key(request: web.Request) -> str | None:
    """Return the key of the header, or that of the session; None when it cannot be valid.

    Problem 400 for both at once; 403 for a session that another site's page makes use of.
    """
    session = open_session(request)
    if session is None:
        return bearer_key(request)
    headers = request.headers.getall(hdrs.AUTHORIZATION, [])
    if any(header.lower().startswith("bearer") for header in headers):
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            "two_credentials",
            "The request has both a key and the console's cookie. Send only one of them.",
        )
    check_own_page(request)
    return session.key


def open_session(request: web.Request) -> Session | None:
    """Return the session in the cookie; None when there is none, or it is over or forged."""
    origin = request.app[ORIGINS].of(request)
    value = origin and request.cookies.get(cookie_name(origin))
    return request.app[SEAL].open(value, origin) if origin and value else None


def check_own_page(request: web.Request) -> None:
    """Raise Problem 403 or 415 unless a page of the console made the request."""
    is_safe = request.method in _SAFE_METHODS
    # Browsers send it over HTTPS and on loopback; `none` is a person who typed the address.
    site = request.headers.get(_FETCH_SITE)
    is_own = site in ({None, "same-origin", "none"} if is_safe else {None, "same-origin"})
    if not is_safe:
        own = request.app[ORIGINS].of(request)
        is_own = is_own and request.headers.getall(hdrs.ORIGIN, []) == [own]
    if not is_own:
        raise Problem(
            HTTPStatus.FORBIDDEN,
            "foreign_origin",
            "A page on another site sent this request. The gateway accepts the console's cookie "
            "only from the console's own pages. If the gateway is behind a proxy, start it with "
            "--console-origin.",
        )
    # A form of another site can send other types without asking.
    if not is_safe and request.can_read_body and request.content_type != "application/json":
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "Send application/json.",
            headers={"Accept": "application/json"},
        )
