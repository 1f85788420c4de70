"""Describes the callbacks that gateways send, as the webhooks of the OpenAPI document."""

from collections.abc import Mapping
from typing import Any, Final

from phonefarm.schemas.alert_event import AlertsChanged
from phonefarm.schemas.callback_event import ProcessUpdated
from pydantic import BaseModel

_HEADERS: Final = {
    "webhook-id": "The delivery; the same in every attempt",
    "webhook-timestamp": "When this attempt was signed, in seconds since 1970",
    "webhook-signature": "`v1,` and the signature of Standard Webhooks 1.0",
    "X-PhoneFarm-Timestamp": "As webhook-timestamp",
    "X-PhoneFarm-Signature": (
        "HMAC-SHA256 of `<X-PhoneFarm-Timestamp>.<body>` in hexadecimal, with the whole secret"
    ),
}


def webhooks(refs: Mapping[type[BaseModel], Mapping[str, Any]]) -> dict[str, Any]:
    """Return the webhooks of the document."""
    return {
        "process.updated": _webhook(
            name="processUpdated",
            tag="Callbacks",
            summary="A process has reached a milestone",
            about=(
                "The gateway sends this to `callback.url` of the request. It tries again for up to "
                "24 hours until the receiver answers 2xx. A callback can arrive twice, and two "
                "callbacks can arrive in the wrong order: compare `sequence`. The headers are "
                "absent if the farm has no webhook secret."
            ),
            schema=refs[ProcessUpdated],
            gone="The receiver wants no more callbacks of this process.",
        ),
        "alerts.changed": _webhook(
            name="alertsChanged",
            tag="Farm",
            summary="Alerts have turned on or off",
            about=(
                "The gateway sends this to the farm's alert URL, as it sends callbacks. Each event "
                "contains all alerts that are on. While an alert is on, an event comes at least "
                "every 24 hours."
            ),
            schema=refs[AlertsChanged],
            gone="The receiver wants no more events, until an operator replays one.",
        ),
    }


def _webhook(
    *, name: str, tag: str, summary: str, about: str, schema: Mapping[str, Any], gone: str
) -> dict[str, Any]:
    operation = {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        "description": about,
        "security": [],
        "parameters": [
            {
                "name": header,
                "in": "header",
                "required": False,
                "description": says,
                "schema": {"type": "string"},
            }
            for header, says in _HEADERS.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "2XX": {"description": "The receiver has the callback."},
            "410": {"description": gone},
            "default": {"description": "The gateway tries again; it respects Retry-After."},
        },
    }
    return {"post": operation}
