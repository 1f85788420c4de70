"""The controller as the gateway sees it: typed calls, and one exception for every way they fail."""

from phonefarm_gateway.controller.calls import GATEWAY_TOKEN, RefusedError
from phonefarm_gateway.controller.client import Controller

__all__ = ["GATEWAY_TOKEN", "Controller", "RefusedError"]
