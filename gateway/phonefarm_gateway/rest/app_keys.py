"""What an application and a request carry for the endpoints."""

from typing import Final

from aiohttp import web
from phonefarm_common.address_policy import AddressPolicy

from phonefarm_gateway.client import Controller
from phonefarm_gateway.metrics import Metrics
from phonefarm_gateway.rest.asset_check import Assets
from phonefarm_gateway.rest.event_streams import Streams
from phonefarm_gateway.rest.rate_limit import Rates

CONTROLLER: Final = web.AppKey("controller", Controller)
POLICY: Final = web.AppKey("policy", AddressPolicy)
"""Of callbacks."""
ASSETS: Final = web.AppKey("assets", Assets)
RATES: Final = web.AppKey("rates", Rates)
METRICS: Final = web.AppKey("metrics", Metrics)
STREAMS: Final = web.AppKey("streams", Streams)
OPENAPI: Final = web.AppKey("openapi", bytes)
DOCS: Final = web.AppKey("docs", bytes)
METRICS_OPEN: Final = web.AppKey("metrics_open", bool)

PROCESS_ID: Final = web.RequestKey("process_id", str)
"""Set as soon as it is known, for the log."""
