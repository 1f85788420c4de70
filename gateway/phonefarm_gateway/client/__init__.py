"""The controller as the gateway sees it: typed calls, and one exception for every way they fail."""

from phonefarm_gateway.client.calls import GATEWAY_TOKEN, RefusedError
from phonefarm_gateway.client.client import ControllerClient

__all__ = ["GATEWAY_TOKEN", "ControllerClient", "RefusedError"]
