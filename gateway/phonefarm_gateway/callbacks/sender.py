"""Makes one attempt at one delivery: checks the address, sends the event, reads the answer."""

import asyncio
import io
import math
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Final, Self

import aiohttp
from phonefarm.schemas.callback_event import ProcessUpdated
from phonefarm_common.address_policy import AddressPolicy, check_url
from phonefarm_common.clock import Clock
from phonefarm_common.config import ConfigError
from phonefarm_common.outbound_http import AddressNotAllowedError, Lookup, outbound_session
from phonefarm_common.reasons import FarmError
from phonefarm_common.trace_context import TRACEPARENT
from phonefarm_common.tracing import OpenSpan, SpanKind, Tracer
from phonefarm_common.wire_enums import DeliveryOutcome
from yarl import URL

from phonefarm_gateway.callbacks.signer import Signer
from phonefarm_gateway.delivery import Attempt, Delivery
from phonefarm_gateway.strict_json import dump

MOST_ANSWER_BYTES: Final = 20 * 1024
MOST_RETRY_AFTER_SECONDS: Final = 24 * 3600.0
_SHOWN_CHARACTERS: Final = 200
_EXPLANATION_SECONDS: Final = 1.0
_HEADERS: Final = {"Content-Type": "application/json", "User-Agent": "phonefarm-callback/1.0"}


def _as_written(url: str) -> URL:
    """Return *url* so that it is requested unchanged: a signature may cover its escapes.

    By default yarl decodes `%2F` and resolves `..`; with `encoded` it changes nothing. A URL with
    letters of other alphabets still needs the default.
    """
    return URL(url, encoded=url.isascii())


def event_body(delivery: Delivery) -> bytes:
    """Return the body of *delivery*: the same bytes on every attempt."""
    if delivery.record is None:
        return delivery.event_json.encode()
    event = ProcessUpdated(
        milestone=delivery.milestone,
        emitted_at=delivery.emitted_at,
        sequence=delivery.sequence,
        process=delivery.record,
    )
    return dump(event.rendered()).encode()


def tls_context(authorities: Path | None) -> ssl.SSLContext:
    """Return the TLS context for receivers: the system's authorities and those in the file.

    ConfigError when the file is unusable. OpenSSL reads SSL_CERT_FILE and SSL_CERT_DIR.
    """
    context = ssl.create_default_context()
    if authorities is not None:
        try:
            context.load_verify_locations(authorities)
        except OSError as error:  # SSLError is one
            message = f"--callback-ca: cannot use {authorities}: {error.strerror or error}"
            raise ConfigError(message) from error
    return context


class Sender:
    """Sends to allowed addresses: no redirects, proxies or cookies, a new connection each time."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        policy: AddressPolicy,
        signer: Signer | None,
        tls: ssl.SSLContext,
        clock: Clock,
        lookup_seconds: float,
        attempt_seconds: float,
        tracer: Tracer,
    ) -> None:
        self._session = session
        self._policy = policy
        self._signer = signer
        self._tls = tls
        self._clock = clock
        self._lookup_seconds = lookup_seconds
        self._attempt_seconds = attempt_seconds
        self._tracer = tracer

    @classmethod
    @asynccontextmanager
    async def opened(
        cls,
        *,
        policy: AddressPolicy,
        signer: Signer | None,
        tls: ssl.SSLContext,
        lookup: Lookup,
        clock: Clock,
        lookup_seconds: float,
        attempt_seconds: float,
        tracer: Tracer,
    ) -> AsyncIterator[Self]:
        """Yield a sender whose attempts take at most so many seconds each.

        That is *lookup_seconds* for the lookup of the receiver's name, then *attempt_seconds*.
        """
        async with outbound_session(
            policy=policy, lookup=lookup, headers=_HEADERS, traces=[_lookup_trace()]
        ) as session:
            yield cls(
                session,
                policy=policy,
                signer=signer,
                tls=tls,
                clock=clock,
                lookup_seconds=lookup_seconds,
                attempt_seconds=attempt_seconds,
                tracer=tracer,
            )

    async def send(self, delivery: Delivery) -> Attempt:
        """Make one attempt and return its outcome; raises nothing."""
        if delivery.trace is None:
            return await self._send(delivery, {})
        span = self._tracer.begin(
            f"callback {delivery.milestone}", kind=SpanKind.CLIENT, parent=delivery.trace
        )
        context = span.context or delivery.trace
        attempt = None
        try:
            attempt = await self._send(delivery, {TRACEPARENT: context.traceparent})
        finally:
            _end(span, delivery, attempt)
        return attempt

    async def _send(self, delivery: Delivery, headers: dict[str, str]) -> Attempt:
        body = event_body(delivery)
        try:
            check_url(delivery.url, self._policy)
        except FarmError as refused:
            return _failed(f"address_not_allowed: {refused.message}")
        if self._signer is not None:
            epoch_seconds = int(self._clock.now().timestamp())
            headers |= self._signer.headers(
                body, delivery_id=delivery.delivery_id, epoch_seconds=epoch_seconds
            )
        url = _as_written(delivery.url)
        limit = asyncio.timeout(self._attempt_seconds)
        timing = _Timing(limit, lookup=self._lookup_seconds, rest=self._attempt_seconds)
        try:
            async with limit:
                return await self._post(url, body, headers, timing)
        except TimeoutError:
            if timing.is_looking_up:
                seconds = f"{self._lookup_seconds:g} s"
                return _failed(f"the name {url.host} could not be looked up within {seconds}")
            return _failed(f"no response within {self._attempt_seconds:g} s")
        except aiohttp.ClientConnectorCertificateError as error:
            return _failed(f"the receiver's certificate is not trusted: {error.certificate_error}")
        except aiohttp.ClientSSLError as error:
            return _failed(f"the TLS connection failed: {error.os_error}")
        except aiohttp.ClientConnectorDNSError as error:
            if _is_forbidden(error.os_error):
                return _failed(f"address_not_allowed: {error.os_error}")
            why = error.os_error.strerror or error.os_error
            return _failed(f"the name {url.host} could not be looked up: {why}")
        except aiohttp.ClientConnectorError as error:
            if _is_forbidden(error.os_error):
                return _failed(f"address_not_allowed: {error.os_error}")
            why = error.os_error.strerror or str(error.os_error) or type(error.os_error).__name__
            return _failed(f"cannot connect: {why}")
        except aiohttp.ClientResponseError as error:
            return _failed(f"the response is not HTTP: {error.message}")
        except aiohttp.ServerDisconnectedError:
            return _failed("the receiver closed the connection before the end of its response")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _failed(f"{type(error).__name__}: {error}")

    async def _post(
        self, url: URL, body: bytes, headers: dict[str, str], timing: "_Timing"
    ) -> Attempt:
        async with self._session.post(
            url,
            data=io.BytesIO(body),
            headers=headers,
            allow_redirects=False,
            ssl=self._tls,
            trace_request_ctx=timing,
        ) as response:
            status = response.status
            if 200 <= status < 300:
                return Attempt(outcome=DeliveryOutcome.DELIVERED, http_status=status)
            return Attempt(
                outcome=DeliveryOutcome.GONE if status == 410 else DeliveryOutcome.FAILED,
                http_status=status,
                error=await _explanation(response),
                retry_after_seconds=retry_after(
                    response.headers.get("Retry-After"), now=self._clock.now()
                ),
            )


class _Timing:
    """Limits the lookup of a name, and then the rest of the attempt, by separate times."""

    def __init__(self, limit: asyncio.Timeout, *, lookup: float, rest: float) -> None:
        self._limit = limit
        self._lookup = lookup
        self._rest = rest
        self.is_looking_up = False

    def begin_lookup(self) -> None:
        """Start the time for the lookup."""
        self.is_looking_up = True
        self._expire_in(self._lookup)

    def end_lookup(self) -> None:
        """Start the time for the rest."""
        self.is_looking_up = False
        self._expire_in(self._rest)

    def _expire_in(self, seconds: float) -> None:
        with suppress(RuntimeError):  # the attempt has ended, and aiohttp lets its lookup go on
            self._limit.reschedule(asyncio.get_running_loop().time() + seconds)


def _lookup_trace() -> aiohttp.TraceConfig:
    """Return what tells each request's `_Timing` of the lookup of its name."""
    trace = aiohttp.TraceConfig()

    async def begin(_session: object, context: SimpleNamespace, _host: object) -> None:
        context.trace_request_ctx.begin_lookup()

    async def end(_session: object, context: SimpleNamespace, _host: object) -> None:
        context.trace_request_ctx.end_lookup()

    trace.on_dns_resolvehost_start.append(begin)
    trace.on_dns_resolvehost_end.append(end)
    return trace


def _end(span: OpenSpan, delivery: Delivery, attempt: Attempt | None) -> None:
    told: dict[str, str | int] = {
        "http.request.method": "POST",
        "phonefarm.process_id": delivery.process_id,
        "phonefarm.delivery_id": delivery.delivery_id,
        "phonefarm.sequence": delivery.sequence,
        "phonefarm.attempt": delivery.attempt,
    }
    with suppress(ValueError):  # no URL; the attempt says so
        told["server.address"] = _as_written(delivery.url).host or ""
    if attempt is None:  # the gateway stopped
        span.end(told, error="cancelled")
        return
    if attempt.http_status:
        told["http.response.status_code"] = attempt.http_status
    delivered = attempt.outcome is DeliveryOutcome.DELIVERED
    span.end(told, error=None if delivered else attempt.error)


def _is_forbidden(error: BaseException | None) -> bool:
    return isinstance(error, AddressNotAllowedError)


async def _explanation(response: aiohttp.ClientResponse) -> str:
    """Return the status and the first characters of the answer; read at most MOST_ANSWER_BYTES."""
    said = bytearray()
    # The status is known; the text is only for the log, so it may fail and must not take long.
    with suppress(aiohttp.ClientError, OSError):
        async with asyncio.timeout(_EXPLANATION_SECONDS):
            while len(said) < MOST_ANSWER_BYTES:
                chunk = await response.content.read(MOST_ANSWER_BYTES - len(said))
                if not chunk:
                    break
                said += chunk
    text = said.decode("utf-8", "replace")
    plain = "".join(char if char.isprintable() else " " for char in text)
    shown = " ".join(plain.split())[:_SHOWN_CHARACTERS]
    return f"HTTP {response.status}: {shown}" if shown else f"HTTP {response.status}"


def retry_after(value: str | None, *, now: datetime) -> float:
    """Return the seconds that a Retry-After header asks for: at most a day, 0 for none."""
    if value is None:
        return 0
    try:
        seconds = float(value) if value.strip().isascii() else math.nan
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, TypeError, OverflowError):
            return 0
        seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds()
    return min(max(seconds, 0.0), MOST_RETRY_AFTER_SECONDS) if math.isfinite(seconds) else 0


def _failed(error: str) -> Attempt:
    return Attempt(outcome=DeliveryOutcome.FAILED, error=" ".join(error.split()))
