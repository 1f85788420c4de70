"""Describes the callbacks that gateways send, as the webhooks of the OpenAPI document."""

from collections.abc import Mapping
from typing import Any, Final

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
    operation = {
        "operationId": "processUpdated",
        "tags": ["Callbacks"],
        "summary": "A process has reached a milestone",
        "description": (
            "The gateway sends this to `callback.url` of the request. It tries again for up to 24 "
            "hours until the receiver answers 2xx. A callback can come twice, and after a newer "
            "one: compare `sequence`. The headers are absent if the farm has no webhook secret."
        ),
        "security": [],
        "parameters": [
            {
                "name": name,
                "in": "header",
                "required": False,
                "description": about,
                "schema": {"type": "string"},
            }
            for name, about in _HEADERS.items()
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": refs[ProcessUpdated]}},
        },
        "responses": {
            "2XX": {"description": "The receiver has the callback."},
            "410": {"description": "The receiver wants no more callbacks of this process."},
            "default": {"description": "The gateway tries again; it respects Retry-After."},
        },
    }
    return {"process.updated": {"post": operation}}
