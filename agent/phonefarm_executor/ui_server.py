"""Calls the UI server of the phone (u2.jar of uiautomator2), which can read a moving screen.

The agent starts and ends it; the proxy lets a few calls through (docs/seams.md, "The UI server").
JSON-RPC 2.0 over HTTP, params by position. No call is ever repeated here: who called knows whether
that is safe.
"""

import http.client
import json
import time
from typing import Any

from phonefarm_executor.adb_link import Channel, Link, ServiceError
from phonefarm_executor.deadlines import Pace

SERVICE = "tcp:9008"
"""The proxy's name for the run's UI server, whatever its port on the phone is."""
IDLE_SECONDS = 4.0
"""An idle connection is kept this long: the server closes it after 5 s (NanoHTTPD)."""
ANSWER_LIMIT = 8 * 1024 * 1024


class UiServerError(Exception):
    """The server answered that the call failed; the text begins with a Java exception."""


class UiServerLostError(Exception):
    """The server did not answer properly; nobody knows whether the call had its effect."""


class UiServer:
    """A connection to the UI server that stays open between calls."""

    def __init__(self, link: Link, pace: Pace) -> None:
        self._link = link
        self._pace = pace
        self._channel: Channel | None = None
        self._used_at = 0.0

    def call(self, method: str, *params: Any, limit: float) -> Any:
        """Return the call's result; *limit* is in seconds.

        Raises UiServerError, UiServerLostError, FailedError `phone_lost`, LinkLostError and what
        Pace.check raises.
        """
        try:
            return self._result(self._exchange(method, params, limit))
        except (ServiceError, OSError, http.client.HTTPException, ValueError) as error:
            self.hang_up()
            what = f"UI server, {method}: {str(error) or type(error).__name__}"
            self._pace.check()
            self._link.check_phone(what)
            raise UiServerLostError(what) from error
        except BaseException:
            self.hang_up()  # an answer may still come: nothing else may be asked here
            raise

    def hang_up(self) -> None:
        """Close the connection; the next call opens another."""
        if self._channel is not None:
            self._channel.hang_up()
            self._channel = None

    def _exchange(self, method: str, params: tuple[Any, ...], limit: float) -> bytes:
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        body = json.dumps(call).encode("ascii")
        head = (
            "POST /jsonrpc/0 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        now = time.monotonic()
        if self._channel is not None and now - self._used_at > IDLE_SECONDS:
            self.hang_up()
        if self._channel is None:
            self._channel = self._link.open(SERVICE, limit=limit)
        channel = self._channel
        channel.end = now + limit
        channel.send(head.encode() + body)
        response = http.client.HTTPResponse(channel, method="POST")  # type: ignore[arg-type]
        response.begin()
        content = response.read(ANSWER_LIMIT + 1)
        if len(content) > ANSWER_LIMIT:
            raise ValueError(f"the response has more than {ANSWER_LIMIT} bytes")
        if response.status != http.HTTPStatus.OK:
            raise ValueError(f"HTTP status {response.status}: {content[:200]!r}")
        self._used_at = time.monotonic()
        if response.will_close:
            self.hang_up()
        return content

    def _result(self, content: bytes) -> Any:
        try:
            answer = json.loads(content)
        except RecursionError as error:
            raise ValueError("the response is nested too deeply") from error
        match answer:
            case {"error": {"message": str(message)}}:
                raise UiServerError(message[:500])
            case {"result": result}:
                return result
            case _:
                raise ValueError(f"the response is not JSON-RPC: {content[:200]!r}")
