"""HTTP with a UI server: builds requests as bytes, and reads whole responses."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import h11

ANSWER_LIMIT = 8 * 1024 * 1024


class UiHttpError(Exception):
    """The response is not HTTP, is too long or is cut off; the text says which."""


@dataclass(frozen=True, kw_only=True)
class HttpAnswer:
    """A whole answer."""

    status: int
    body: bytes


def request_bytes(connection: h11.Connection, method: str, target: str, body: bytes) -> bytes:
    """Return the request to send."""
    headers = [("Host", "localhost"), ("Content-Length", str(len(body)))]
    if body:
        headers.append(("Content-Type", "application/json"))
    head = connection.send(h11.Request(method=method, target=target, headers=headers)) or b""
    content = connection.send(h11.Data(data=body)) or b""
    connection.send(h11.EndOfMessage())
    return head + content


async def read_answer(
    connection: h11.Connection, receive: Callable[[], Awaitable[bytes]]
) -> HttpAnswer:
    """Return the answer; raises UiHttpError and what *receive* raises."""
    status = 0
    body = bytearray()
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            raise UiHttpError(f"the UI server's response is not HTTP: {error}") from error
        if event is h11.NEED_DATA:
            connection.receive_data(await receive())
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > ANSWER_LIMIT:
                raise UiHttpError(f"the UI server's response has more than {ANSWER_LIMIT} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return HttpAnswer(status=status, body=bytes(body))
        else:
            raise UiHttpError("the UI server closed the connection")
