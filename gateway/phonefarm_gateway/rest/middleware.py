"""Turns errors into problem documents, counts each request and logs it in one line."""

import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final, TypeAlias

import structlog
from aiohttp import hdrs, web
from phonefarm_common.ids import is_name, new_id
from phonefarm_common.reasons import FarmError, Reason
from phonefarm_common.trace_context import TRACEPARENT, read_traceparent, working_in
from phonefarm_common.tracing import OpenSpan, SpanKind

from phonefarm_gateway.client import RefusedError
from phonefarm_gateway.rest.app_keys import HTTP_REQUEST_ID, METRICS, PROCESS_ID, TRACER
from phonefarm_gateway.rest.problems import Problem, from_farm_error, from_refused

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_READS: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})
_NO_PATH: Final = "?"
_X_REQUEST_ID: Final = "X-Request-Id"
_log = structlog.get_logger()


@web.middleware
async def problem_documents(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every failure with a problem document that reveals nothing internal."""
    request[HTTP_REQUEST_ID] = _http_request_id(request)
    path = _template(request)
    span = _begun_span(request, path)
    with working_in(span.context):
        response = await _answered(request, handler, path)
    _end_span(span, request, path, response)
    return response


async def name_request(request: web.Request, response: web.StreamResponse) -> None:
    """Set the header X-Request-Id, and do not tell strangers which software answers."""
    if HTTP_REQUEST_ID in request:
        response.headers[_X_REQUEST_ID] = request[HTTP_REQUEST_ID]
    response.headers.popall(hdrs.SERVER, None)


def _http_request_id(request: web.Request) -> str:
    """Return the id that a proxy or the caller gave the request, or a new one."""
    given = request.headers.get(_X_REQUEST_ID, "")
    return given if is_name(given) else new_id()


async def _answered(request: web.Request, handler: Handler, path: str) -> web.StreamResponse:
    began = time.monotonic()
    problem = None
    try:
        _check_coding(request)
        response = await handler(request)
    except Exception as error:  # noqa: BLE001 - the edge: whatever it is, the caller gets an answer
        problem = _problem(request, error)
        response = problem.response()
    seconds = time.monotonic() - began
    request.app[METRICS].count_request(
        # Callers can invent methods; each would be a new series.
        method=request.method if request.method in hdrs.METH_ALL else "?",
        path=path,
        status=response.status,
        seconds=None if response.content_type == "text/event-stream" else seconds,
    )
    _log.info(
        "request.answered",
        method=request.method,
        path=path,
        status=response.status,
        error=problem and problem.error,
        process_id=request.get(PROCESS_ID),
        http_request_id=request[HTTP_REQUEST_ID],
        remote=request.remote,
        milliseconds=round(seconds * 1000, 1),
    )
    return response


def _begun_span(request: web.Request, path: str) -> OpenSpan:
    """Return the span of a request that may change something; for a read, its caller's trace.

    Otherwise each caller that polls would fill the collector.
    """
    parent = read_traceparent(request.headers.get(TRACEPARENT))
    if request.method in _READS:
        return OpenSpan(parent)
    name = f"{request.method} {path}" if request.method in hdrs.METH_ALL else "?"
    return request.app[TRACER].begin(name, kind=SpanKind.SERVER, parent=parent)


def _end_span(
    span: OpenSpan, request: web.Request, path: str, response: web.StreamResponse
) -> None:
    """End the span, but not of a stranger's request: nobody without a key fills the collector."""
    status = response.status
    if status == HTTPStatus.UNAUTHORIZED or path == _NO_PATH:
        return
    told: dict[str, str | int] = {
        "http.request.method": request.method,
        "http.route": path,
        "http.response.status_code": status,
    }
    process_id = request.get(PROCESS_ID)
    if process_id is not None:
        told["phonefarm.process_id"] = process_id
    span.end(told, error=str(status) if status >= HTTPStatus.INTERNAL_SERVER_ERROR else None)


def _check_coding(request: web.Request) -> None:
    """Raise Problem 501 for a transfer coding that nobody undoes (RFC 9112, 6.1)."""
    codings = ", ".join(request.headers.getall(hdrs.TRANSFER_ENCODING, ()))
    if codings and codings.strip().lower() != "chunked":
        detail = "Send the body with a Content-Length, or with Transfer-Encoding: chunked."
        raise Problem(HTTPStatus.NOT_IMPLEMENTED, "transfer_encoding_not_supported", detail)


def _problem(request: web.Request, error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case RefusedError():
            return from_refused(error)
        case FarmError():
            return from_farm_error(error)
        case web.HTTPException():
            return _from_aiohttp(error)
        case ConnectionError():
            # Nobody reads this answer; it only gives the log line its status.
            return Problem(
                HTTPStatus.REQUEST_TIMEOUT, "caller_gone", "The caller closed the connection."
            )
        case _:
            name = request[HTTP_REQUEST_ID]
            _log.error("request.crashed", http_request_id=name, exc_info=error)
            detail = f"The gateway failed. Search its log for the id {name} to find the cause."
            return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, Reason.INTERNAL, detail)


def _from_aiohttp(error: web.HTTPException) -> Problem:
    status = HTTPStatus(error.status)
    match status:
        case HTTPStatus.NOT_FOUND:
            return Problem(
                status, "not_found", "There is no such endpoint; GET /docs lists them all."
            )
        case HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = error.headers.get(hdrs.ALLOW, "")
            detail = f"This endpoint accepts {allowed}."
            return Problem(status, "method_not_allowed", detail, headers={hdrs.ALLOW: allowed})
        case _:
            return Problem(status, status.phrase.lower().replace(" ", "_"), status.phrase)


def _template(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource else _NO_PATH
