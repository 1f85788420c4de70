"""The REST surface: each handler reads a request, makes one call, and writes the answer."""

from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from phonefarm_common.addresses import AddressPolicy, check_url
from phonefarm_common.identity import is_uuid
from phonefarm_common.reasons import FieldProblem, Reason

from phonefarm_gateway import schemas
from phonefarm_gateway.answers import Accepted, render_accepted, render_cancelled
from phonefarm_gateway.bodies import read_json, shaped
from phonefarm_gateway.callers import bearer_key
from phonefarm_gateway.controller import Controller, RefusedError
from phonefarm_gateway.problems import RETRY_AFTER_SECONDS, Problem, invalid
from phonefarm_gateway.records import render
from phonefarm_gateway.strict_json import dump

CONTROLLER: Final = web.AppKey("controller", Controller)
POLICY: Final = web.AppKey("policy", AddressPolicy)
PROCESS_ID: Final = web.RequestKey("process_id", str)
"""Set by handlers as soon as they know it, for the log."""

MOST_LISTED: Final = 500


def add_routes(router: web.UrlDispatcher) -> None:
    """Register every endpoint there is."""
    router.add_post("/capability-requests/enqueue", enqueue)
    router.add_post("/maintenance/requests", request_maintenance)
    router.add_get("/processes", list_processes)
    router.add_get("/processes/{process_id}", get_process)
    router.add_post("/processes/{process_id}/cancel", cancel)
    router.add_get("/healthz", healthz)
    router.add_get("/readyz", readyz)


async def enqueue(request: web.Request) -> web.Response:
    """POST /capability-requests/enqueue."""
    key = await _admitted(request, scope="submit")
    body = shaped(schemas.Enqueue, await read_json(request))
    check_url(body.callback.url, request.app[POLICY])
    return _accepted(request, await request.app[CONTROLLER].enqueue(key, body))


async def request_maintenance(request: web.Request) -> web.Response:
    """POST /maintenance/requests: an enqueue of `maintenance` on one account's phone."""
    key = await _admitted(request, scope="submit")
    value = await read_json(request)
    shape = shaped(schemas.MaintenanceShape, value)
    check_url(shape.callback.url, request.app[POLICY])
    body = schemas.Enqueue(
        request_id=shape.request_id,
        capability="maintenance",
        mode="manual",
        target=schemas.Target(routing="direct", account_id=shape.account_id),
        # As it was sent: the shape holds only what was looked at.
        inputs=value["inputs"],
        callback=shape.callback,
        requested_by=shape.requested_by,
    )
    try:
        answer = await request.app[CONTROLLER].enqueue(key, body)
    except RefusedError as refused:
        problems = tuple(
            replace(p, field="account_id") if p.field.startswith("target") else p
            for p in refused.problems
        )
        raise RefusedError(refused.reason, refused.text, refused.message, problems) from refused
    return _accepted(request, answer)


async def get_process(request: web.Request) -> web.Response:
    """GET /processes/{process_id}."""
    key = bearer_key(request)
    process_id = await _process_id(request, key, scope="read")
    return _json(render(await request.app[CONTROLLER].process(key, process_id)))


async def list_processes(request: web.Request) -> web.Response:
    """GET /processes?limit=N&status=queued&status=executing, the newest first."""
    key = await _admitted(request, scope="read")
    limit = _limit(request.query.get("limit", "50"))
    statuses = request.query.getall("status", [])
    for status in statuses:
        if status not in schemas.PUBLIC_STATUSES:
            message = f"must be one of {', '.join(schemas.PUBLIC_STATUSES)}"
            raise invalid(FieldProblem(field="status", message=message))
    found = await request.app[CONTROLLER].processes(key, limit=limit, statuses=statuses)
    return _json({"processes": [render(record) for record in found]})


async def cancel(request: web.Request) -> web.Response:
    """POST /processes/{process_id}/cancel."""
    key = await _admitted(request, scope="cancel")
    process_id = await _process_id(request, key, scope="cancel")
    body = shaped(schemas.Cancel, await read_json(request))
    answer = await request.app[CONTROLLER].cancel(key, process_id, body)
    return _json(render_cancelled(answer))


async def healthz(request: web.Request) -> web.Response:
    """GET /healthz: this process answers."""
    return _json({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """GET /readyz: the controller answers too."""
    if await request.app[CONTROLLER].answers():
        return _json({"status": "ready"})
    raise Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        Reason.CONTROLLER_UNAVAILABLE,
        "The controller does not answer.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


async def _admitted(request: web.Request, *, scope: str) -> str | None:
    """Return the caller's key once the controller has let it in; nothing is read before."""
    key = bearer_key(request)
    await request.app[CONTROLLER].check_key(key, scope=scope)
    return key


async def _process_id(request: web.Request, key: str | None, *, scope: str) -> str:
    """Return the path's process id in canonical form; Problem 404 for what cannot be one."""
    text = request.match_info["process_id"]
    if not is_uuid(text):
        await request.app[CONTROLLER].check_key(key, scope=scope)
        message = "There is no such process: a process id is a UUID."
        raise Problem(HTTPStatus.NOT_FOUND, Reason.UNKNOWN_PROCESS, message)
    request[PROCESS_ID] = text.lower()
    return text.lower()


def _limit(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MOST_LISTED:
        return int(text)
    raise invalid(FieldProblem(field="limit", message=f"must be a number from 1 to {MOST_LISTED}"))


def _accepted(request: web.Request, answer: Accepted) -> web.Response:
    if answer.process_id is not None:
        request[PROCESS_ID] = answer.process_id
    status, body = render_accepted(answer)
    return _json(body, status=status)


def _json(body: dict[str, Any], *, status: int = HTTPStatus.OK) -> web.Response:
    return web.Response(status=status, body=dump(body).encode(), content_type="application/json")
