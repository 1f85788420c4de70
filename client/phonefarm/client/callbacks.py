"""Verifies that a callback comes from the farm, and reads it."""

import base64
import binascii
from collections.abc import Mapping
from typing import Final

from phonefarm.client.errors import CallbackVerificationError, UnexpectedResponseError
from phonefarm.client.transport import understood
from phonefarm.schemas.callback_event import ProcessUpdated
from pydantic import TypeAdapter
from standardwebhooks import Webhook, WebhookVerificationError

_PREFIX: Final = "whsec_"
_EVENT: Final = TypeAdapter(ProcessUpdated)


class CallbackVerifier:
    """Checks callbacks with the farm's webhook secret (Standard Webhooks 1.0).

    ValueError for an empty secret, and for one that begins with `whsec_` and is not base64.
    """

    def __init__(self, secret: str) -> None:
        # A secret without the prefix is the key itself, as it is for the gateway.
        key = secret.encode()
        if secret.startswith(_PREFIX):
            try:
                key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
            except binascii.Error as error:
                raise ValueError(f"secret begins with {_PREFIX}, but is not base64") from error
        if not key:
            raise ValueError("secret is empty: give the farm's PHONE_FARM_WEBHOOK_SECRET")
        self._webhook = Webhook(key)

    def verify(self, body: bytes, headers: Mapping[str, str]) -> ProcessUpdated:
        """Return the event of a callback, from the bytes of its body as they came.

        CallbackVerificationError if the signature is missing or wrong, the callback is more than 5
        minutes old, or the body is no event. The names of *headers* may be in any case.
        """
        try:
            self._webhook.verify(body, dict(headers), json_parse=False)
        except (WebhookVerificationError, ValueError) as error:
            raise CallbackVerificationError(
                f"the callback is not from the farm: {error}"
            ) from error
        try:
            return understood(_EVENT, body)
        except UnexpectedResponseError as error:
            raise CallbackVerificationError(
                f"the callback does not contain an event: {error}"
            ) from error
