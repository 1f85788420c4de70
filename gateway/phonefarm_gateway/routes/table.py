"""The table of all endpoints."""

from typing import Any, Final

from aiohttp import web

from phonefarm_gateway.rest.endpoint import Endpoint
from phonefarm_gateway.rest.handler import answer_expectation, handler_for
from phonefarm_gateway.routes import (
    accounts,
    alerts,
    backup,
    console,
    content,
    deliveries,
    events,
    evidence,
    hosts,
    limits,
    operation,
    phones,
    processes,
    schedules,
    screens,
    system,
    windows,
)

ENDPOINTS: Final[tuple[Endpoint[Any, Any], ...]] = (
    *processes.ENDPOINTS,
    *content.ENDPOINTS,
    *events.ENDPOINTS,
    *evidence.ENDPOINTS,
    *deliveries.ENDPOINTS,
    *phones.ENDPOINTS,
    *accounts.ENDPOINTS,
    *hosts.ENDPOINTS,
    *operation.ENDPOINTS,
    *windows.ENDPOINTS,
    *schedules.ENDPOINTS,
    *limits.ENDPOINTS,
    *alerts.ENDPOINTS,
    *backup.ENDPOINTS,
    *screens.ENDPOINTS,
    *console.ENDPOINTS,
    *system.ENDPOINTS,
)


def add_routes(router: web.UrlDispatcher) -> None:
    """Register every endpoint; GET answers HEAD too."""
    for endpoint in ENDPOINTS:
        handler = handler_for(endpoint)
        if endpoint.method == "GET":
            router.add_get(endpoint.path, handler, expect_handler=answer_expectation)
        else:
            router.add_route(
                endpoint.method, endpoint.path, handler, expect_handler=answer_expectation
            )
