"""Endpoints of the web console's session: log in, who am I, log out, and a link that logs in."""

from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web
from phonefarm.schemas import requests, responses
from phonefarm.schemas.queries import NoQuery
from phonefarm_common.reasons import FieldProblem

from phonefarm_gateway.console.origins import cookie_name, is_loopback
from phonefarm_gateway.console.session_seal import SESSION_TIME
from phonefarm_gateway.console.tickets import LOGIN_TIME
from phonefarm_gateway.rest.app_keys import ORIGINS, SEAL, TICKETS
from phonefarm_gateway.rest.auth import is_sound_key
from phonefarm_gateway.rest.credentials import check_own_page, open_session
from phonefarm_gateway.rest.endpoint import Call, Endpoint, NoBody, ResponseSpec, reply
from phonefarm_gateway.rest.problems import Problem, invalid
from phonefarm_gateway.rest.ticket_answer import ticket_answer

_SCOPE: Final = "read"
"""What a key needs for the console: each page reads."""
_LOGIN: Final = "login"
"""What a ticket of a link is for."""
_BODY_BYTES: Final = 4096
"""Strangers send this body: it holds a key and nothing else."""


async def log_in(call: Call[NoQuery, requests.LogIn]) -> web.StreamResponse:
    """Seal the key, or that of a ticket, into a cookie, once the controller knows it."""
    request = call.request
    origin = _origin(request)
    check_own_page(request)
    key = _key(request, call.body)
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


async def make_ticket(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return a ticket that logs a browser of this machine in once."""
    _check_loopback(call.request)
    return ticket_answer(call, purpose=_LOGIN, life=LOGIN_TIME)


def _key(request: web.Request, body: requests.LogIn) -> str:
    """Return the key that the body gives; Problem for none, both, or a ticket that is over."""
    if (body.key is None) == (body.ticket is None):
        raise invalid(FieldProblem(field="key", message="is required, or a ticket instead"))
    if body.key is not None:
        key = body.key.strip()
        if not is_sound_key(key):
            message = "must be an API key: 1 to 1,024 visible ASCII characters"
            raise invalid(FieldProblem(field="key", message=message))
        return key
    _check_loopback(request)
    found = request.app[TICKETS].take(body.ticket or "", _LOGIN)
    if found is None:
        raise Problem(
            HTTPStatus.UNAUTHORIZED,
            "ticket_over",
            "This link was used already, or is older than 5 minutes, or the gateway was started "
            "again. Run `phonefarm console` for a new one, or log in with an API key.",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return found


def _check_loopback(request: web.Request) -> None:
    if not is_loopback(request):
        raise Problem(
            HTTPStatus.FORBIDDEN,
            "not_loopback",
            "A link logs in only on the gateway's own machine, by a loopback address. Log in with "
            "an API key.",
        )


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
            "Needs the header `Origin`, as browsers send it, and a key with the scope `read`, or "
            "a ticket that stands for one. An address may try 30 times, then once a second."
        ),
        scope=None,
        query=NoQuery,
        body=requests.LogIn,
        body_limit=_BODY_BYTES,
        is_login=True,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="Whose key it is.",
                models=(responses.Session,),
                headers={"Set-Cookie": "The session"},
            )
        },
        problems={
            HTTPStatus.UNAUTHORIZED: "`unauthenticated`: the key is wrong; `ticket_over`",
            HTTPStatus.FORBIDDEN: f"{_INSECURE[HTTPStatus.FORBIDDEN]}; `insufficient_scope:read`; "
            "`not_loopback`: a ticket from another machine",
            HTTPStatus.TOO_MANY_REQUESTS: (
                "`rate_limited`: wait as many seconds as Retry-After says"
            ),
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
    Endpoint(
        method="POST",
        path="/console/tickets",
        name="makeTicket",
        tag="Console",
        summary="Make a ticket that logs a browser of this machine in once",
        about=(
            "Open `/console#ticket=TICKET` within 5 minutes. The ticket stands for the key of "
            "this request, counts once, and only on the gateway's own machine. Browsers do not "
            "send what follows `#`, so that no log has it."
        ),
        scope=_SCOPE,
        checks_key=True,
        query=NoQuery,
        body=NoBody,
        answers={HTTPStatus.CREATED: ResponseSpec(about="The ticket.", models=(responses.Ticket,))},
        problems={
            HTTPStatus.FORBIDDEN: "`not_loopback`: the caller is on another machine; "
            "`insufficient_scope:read`"
        },
        handler=make_ticket,
    ),
)
