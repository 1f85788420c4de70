"""Keys of the values that the application and each request hold for the endpoints."""

from typing import Final

from aiohttp import web
from phonefarm_common.address_policy import AddressPolicy
from phonefarm_common.tracing import Tracer

from phonefarm_gateway.client import ControllerClient
from phonefarm_gateway.console.origins import Origins
from phonefarm_gateway.console.session_seal import SessionSeal
from phonefarm_gateway.console.tickets import Tickets
from phonefarm_gateway.metrics import Metrics
from phonefarm_gateway.rest.asset_check import AssetChecker
from phonefarm_gateway.rest.auth import RecentKeys
from phonefarm_gateway.rest.event_streams import EventStreams
from phonefarm_gateway.rest.rate_limit import RateLimiter

CONTROLLER: Final = web.AppKey("controller", ControllerClient)
POLICY: Final = web.AppKey("policy", AddressPolicy)
"""The addresses that callbacks may go to."""
ASSETS: Final = web.AppKey("assets", AssetChecker)
RATES: Final = web.AppKey("rates", RateLimiter)
RECENT_KEYS: Final = web.AppKey("recent_keys", RecentKeys)
METRICS: Final = web.AppKey("metrics", Metrics)
STREAMS: Final = web.AppKey("streams", EventStreams)
OPENAPI: Final = web.AppKey("openapi", bytes)
DOCS: Final = web.AppKey("docs", bytes)
ORIGINS: Final = web.AppKey("origins", Origins)
"""The origins from which browsers use the console."""
SEAL: Final = web.AppKey("seal", SessionSeal)
TICKETS: Final = web.AppKey("tickets", Tickets)
LOGIN_RATES: Final = web.AppKey("login_rates", RateLimiter)
"""The logins of each address, because a stranger has no key to count by."""
METRICS_OPEN: Final = web.AppKey("metrics_open", bool)
TRACER: Final = web.AppKey("tracer", Tracer)

PROCESS_ID: Final = web.RequestKey("process_id", str)
"""Set as soon as it is known, for the log line."""
HTTP_REQUEST_ID: Final = web.RequestKey("http_request_id", str)
"""Names this one HTTP request in the response's header X-Request-Id and in the log."""
