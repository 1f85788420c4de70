"""Signs callbacks: our own two headers and those of Standard Webhooks 1.0."""

import base64
import binascii
import hashlib
import hmac
from typing import Final

from phonefarm_common.config import ConfigError

_PREFIX: Final = "whsec_"


class Signer:
    """Signs with one secret; ConfigError at once for a secret that is empty or not base64."""

    def __init__(self, secret: str) -> None:
        self._own_key = secret.encode()
        self._standard_key = self._own_key
        if secret.startswith(_PREFIX):
            try:
                self._standard_key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
            except binascii.Error as error:
                raise ConfigError(
                    "PHONE_FARM_WEBHOOK_SECRET begins with whsec_, but the rest is not valid base64"
                ) from error
        if not self._standard_key:
            raise ConfigError("PHONE_FARM_WEBHOOK_SECRET is empty")

    def headers(self, body: bytes, *, delivery_id: str, epoch_seconds: int) -> dict[str, str]:
        """Return the signature headers of *body* as sent at *epoch_seconds*."""
        stamp = str(epoch_seconds)
        own = _hmac(self._own_key, f"{stamp}.".encode() + body)
        standard = _hmac(self._standard_key, f"{delivery_id}.{stamp}.".encode() + body)
        return {
            "X-PhoneFarm-Timestamp": stamp,
            "X-PhoneFarm-Signature": own.hex(),
            "webhook-id": delivery_id,
            "webhook-timestamp": stamp,
            "webhook-signature": f"v1,{base64.b64encode(standard).decode()}",
        }


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, hashlib.sha256)
