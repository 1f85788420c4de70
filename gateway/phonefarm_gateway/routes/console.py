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
"""The scope that the console requires, because each page reads."""
_LOGIN: Final = "login"
"""The purpose of a link's ticket."""
_BODY_BYTES: Final = 4096
"""The limit of the body, which strangers send; it contains only a key."""


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
        raise invalid(
            FieldProblem(
                field="key",
                message="is required, unless you send a ticket: send exactly one of the two",
            )
        )
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
            "This link does not work any more: it has already been used, it is older than 5 "
            "minutes, or the gateway has restarted. Run `phonefarm console` for a new link, or "
            "log in with an API key.",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return found


def _check_loopback(request: web.Request) -> None:
    if not is_loopback(request):
        raise Problem(
            HTTPStatus.FORBIDDEN,
            "not_loopback",
            "A link works only on the gateway's own machine, through a loopback address. Log in "
            "with an API key.",
        )


def _origin(request: web.Request) -> str:
    origin = request.app[ORIGINS].of(request)
    if origin is None:
        raise Problem(
            HTTPStatus.FORBIDDEN,
            "insecure_connection",
            "You can log in to the console only over HTTPS, or on the gateway's own machine "
            "(127.0.0.1). Start the gateway with a certificate, name its proxy with "
            "--console-origin, or forward the port with `ssh -L 8080:127.0.0.1:8080 HOST`.",
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
    HTTPStatus.FORBIDDEN: (
        "`insecure_connection`: the connection uses neither HTTPS nor loopback; `foreign_origin`: "
        "the `Origin` header does not name the console"
    )
}

ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path="/console/session",
        name="logIn",
        tag="Console",
        summary="Log in to the console with an API key",
        about=(
            "The response sets a cookie. For 12 hours, the gateway accepts this cookie instead of "
            "the key, from the console's own pages only. Send the header `Origin`, as browsers "
            "do, and either a key with the scope `read` or a ticket for such a key. Each IP "
            "address has 30 attempts, and after that one attempt per second."
        ),
        scope=None,
        query=NoQuery,
        body=requests.LogIn,
        body_limit=_BODY_BYTES,
        is_login=True,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The key's name and scopes.",
                models=(responses.Session,),
                headers={"Set-Cookie": "The session"},
            )
        },
        problems={
            HTTPStatus.UNAUTHORIZED: (
                "`unauthenticated`: the key is wrong; `ticket_over`: the ticket has been used, or "
                "is too old"
            ),
            HTTPStatus.FORBIDDEN: f"{_INSECURE[HTTPStatus.FORBIDDEN]}; `insufficient_scope:read`; "
            "`not_loopback`: the caller sent a ticket from another machine",
            HTTPStatus.TOO_MANY_REQUESTS: (
                "`rate_limited`: wait for the number of seconds in the Retry-After header"
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
        summary="Read the name and the scopes of the request's key",
        scope=_SCOPE,
        query=NoQuery,
        body=NoBody,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The key's name and scopes.", models=(responses.Session,)
            )
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
                about="The response makes the browser delete the cookie.",
                media_types=(),
                headers={"Set-Cookie": "An empty session, which replaces the old one"},
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
        summary="Create a ticket that logs in one browser on the gateway's machine, once",
        about=(
            "Open `/console#ticket=TICKET` in a browser within 5 minutes. The ticket logs in with "
            "the key of this request. It works once, and only on the gateway's own machine. "
            "Browsers do not send the part of a URL after `#`, so no log contains the ticket."
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
