"""Downloads one URL into a partial file: conditional, resumable, within limits."""

import asyncio
import errno
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
import structlog
from phonefarm_common.address_policy import AddressPolicy, check_url
from phonefarm_common.backoff import backoff
from phonefarm_common.outbound_http import AddressNotAllowedError
from phonefarm_common.reasons import FailureCode, FarmError, Reason

from phonefarm_agent.assets.partial_file import PartialFile, Validators, on_disk
from phonefarm_agent.assets.types import (
    SNIFFED_BYTES,
    AssetFailedError,
    WantedAsset,
    check_announced,
    sniff,
)

log = structlog.get_logger()

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 30.0
"""A server that sends nothing for this long counts as gone."""
MOST_FRUITLESS = 4
"""After this many attempts in a row without a new byte, the asset is unreachable."""
BLOCK_BYTES = 256 * 1024
_RANGE = re.compile(r"bytes (\d+)-\d*/(\d+|\*)")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class _CutError(Exception):
    """An attempt to download failed; another may succeed. The text is for people."""


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A complete download."""

    validators: Validators


class Download:
    """Downloads one URL into its partial file, in as many attempts as it takes."""

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession,
        policy: AddressPolicy,
        wanted: WantedAsset,
        part: PartialFile,
        most_bytes: int,
        make_room: Callable[[int], Awaitable[None]],
        scale: float,
    ) -> None:
        """Use *make_room* to free space; it raises host_storage_full when it cannot."""
        self._session = session
        self._policy = policy
        self._wanted = wanted
        self._part = part
        self._most = most_bytes
        self._make_room = make_room
        self._scale = scale
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS * scale
        )

    async def run(self, known: Validators | None) -> Fetched | None:
        """Return once the file is complete, or None when *known* is still the newest.

        Raises AssetFailedError. Cancelled or cut, the part stays for the next time.
        """
        fruitless = 0
        while True:
            before = self._part.size
            try:
                return await self._attempt(known)
            except AddressNotAllowedError as error:
                raise _not_allowed(str(error)) from error
            except (_CutError, aiohttp.ClientError, TimeoutError) as error:
                if isinstance(found := _root(error), AddressNotAllowedError):
                    raise _not_allowed(str(found)) from error
                grew = self._part.size > before
                fruitless = 0 if grew else fruitless + 1
                why = str(error) or type(error).__name__
                log.info(
                    "asset.download_interrupted",
                    bytes=self._part.size,
                    error=why,
                    fruitless=fruitless,
                )
                if fruitless >= MOST_FRUITLESS:
                    raise AssetFailedError(FailureCode.ASSET_UNREACHABLE, why) from error
            except OSError as error:
                raise _storage(error) from error
            await asyncio.sleep(
                backoff(max(1, fruitless), first=0.5, factor=2, most=5) * self._scale
            )

    async def _attempt(self, known: Validators | None) -> Fetched | None:
        try:
            check_url(
                self._wanted.url, self._policy, field="url", refusal=Reason.ASSET_URL_NOT_ALLOWED
            )
        except FarmError as error:
            raise _not_allowed(error.message) from error
        headers, start = self._conditions(known)
        async with self._session.get(
            self._wanted.url, headers=headers, allow_redirects=False, timeout=self._timeout
        ) as response:
            if response.status == HTTPStatus.NOT_MODIFIED and known is not None and not start:
                return None
            return await self._take(response, start)

    def _conditions(self, known: Validators | None) -> tuple[dict[str, str], int]:
        """Return the request's headers and its offset, which is above 0 to resume a part."""
        size = self._part.size
        condition = self._part.validators().range_condition
        if size and condition:
            return {"Range": f"bytes={size}-", "If-Range": condition}, size
        headers = {}
        if known is not None and known.etag:
            headers["If-None-Match"] = known.etag
        elif known is not None and known.last_modified:
            headers["If-Modified-Since"] = known.last_modified
        return headers, 0

    async def _take(self, response: aiohttp.ClientResponse, start: int) -> Fetched:
        match response.status:
            case HTTPStatus.OK:
                start = 0
            case HTTPStatus.PARTIAL_CONTENT if start and self._goes_on(response, start):
                pass
            case HTTPStatus.PARTIAL_CONTENT | HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE if start:
                # The partial file does not fit the server's version: start again.
                await on_disk(self._part.remove)
                raise _CutError(
                    f"the server responded with {response.status} to the request for a part of "
                    "the file"
                )
            case status:
                raise _refused(status)
        check_announced(response.headers.get("Content-Type", ""), self._wanted.kind)
        length = response.content_length
        if length is not None:
            self._check_size(start + length)
            await self._make_room(length)
        validators = Validators(
            etag=response.headers.get("ETag", ""),
            last_modified=response.headers.get("Last-Modified", ""),
        )
        if start == 0:
            await on_disk(self._part.begin, validators)
        await self._append(response, start, announced=length is not None)
        return Fetched(validators=validators if start == 0 else self._part.validators())

    def _goes_on(self, response: aiohttp.ClientResponse, start: int) -> bool:
        """Tell whether the response continues the file that was begun."""
        match = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        etag = response.headers.get("ETag", "")
        return (
            match is not None
            and int(match[1]) == start
            and etag in {"", self._part.validators().etag}
        )

    async def _append(
        self, response: aiohttp.ClientResponse, start: int, *, announced: bool
    ) -> None:
        size, head = start, bytearray()
        unchecked = start < SNIFFED_BYTES
        if unchecked and start:
            head += await on_disk(self._part.path.read_bytes)
        with await on_disk(self._part.appending) as file:
            async for block in response.content.iter_chunked(BLOCK_BYTES):
                size += len(block)
                self._check_size(size)
                if unchecked:
                    head += block
                    if len(head) >= SNIFFED_BYTES:
                        sniff(bytes(head[:SNIFFED_BYTES]), self._wanted.kind)
                        unchecked = False
                if not announced:
                    await self._make_room(len(block))
                await on_disk(file.write, block)
            await on_disk(file.finish)

    def _check_size(self, size: int) -> None:
        if size > self._most:
            message = f"the file has {size} bytes or more; the limit is {self._most} bytes"
            raise AssetFailedError(FailureCode.ASSET_TOO_LARGE, message)


def _refused(status: int) -> Exception:
    """Return the error for an HTTP status that carries no file."""
    again = {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
    useless = status < HTTPStatus.MULTIPLE_CHOICES  # a part nobody asked for, no content
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in again or useless:
        return _CutError(f"the server responded with {status}")
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        message = (
            f"the server responded with {status}: the agent does not follow redirects; use the "
            "file's final URL"
        )
        return AssetFailedError(FailureCode.ASSET_MISSING, message)
    return AssetFailedError(FailureCode.ASSET_MISSING, f"the server responded with {status}")


def _not_allowed(message: str) -> AssetFailedError:
    return AssetFailedError(FailureCode.ASSET_URL_NOT_ALLOWED, message)


def _storage(error: OSError) -> AssetFailedError:
    code = FailureCode.HOST_STORAGE_FULL if error.errno in _FULL else FailureCode.ASSET_UNREACHABLE
    return AssetFailedError(
        code, f"the file cannot be stored on the host: {error.strerror or error}"
    )


def _root(error: BaseException) -> BaseException:
    """Return the first cause of an error of aiohttp."""
    while isinstance(error, aiohttp.ClientConnectorError) and error.os_error is not error:
        error = error.os_error
    return error
