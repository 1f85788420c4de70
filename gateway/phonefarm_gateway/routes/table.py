"""Every endpoint there is."""

from typing import Any, Final

from aiohttp import web

from phonefarm_gateway.routes import (
    content,
    deliveries,
    events,
    evidence,
    fleet,
    reading,
    service,
    work,
)
from phonefarm_gateway.routes.endpoint import Endpoint
from phonefarm_gateway.routes.perform import performing

ENDPOINTS: Final[tuple[Endpoint[Any, Any], ...]] = (
    *work.ENDPOINTS,
    *content.ENDPOINTS,
    *reading.ENDPOINTS,
    *events.ENDPOINTS,
    *evidence.ENDPOINTS,
    *deliveries.ENDPOINTS,
    *fleet.ENDPOINTS,
    *service.ENDPOINTS,
)


def add_routes(router: web.UrlDispatcher) -> None:
    """Register all of them; GET takes HEAD too."""
    for endpoint in ENDPOINTS:
        perform = performing(endpoint)
        if endpoint.method == "GET":
            router.add_get(endpoint.path, perform)
        else:
            router.add_route(endpoint.method, endpoint.path, perform)
