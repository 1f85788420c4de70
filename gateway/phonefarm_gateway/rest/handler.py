"""Makes an aiohttp handler of an endpoint: rate, key, path, query, body, in this order.

A key that was valid within the last minute is checked by the call that uses it (docs/adr/0028).
"""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final, TypeVar

from aiohttp import HttpVersion11, hdrs, web
from phonefarm.schemas.fields import RequestModel
from phonefarm.schemas.queries import Query
from phonefarm_common.ids import is_name, is_uuid
from phonefarm_common.reasons import FarmError, FieldProblem, Reason

from phonefarm_gateway.client import RefusedError
from phonefarm_gateway.rest.app_keys import (
    CONTROLLER,
    LOGIN_RATES,
    PROCESS_ID,
    RATES,
    RECENT_KEYS,
)
from phonefarm_gateway.rest.credentials import caller_key
from phonefarm_gateway.rest.endpoint import Call, Endpoint, NoBody
from phonefarm_gateway.rest.problems import Problem, invalid
from phonefarm_gateway.rest.query_parameters import read
from phonefarm_gateway.rest.rate_limit import RateLimiter
from phonefarm_gateway.rest.request_body import read_json, validated

_Query = TypeVar("_Query", bound=Query)
_Body = TypeVar("_Body", bound=RequestModel)

_UNKNOWN: Final = {
    "process_id": Reason.UNKNOWN_PROCESS,
    "queue_item_id": Reason.UNKNOWN_QUEUE_ITEM,
    "evidence_id": Reason.UNKNOWN_EVIDENCE,
}
"""The reasons for an id in the path that is no UUID."""


async def answer_expectation(request: web.Request) -> web.StreamResponse | None:
    """Have the body sent for `Expect: 100-continue`; 417 for any other (RFC 9110, 10.1.1)."""
    if request.version != HttpVersion11:
        return None
    if request.headers[hdrs.EXPECT].lower() != "100-continue":
        detail = "The gateway supports only Expect: 100-continue. Omit the header Expect."
        problem = Problem(HTTPStatus.EXPECTATION_FAILED, "expectation_failed", detail)
        return problem.response()
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # of the answer, which has not begun
    return None


def handler_for(
    endpoint: Endpoint[_Query, _Body],
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return the aiohttp handler of *endpoint*."""

    async def handle(request: web.Request) -> web.StreamResponse:
        scope = endpoint.scope
        if scope is None:
            if endpoint.is_login:
                _check_login_rate(request)
            return await endpoint.handler(await _call(request, endpoint, None))
        key = caller_key(request)
        _check_rate(request, key)
        recent = request.app[RECENT_KEYS]
        # Strangers do not make the gateway read a body; a key that was valid just now may.
        checked = endpoint.checks_key or (endpoint.takes_body and not recent.has(key, scope))
        if checked:
            await _check_key(request, key, scope)
        try:
            response = await endpoint.handler(await _call(request, endpoint, key))
        except RefusedError:
            recent.drop(key, scope)
            raise
        except (Problem, FarmError):
            # Only a caller with a valid key is told what is wrong with a request.
            if not checked:
                await _check_key(request, key, scope)
            raise
        recent.add(key, scope)
        return response

    return handle


async def _call(
    request: web.Request, endpoint: Endpoint[_Query, _Body], key: str | None
) -> Call[_Query, _Body]:
    path, wrong = _path(request.match_info)
    query: Any = read(endpoint.query, request.query)
    if isinstance(query, tuple):
        wrong += query
    if wrong and not endpoint.takes_body:
        raise invalid(*wrong)
    if "process_id" in path:
        request[PROCESS_ID] = path["process_id"]
    raw = await _raw(request, endpoint)
    try:
        body = validated(endpoint.body, raw)
    except Problem as problem:
        # What is wrong with path, query and body is told together.
        more = await _further_problems(request, endpoint, key, raw) if problem.problems else ()
        if problem.problems and (wrong or more):
            raise invalid(*wrong, *problem.problems, *more) from problem
        raise
    if wrong:
        raise invalid(*wrong)
    return Call(request=request, key=key, path=path, query=query, body=body, raw=raw)


async def _further_problems(
    request: web.Request, endpoint: Endpoint[Any, Any], key: str | None, raw: object
) -> tuple[FieldProblem, ...]:
    if endpoint.further_problems is None or not isinstance(raw, dict):
        return ()
    return await endpoint.further_problems(request.app[CONTROLLER], key, raw)


def _check_rate(request: web.Request, key: str | None) -> None:
    if key is not None:
        _take_token(request.app[RATES], key, "This key has made too many requests.")


def _check_login_rate(request: web.Request) -> None:
    remote = request.remote or ""
    _take_token(
        request.app[LOGIN_RATES],
        remote,
        "There were too many attempts to log in from this address.",
    )


def _take_token(rates: RateLimiter, name: str, detail: str) -> None:
    seconds = rates.seconds_until(name)
    if seconds > 0:
        whole = max(1, int(-(-seconds // 1)))
        raise Problem(
            HTTPStatus.TOO_MANY_REQUESTS,
            Reason.RATE_LIMITED,
            f"{detail} Wait {whole} s.",
            headers={"Retry-After": str(whole)},
        )


async def _check_key(request: web.Request, key: str | None, scope: str) -> None:
    recent = request.app[RECENT_KEYS]
    recent.drop(key, scope)
    await request.app[CONTROLLER].processes.check_key(key, scope=scope)
    recent.add(key, scope)


def _path(given: Mapping[str, str]) -> tuple[dict[str, str], tuple[FieldProblem, ...]]:
    """Return the path's ids in canonical form, and what is wrong with its names.

    Problem 404 for an id that cannot exist.
    """
    path, wrong = {}, []
    for name, text in given.items():
        if name not in _UNKNOWN:
            if not is_name(text):
                message = "must be 1 to 128 characters from A-Z a-z 0-9 . _ : -"
                wrong.append(FieldProblem(field=name, message=message))
            path[name] = text
        elif is_uuid(text):
            path[name] = text.lower()
        else:
            what = name.removesuffix("_id").replace("_", " ")
            message = f"There is no {what} with this id. The id must be a UUID."
            raise Problem(HTTPStatus.NOT_FOUND, _UNKNOWN[name], message)
    return path, tuple(wrong)


async def _raw(request: web.Request, endpoint: Endpoint[Any, Any]) -> Any:
    if endpoint.body is NoBody:
        return {}
    if endpoint.body_optional and not request.can_read_body:
        return {}
    return await read_json(request, most=endpoint.body_limit)
