"""Endpoints of the web console's session: log in, who am I, log out."""

from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web
from phonefarm_common.reasons import FieldProblem

from phonefarm_gateway.console.origins import cookie_name
from phonefarm_gateway.console.session_seal import SESSION_TIME
from phonefarm_gateway.rest.app_keys import ORIGINS, SEAL
from phonefarm_gateway.rest.auth import is_sound_key
from phonefarm_gateway.rest.credentials import check_own_page, open_session
from phonefarm_gateway.rest.endpoint import Call, Endpoint, NoBody, ResponseSpec, reply
from phonefarm_gateway.rest.problems import Problem, invalid
from phonefarm_gateway.schemas import requests, responses
from phonefarm_gateway.schemas.queries import NoQuery

_SCOPE: Final = "read"
"""What a key needs for the console: each page reads."""


async def log_in(call: Call[NoQuery, requests.LogIn]) -> web.StreamResponse:
    """Seal the key into a cookie, once the controller knows it."""
    request, key = call.request, call.body.key.strip()
    origin = _origin(request)
    check_own_page(request)
    if not is_sound_key(key):
        message = "must be an API key: 1 to 1,024 visible ASCII characters"
        raise invalid(FieldProblem(field="key", message=message))
    identity = await call.controller.processes.check_key(key, scope=_SCOPE)
    seal = request.app[SEAL]
    session = seal.begin(key)
    response = reply(
        responses.Session(name=identity.name, scopes=identity.scopes, expires_at=session.expires_at)
    )
    _set_cookie(response, origin, seal.seal(session, origin), int(SESSION_TIME.total_seconds()))
    return response


async def show_session(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return whose key the request has."""
    identity = await call.controller.processes.check_key(call.key, scope=_SCOPE)
    session = open_session(call.request)
    response = reply(
        responses.Session(
            name=identity.name,
            scopes=identity.scopes,
            expires_at=session.expires_at if session else None,
        )
    )
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    return response


async def log_out(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Make the browser forget the cookie, whatever is in it."""
    origin = _origin(call.request)
    check_own_page(call.request)
    response = web.Response(status=HTTPStatus.NO_CONTENT)
    _set_cookie(response, origin, "", 0)
    return response


def _origin(request: web.Request) -> str:
    origin = request.app[ORIGINS].of(request)
    if origin is None:
        raise Problem(
            HTTPStatus.FORBIDDEN,
            "insecure_connection",
            "The console logs in over HTTPS, or on the gateway's own machine (127.0.0.1): start "
            "the gateway with a certificate, name its proxy with --console-origin, or use "
            "`ssh -L 8080:127.0.0.1:8080 HOST`.",
        )
    return origin


def _set_cookie(response: web.Response, origin: str, value: str, seconds: int) -> None:
    response.set_cookie(
        cookie_name(origin),
        value,
        max_age=seconds,
        path="/",
        secure=origin.startswith("https://"),
        httponly=True,
        samesite="Strict",
    )
    response.headers[hdrs.CACHE_CONTROL] = "no-store"


_INSECURE: Final = {
    HTTPStatus.FORBIDDEN: "`insecure_connection`: neither HTTPS nor loopback; `foreign_origin`: "
    "`Origin` is not the console's own"
}

ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path="/console/session",
        name="logIn",
        tag="Console",
        summary="Log in to the console with an API key",
        about=(
            "Sets a cookie that counts as the key for 12 hours, for the console's own pages. "
            "Needs the header `Origin`, as browsers send it, and a key with the scope `read`."
        ),
        scope=None,
        query=NoQuery,
        body=requests.LogIn,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="Whose key it is.",
                models=(responses.Session,),
                headers={"Set-Cookie": "The session"},
            )
        },
        problems={
            HTTPStatus.UNAUTHORIZED: "`unauthenticated`: the key is wrong",
            HTTPStatus.FORBIDDEN: f"{_INSECURE[HTTPStatus.FORBIDDEN]}; `insufficient_scope:read`",
            HTTPStatus.SERVICE_UNAVAILABLE: "`controller_unavailable`",
        },
        handler=log_in,
    ),
    Endpoint(
        method="GET",
        path="/console/session",
        name="getSession",
        tag="Console",
        summary="Read whose key the request has, and its scopes",
        scope=_SCOPE,
        query=NoQuery,
        body=NoBody,
        answers={
            HTTPStatus.OK: ResponseSpec(about="Whose key it is.", models=(responses.Session,))
        },
        handler=show_session,
    ),
    Endpoint(
        method="DELETE",
        path="/console/session",
        name="logOut",
        tag="Console",
        summary="Log out of the console",
        scope=None,
        query=NoQuery,
        body=NoBody,
        answers={
            HTTPStatus.NO_CONTENT: ResponseSpec(
                about="The browser forgets the cookie.",
                media_types=(),
                headers={"Set-Cookie": "An empty session"},
            )
        },
        problems=_INSECURE,
        handler=log_out,
    ),
)
