"""Sends requests to a gateway, repeats them, and reads responses and streams."""

import asyncio
import base64
import hashlib
import logging
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, BinaryIO, Final, TypeAlias, TypeVar
from urllib.parse import quote

import aiohttp
from phonefarm.client.errors import (
    NoResponseError,
    NotConnectedError,
    PhonefarmError,
    UnexpectedResponseError,
    error_for,
)
from phonefarm.client.retries import Retries
from phonefarm.schemas.fields import RequestModel, ResponseModel
from phonefarm.schemas.responses import ProblemDocument
from pydantic import TypeAdapter, ValidationError
from yarl import URL

SILENCE_SECONDS: Final = 45.0
"""A stream that is silent for this long is broken: the gateway sends a comment every 15 s."""

DOWNLOAD_SECONDS: Final = 600.0
"""A download that is silent for this long is broken; the farm may first have to create the file."""

Parameter: TypeAlias = str | int | datetime | Sequence[str] | None
_Response = TypeVar("_Response", bound=ResponseModel)
_Value = TypeVar("_Value")
_log = logging.getLogger("phonefarm.client")


class Transport:
    """The connection to one gateway with one key; safe to use by many tasks of one event loop."""

    def __init__(
        self,
        url: str,
        *,
        key: str,
        retries: Retries,
        timeout_seconds: float,
        tls: ssl.SSLContext | None,
        session: aiohttp.ClientSession | None,
    ) -> None:
        base = URL(url)
        if base.scheme not in {"http", "https"} or not base.host:
            raise ValueError(f"url must be an http or https URL, not {url!r}")
        if not key or not all("!" <= char <= "~" for char in key):
            raise ValueError("key must be an API key: visible ASCII characters")
        self._base = url.rstrip("/")
        self._headers = {
            "Authorization": f"Bearer {key}",
            "User-Agent": f"phonefarm-python/{version('phonefarm')}",
        }
        self.retries = retries
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._tls = tls if tls is not None else True
        self._session = session
        self._owns_session = session is None

    async def open(self) -> None:
        """Make a session, unless the caller brought one."""
        if self._session is None:
            self._session = aiohttp.ClientSession()

    async def close(self) -> None:
        """Close the connections, unless the caller brought the session."""
        if self._owns_session and self._session is not None:
            await self._session.close()
            self._session = None

    async def send(
        self,
        method: str,
        path: str,
        response: type[_Response],
        *,
        body: RequestModel | None = None,
        query: Mapping[str, Parameter] | None = None,
        repeatable: bool = True,
    ) -> _Response:
        """Send a request and return the response; PhonefarmError if it fails for good."""
        raw = await self.read(method, path, body=body, query=query, repeatable=repeatable)
        return understood(TypeAdapter(response), raw)

    async def read(
        self,
        method: str,
        path: str,
        *,
        body: RequestModel | None = None,
        query: Mapping[str, Parameter] | None = None,
        repeatable: bool = True,
    ) -> bytes:
        """Send a request and return the body of the response; PhonefarmError as in `send`."""
        failures = 0
        while True:
            try:
                async with self._request(method, path, body=body, query=query) as response:
                    return await response.read()
            except PhonefarmError as error:
                failures += 1
                await self.pause(error, failures=failures, repeatable=repeatable)

    async def download(self, path: str, file: BinaryIO, *, body: RequestModel) -> None:
        """Write the body of a POST's response to *file*, as it comes; it is not sent again.

        UnexpectedResponseError if the file is not what Repr-Digest (RFC 9530) says.
        """
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=self._timeout.total, sock_read=DOWNLOAD_SECONDS
        )
        found = hashlib.sha256()
        async with self._request("POST", path, body=body, timeout=timeout) as response:
            async for part in response.content.iter_chunked(1024 * 1024):
                found.update(part)
                await asyncio.to_thread(file.write, part)
            digest = base64.b64encode(found.digest()).decode()
            if response.headers.get("Repr-Digest") != f"sha-256=:{digest}:":
                raise UnexpectedResponseError(f"POST {path}: the file differs from its digest")

    async def pause(self, error: PhonefarmError, *, failures: int, repeatable: bool = True) -> None:
        """Wait until the request may be sent again; raise *error* if it must not be."""
        seconds = self.retries.delay(error, failures=failures, repeatable=repeatable)
        if seconds is None:
            raise error
        _log.info("request failed; trying again in %.1f s: %s", seconds, error)
        await self.retries.sleep(seconds)

    @asynccontextmanager
    async def stream(self, path: str, *, after: str) -> AsyncIterator[AsyncIterator[bytes] | None]:
        """Yield the parts of an event stream as they come; None if there will be no more events."""
        headers = {"Accept": "text/event-stream"}
        if after:
            headers["Last-Event-ID"] = after
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=self._timeout.total, sock_read=SILENCE_SECONDS
        )
        async with self._request("GET", path, headers=headers, timeout=timeout) as response:
            ended = response.status == HTTPStatus.NO_CONTENT
            yield None if ended else response.content.iter_any()

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        *,
        body: RequestModel | None = None,
        query: Mapping[str, Parameter] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield a response of 2xx; PhonefarmError for any other, and for none."""
        if self._session is None:
            raise RuntimeError("the client is not open: use `async with` or `with`")
        sent = dict(self._headers) | dict(headers or {})
        data = None
        if body is not None:
            sent["Content-Type"] = "application/json"
            data = body.model_dump_json(by_alias=True, exclude_unset=True).encode()
        try:
            async with self._session.request(
                method,
                URL(self._base + path, encoded=True),
                params=_parameters(query or {}),
                data=data,
                headers=sent,
                timeout=timeout or self._timeout,
                ssl=self._tls,
                # The key must go to no other address.
                allow_redirects=False,
            ) as response:
                if not 200 <= response.status < 300:
                    raise await _error(response)
                yield response
        except aiohttp.ClientConnectorError as error:
            raise NotConnectedError(f"{method} {path}: {error}") from error
        except TimeoutError as error:
            raise NoResponseError(f"{method} {path}: no response in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise NoResponseError(
                f"{method} {path}: {str(error) or type(error).__name__}"
            ) from error


def place(template: str, **names: str) -> str:
    """Return *template* with each of its names, escaped, in place."""
    return template.format(**{name: quote(value, safe="") for name, value in names.items()})


def given(**values: Any) -> dict[str, Any]:
    """Return the values that are not None, so that what the caller left out is not sent."""
    return {name: value for name, value in values.items() if value is not None}


def understood(kind: TypeAdapter[_Value], raw: bytes) -> _Value:
    """Return the JSON *raw* as *kind*, without the keys that it does not know.

    UnexpectedResponseError if it does not fit.
    """
    try:
        return kind.validate_json(raw, extra="ignore")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UnexpectedResponseError(
            f"the client does not understand the response: {where}: {first['msg']}; use a client "
            "that is as new as the gateway"
        ) from error


async def _error(response: aiohttp.ClientResponse) -> PhonefarmError:
    problem = None
    if response.content_type == "application/problem+json":
        try:
            problem = understood(TypeAdapter(ProblemDocument), await response.read())
        except UnexpectedResponseError:
            problem = None
    return error_for(response.status, problem, _retry_after(response))


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    """Return the seconds of Retry-After; the gateway never sends a date (docs/rest.md)."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else None


def _parameters(query: Mapping[str, Parameter]) -> list[tuple[str, str]]:
    found = []
    for name, value in query.items():
        match value:
            case None:
                continue
            case datetime():
                found.append((name, value.isoformat()))
            case str() | int():
                found.append((name, str(value)))
            case _:
                found.extend((name, one) for one in value)
    return found
