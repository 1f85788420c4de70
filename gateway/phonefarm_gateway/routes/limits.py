"""Endpoints of limits: how many runs a day, how far apart, and how many at once."""

from http import HTTPStatus
from typing import Final

from aiohttp import web
from phonefarm.schemas import examples, limits
from phonefarm.schemas.farm_requests import PutLimit, RemoveLimit
from phonefarm.schemas.queries import NoQuery

from phonefarm_gateway.rest.endpoint import Call, Endpoint, NoBody, ResponseSpec, reply

TAG: Final = "Operation"


async def list_limits(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return every limit."""
    return reply(await call.controller.fleet.limits(call.key))


async def put_limit(call: Call[NoQuery, PutLimit]) -> web.StreamResponse:
    """Limit the runs of a scope."""
    return reply(await call.controller.fleet.put_limit(call.key, call.body))


async def remove_limit(call: Call[NoQuery, RemoveLimit]) -> web.StreamResponse:
    """Remove a limit."""
    return reply(await call.controller.fleet.remove_limit(call.key, call.body))


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/limits",
        name="listLimits",
        tag=TAG,
        summary="List the limits: how many runs a day, how far apart, and how many at once",
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={HTTPStatus.OK: ResponseSpec(about="All limits.", models=(limits.LimitList,))},
        handler=list_limits,
    ),
    Endpoint(
        method="POST",
        path="/limits",
        name="putLimit",
        tag=TAG,
        summary="Limit the runs of an account, of every account, a group of phones, an app or an "
        "agent",
        about="The limit replaces an earlier limit of the same kind and scope. Runs in progress "
        "continue. An account's own limit replaces that of every account.",
        scope="operate",
        query=NoQuery,
        body=PutLimit,
        example=examples.LIMIT,
        answers={HTTPStatus.OK: ResponseSpec(about="The limit.", models=(limits.Limit,))},
        handler=put_limit,
    ),
    Endpoint(
        method="POST",
        path="/limits/remove",
        name="removeLimit",
        tag=TAG,
        summary="Remove a limit; other limits remain",
        scope="operate",
        query=NoQuery,
        body=RemoveLimit,
        example=examples.NO_LIMIT,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The scope has no limit of this kind.", models=(limits.LimitRemoved,)
            )
        },
        handler=remove_limit,
    ),
)
