"""Checks that a caller's videos and covers can be fetched, before any work is created."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final, Self

import aiohttp
from phonefarm_common.address_policy import AddressPolicy, check_url
from phonefarm_common.outbound_http import AddressNotAllowedError, Lookup, outbound_session
from phonefarm_common.reasons import FieldProblem, Reason
from yarl import URL

from phonefarm_gateway.rest.problems import invalid

CHECK_SECONDS: Final = 5.0
MOST_AT_ONCE: Final = 256
_HEADERS: Final = {"User-Agent": "phonefarm-asset-check/1.0"}
_NO_HEAD: Final = {HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.FORBIDDEN}
"""The responses to HEAD after which GET is tried: URLs signed for GET answer HEAD with 403."""
_PASSING: Final = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}


class _AssetError(Exception):
    """An asset cannot be used."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class AssetChecker:
    """Sends HEAD to allowed addresses only, without redirects, with a time limit for each asset."""

    def __init__(
        self, session: aiohttp.ClientSession, *, policy: AddressPolicy, seconds: float
    ) -> None:
        self._session = session
        self._policy = policy
        self._seconds = seconds
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, *, policy: AddressPolicy, lookup: Lookup, seconds: float = CHECK_SECONDS
    ) -> AsyncIterator[Self]:
        """Yield a checker that takes at most *seconds* for each asset."""
        async with outbound_session(policy=policy, lookup=lookup, headers=_HEADERS) as session:
            yield cls(session, policy=policy, seconds=seconds)

    def check_addresses(self, assets: Mapping[str, str]) -> None:
        """Raise FarmError for a URL, by its field, that is none or has no allowed address."""
        for field, url in assets.items():
            check_url(url, self._policy, field=field, refusal=Reason.ASSET_URL_NOT_ALLOWED)

    async def check(self, assets: Mapping[str, str]) -> None:
        """Check all assets at once; Problem 422 names every field whose asset is not there."""
        problems = await asyncio.gather(*(self._problem(url) for url in assets.values()))
        found = [
            (problem.reason, FieldProblem(field=field, message=problem.message))
            for field, problem in zip(assets, problems, strict=True)
            if problem is not None
        ]
        if found:
            reason, first = found[0]
            raise invalid(*(problem for _, problem in found), error=f"{reason}:{first.field}")

    async def _problem(self, url: str) -> _AssetError | None:
        async with self._turns:
            try:
                async with asyncio.timeout(self._seconds):
                    await self._check_url(URL(url))
            except _AssetError as problem:
                return problem
            except TimeoutError:
                return _unreachable(f"its server did not answer within {self._seconds:g} s")
            except aiohttp.ClientConnectorError as error:
                if isinstance(error.os_error, AddressNotAllowedError):
                    return _AssetError(
                        Reason.ASSET_URL_NOT_ALLOWED,
                        f"{error.os_error}; use a public address, or ask the operator to allow its "
                        "network",
                    )
                return _unreachable(f"cannot be reached: {error.os_error}")
            except (aiohttp.ClientError, OSError, ValueError) as error:
                return _unreachable(f"cannot be reached: {type(error).__name__}")
        return None

    async def _check_url(self, url: URL) -> None:
        status = await self._status("HEAD", url, {})
        if status in _NO_HEAD:
            status = await self._status("GET", url, {"Range": "bytes=0-0"})
        _check_status(status)

    async def _status(self, method: str, url: URL, headers: dict[str, str]) -> int:
        async with self._session.request(
            method, url, headers=headers, allow_redirects=False
        ) as response:
            return response.status


def _check_status(status: int) -> None:
    """Raise _AssetError unless *status* says that the asset is there."""
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise _unreachable(
            f"its server redirects ({status}), and the gateway does not follow redirects: give "
            "the final URL"
        )
    if 400 <= status < 500 and status not in _PASSING:
        message = (
            f"does not exist: its server responded with {status}; upload the file, then send the "
            "request again"
        )
        raise _AssetError(Reason.ASSET_MISSING, message)
    raise _unreachable(f"its server responded with {status}")


def _unreachable(message: str) -> _AssetError:
    if "redirects" not in message:
        message += "; allow the gateway to read the file, then send the request again"
    return _AssetError(Reason.ASSET_UNREACHABLE, message)
