"""The gateway's client of the controllers: typed calls, one exception for every refusal."""

from phonefarm_gateway.client.calls import GATEWAY_TOKEN, RefusedError
from phonefarm_gateway.client.client import ControllerClient

__all__ = ["GATEWAY_TOKEN", "ControllerClient", "RefusedError"]
