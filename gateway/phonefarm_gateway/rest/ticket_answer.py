"""The answer to a request for a ticket."""

from datetime import timedelta
from http import HTTPStatus
from typing import Any

from aiohttp import hdrs, web
from phonefarm.schemas import responses

from phonefarm_gateway.rest.app_keys import TICKETS
from phonefarm_gateway.rest.endpoint import Call, reply


def ticket_answer(call: Call[Any, Any], *, purpose: str, life: timedelta) -> web.StreamResponse:
    """Return 201 with a ticket that stands for the caller's key; no cache may keep it.

    For endpoints with `checks_key`.
    """
    if call.key is None:
        raise AssertionError("the endpoint checks the key first")
    made = call.request.app[TICKETS].make(call.key, purpose, life)
    response = reply(
        responses.Ticket(ticket=made.text, expires_at=made.expires_at), status=HTTPStatus.CREATED
    )
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    return response
