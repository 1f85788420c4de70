"""A client of Phonefarm: AsyncPhonefarm for asyncio, Phonefarm for everything else.

    from phonefarm.client import Phonefarm

    with Phonefarm("http://127.0.0.1:8080", key="...") as farm:
        for phone in farm.phones.list().phones:
            print(phone.phone_id, phone.readiness)

docs/python.md explains it; phonefarm.schemas has the models of what is sent and returned.
"""

from phonefarm.client.blocking_client import Phonefarm
from phonefarm.client.callbacks import CallbackVerifier
from phonefarm.client.client import AsyncPhonefarm
from phonefarm.client.errors import (
    AuthenticationError,
    CallbackVerificationError,
    ConflictError,
    InvalidRequestError,
    NoResponseError,
    NotConnectedError,
    NotFoundError,
    PermissionDeniedError,
    PhonefarmError,
    RateLimitedError,
    UnavailableError,
    UnexpectedResponseError,
)
from phonefarm.client.operation import FarmEvent
from phonefarm.client.retries import Retries
from phonefarm.schemas.acknowledgements import Accepted, DryRun, Duplicate
from phonefarm.schemas.callback_event import ProcessUpdated
from phonefarm.schemas.process_record import ProcessRecord
from phonefarm.schemas.requests import Callback, RequestedBy, Target

__all__ = [
    "Accepted",
    "AsyncPhonefarm",
    "AuthenticationError",
    "Callback",
    "CallbackVerificationError",
    "CallbackVerifier",
    "ConflictError",
    "DryRun",
    "Duplicate",
    "FarmEvent",
    "InvalidRequestError",
    "NoResponseError",
    "NotConnectedError",
    "NotFoundError",
    "PermissionDeniedError",
    "Phonefarm",
    "PhonefarmError",
    "ProcessRecord",
    "ProcessUpdated",
    "RateLimitedError",
    "RequestedBy",
    "Retries",
    "Target",
    "UnavailableError",
    "UnexpectedResponseError",
]
