"""What the client does when a gateway, a proxy or the network fails: repeats, waits, errors."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from gateway.support.receiver import Received, Receiver
from phonefarm.client import (
    AsyncPhonefarm,
    NoResponseError,
    NotConnectedError,
    Phonefarm,
    PhonefarmError,
    RateLimitedError,
    Retries,
    UnavailableError,
    UnexpectedResponseError,
)
from phonefarm.client.event_stream import EventParser

PAUSES: dict[str, Any] = {"pauses": []}
KEY = {
    "key_id": "k",
    "name": "reader",
    "scopes": ["read"],
    "created_at": None,
    "created_by": "ada",
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": None,
    "secret": "pf_x",
}
RESET = b'id: 7\nevent: farm.reset\ndata: {"reason": "connected"}\n\n'
Script = Callable[[Received], Awaitable[web.StreamResponse]]


@dataclass
class Waits:
    """Notes how long the client would wait, and does not wait."""

    seconds: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        """Note the seconds; let others run."""
        self.seconds.append(seconds)
        await asyncio.sleep(0)


@asynccontextmanager
async def scripted(*answers: Script) -> AsyncIterator[tuple[AsyncPhonefarm, Receiver, Waits]]:
    """Yield a client, and the server that gives these answers in turn, the last for ever."""
    waits, left = Waits(), list(answers)

    async def answer(received: Received) -> web.StreamResponse:
        return await (left.pop(0) if len(left) > 1 else left[0])(received)

    retries = Retries(most=3, sleep=waits.sleep, chance=lambda: 1.0)
    async with Receiver.serving() as receiver:
        receiver.answer = answer
        async with AsyncPhonefarm(receiver.url(""), key="k", retries=retries) as farm:
            yield farm, receiver, waits


def says(status: int, body: Any, **headers: str) -> Script:
    """Return an answer of JSON, a problem document from 400 on."""

    async def answer(received: Received) -> web.StreamResponse:
        kind = "application/json" if status < 400 else "application/problem+json"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(
            status=status, body=json.dumps(body).encode(), content_type=kind, headers=named
        )

    return answer


def problem(status: int, error: str, **headers: str) -> Script:
    """Return an answer that is a problem."""
    body = {"type": "urn:x", "title": "X", "status": status, "detail": "so it is"}
    return says(status, body | {"error": error, "errors": []}, **headers)


async def breaks(received: Received) -> web.StreamResponse:
    """Close the connection instead of an answer."""
    raise asyncio.CancelledError


async def page_of_a_proxy(received: Received) -> web.StreamResponse:
    """Answer as a proxy without a server behind it does."""
    return web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html")


async def test_what_passes_is_tried_again() -> None:
    """A broken connection, a proxy's 502, a 503: the fourth try has the response."""
    async with scripted(
        breaks,
        breaks,  # aiohttp itself sends a GET a second time, without a wait
        page_of_a_proxy,
        problem(503, "controller_unavailable", Retry_After="2"),
        says(200, PAUSES),
    ) as (farm, receiver, waits):
        found = await farm.operation.pauses()

    assert found.pauses == ()
    assert len(receiver.received) == 5
    assert waits.seconds == [0.5, 1.0, 2.0]


async def test_tries_end_with_the_last_error() -> None:
    """After three more tries the error is raised; it says how long the gateway asks to wait."""
    async with scripted(problem(429, "rate_limited", Retry_After="9")) as (farm, receiver, waits):
        with pytest.raises(RateLimitedError) as error:
            await farm.operation.pauses()

    assert (error.value.code, error.value.retry_after) == ("rate_limited", 9.0)
    assert waits.seconds == [9.0, 9.0, 9.0]
    assert len(receiver.received) == 4


async def test_nobody_waits_for_too_long() -> None:
    """A Retry-After beyond the client's patience is raised at once."""
    async with scripted(problem(503, "storage_full", Retry_After="61")) as (farm, _, waits):
        with pytest.raises(UnavailableError) as error:
            await farm.operation.pauses()

    assert error.value.retry_after == 61.0
    assert waits.seconds == []


@pytest.mark.parametrize("failure", [breaks, problem(503, "controller_unavailable")])
async def test_what_must_not_happen_twice_is_not_repeated(failure: Script) -> None:
    """The farm may have created the key: the client raises the error, and sends nothing again."""
    async with scripted(failure, says(200, KEY)) as (farm, receiver, _):
        with pytest.raises((NoResponseError, UnavailableError)):
            await farm.operation.create_key("reader", scopes=["read"])

    assert len(receiver.received) == 1


async def test_a_request_that_was_refused_unread_is_repeated() -> None:
    """After 429 nothing has happened, so even a key is asked for again."""
    async with scripted(problem(429, "rate_limited", Retry_After="1"), says(200, KEY)) as (
        farm,
        receiver,
        _,
    ):
        made = await farm.operation.create_key("reader", scopes=["read"])

    assert made.secret == "pf_x"
    assert len(receiver.received) == 2


async def test_an_enqueue_keeps_its_request_id_when_it_is_repeated() -> None:
    """The id that the client made is the same in both requests, so there is one process."""
    done = {"status": "accepted", "process_id": "p", "request_id": "r", "process_type": "t"}
    async with scripted(breaks, says(202, done | {"new_key": 1})) as (farm, receiver, _):
        target = {"routing": "queue"}
        await farm.processes.enqueue(
            "t",
            target=target,  # type: ignore[arg-type] # pydantic reads an object, too
            inputs={},
            callback={"url": "http://x"},  # type: ignore[arg-type]
            requested_by={"system": "s"},  # type: ignore[arg-type]
        )

    first, second = (received.event for received in receiver.received)
    assert first == second
    assert len(first["request_id"]) == 36
    assert "priority" not in first


async def test_errors_without_a_problem_document_still_say_the_status() -> None:
    """A redirect is not followed: the key would go elsewhere."""
    async with scripted(says(302, {}, Location="http://127.0.0.1:1/")) as (farm, receiver, _):
        with pytest.raises(PhonefarmError) as error:
            await farm.operation.pauses()

    assert (error.value.status, error.value.code, error.value.problem) == (302, None, None)
    assert len(receiver.received) == 1


async def test_a_response_that_is_not_understood_is_named() -> None:
    """The error says which field; the keys of a newer gateway are no error."""
    newer = {"pauses": [], "since_0_9": True}
    async with scripted(says(200, {"pauses": [{"scope": 7}]}), says(200, newer)) as (farm, _, _):
        with pytest.raises(UnexpectedResponseError, match=r"pauses\.0\.scope"):
            await farm.operation.pauses()
        assert (await farm.operation.pauses()).pauses == ()


async def test_a_gateway_that_is_away_is_no_connection() -> None:
    """Nothing listens: NotConnectedError after the tries, from the blocking client as well."""
    waits = Waits()
    retries = Retries(most=2, sleep=waits.sleep)

    def call() -> None:
        with Phonefarm("http://127.0.0.1:1", key="k", retries=retries) as farm:
            farm.phones.list()

    with pytest.raises(NotConnectedError):
        await asyncio.to_thread(call)
    assert len(waits.seconds) == 2
    assert all(0.25 <= seconds <= 1.0 for seconds in waits.seconds)


async def test_a_client_can_be_closed_while_a_thread_waits() -> None:
    """The thread gets an error."""
    asked = asyncio.Event()

    async def silent(received: Received) -> web.StreamResponse:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with Receiver.serving() as receiver:
        receiver.answer = silent
        farm = await asyncio.to_thread(Phonefarm, receiver.url(""), key="k")
        waiting = asyncio.create_task(asyncio.to_thread(farm.phones.list))
        await asked.wait()
        await asyncio.to_thread(farm.close)

        with pytest.raises(RuntimeError, match="closed during a request"):
            await waiting


async def test_a_download_that_arrives_wrong_is_an_error() -> None:
    """The file differs from its digest: nobody takes it for a backup, and it is not sent again."""

    async def wrong(received: Received) -> web.StreamResponse:
        return web.Response(body=b"half", headers={"Repr-Digest": "sha-256=:eA==:"})

    async with scripted(wrong) as (farm, receiver, _):
        with pytest.raises(UnexpectedResponseError, match="digest"):
            await farm.operation.backup(io.BytesIO(), reason="a test")

    assert len(receiver.received) == 1


def stream(*parts: bytes) -> Script:
    """Return an event stream of these parts, which then ends."""

    async def answer(received: Received) -> web.StreamResponse:
        body = b"retry: 2000\n\n" + b"".join(parts)
        return web.Response(body=body, content_type="text/event-stream")

    return answer


async def test_a_stream_goes_on_after_the_last_id() -> None:
    """Each new request has the last id, also one that came without an event; 204 is the end."""
    async with (
        scripted(
            stream(RESET),
            problem(503, "controller_unavailable"),
            stream(b"id: 8\n\n"),
            says(204, None),
        ) as (farm, receiver, _),
        aclosing(farm.operation.events()) as events,
    ):
        found = [event async for event in events]

    assert [(event.id, event.name) for event in found] == [("7", "farm.reset")]
    ids = [received.headers.get("Last-Event-ID") for received in receiver.received]
    assert ids == [None, "7", "7", "8"]


async def test_a_stream_that_never_begins_is_an_error() -> None:
    """Streams that end without an event count as failures in a row."""
    async with (
        scripted(stream()) as (farm, receiver, _),
        aclosing(farm.operation.events(after="3")) as events,
    ):
        with pytest.raises(NoResponseError, match="before its first event"):
            await anext(events)

    assert len(receiver.received) == 4


def test_events_may_come_in_any_parts() -> None:
    """Byte by byte, with CRLF, with comments, over several lines of data."""
    text = b": hello\r\n\r\nid: 1\r\nevent: a\r\ndata: x\r\ndata:y\r\n\r\ndata: z\n\n"
    parser = EventParser()

    found = [event for byte in text for event in parser.feed(bytes((byte,)))]

    assert [(event.id, event.name, event.data) for event in found] == [
        ("1", "a", b"x\ny"),
        ("1", "message", b"z"),
    ]


@pytest.mark.parametrize(
    ("url", "key", "named"),
    [("farm:8080", "k", "url"), ("ftp://farm", "k", "url"), ("http://farm", "", "key")],
)
def test_wrong_arguments_are_named(url: str, key: str, named: str) -> None:
    """A URL that is none, a key that is missing: ValueError before anything is sent."""
    with pytest.raises(ValueError, match=f"^{named} must be"):
        AsyncPhonefarm(url, key=key)
