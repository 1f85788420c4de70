"""Lets a run call the UI server: each call is read, checked, and sent as a new request.

No byte of the run reaches the phone as it was sent. One call is under way at a time.
"""

import h11

from phonefarm_agent.phones.proxy.allowlist import RequestRefusedError
from phonefarm_agent.phones.proxy.stream import AdbProtocolError, GatedSocket
from phonefarm_agent.phones.proxy.ui_calls import rewritten
from phonefarm_agent.phones.ui_http import UiHttpError, read_answer, request_bytes

SERVICE = "tcp:9008"
"""The run's name for its UI server: the port that uiautomator2 uses, whatever the real port is."""
HEAD_LIMIT = 2 * 1024
BODY_LIMIT = 128 * 1024
PATH = "/jsonrpc/0"


async def serve_ui_calls(client: GatedSocket, upstream: GatedSocket, package: str) -> None:
    """Pass calls on and answers back until either side hangs up.

    Raises RequestRefusedError after it told the client, AdbProtocolError for an answer that is no
    HTTP.
    """
    run = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
    phone = h11.Connection(h11.CLIENT)
    while True:
        try:
            body = await _next_call(run, client)
            if body is None:
                return
            call = rewritten(body, package)
        except RequestRefusedError as error:
            await client.send(_response(run, 403, str(error).encode()))
            raise
        await upstream.send(request_bytes(phone, "POST", PATH, call))
        try:
            answer = await read_answer(phone, upstream.receive)
        except UiHttpError as error:
            raise AdbProtocolError(str(error)) from error
        await client.send(_response(run, answer.status, answer.body))
        for connection in (run, phone):
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()


def _response(connection: h11.Connection, status: int, body: bytes) -> bytes:
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    head = connection.send(h11.Response(status_code=status, headers=headers)) or b""
    content = connection.send(h11.Data(data=body)) or b""
    connection.send(h11.EndOfMessage())
    return head + content


async def _next_call(connection: h11.Connection, client: GatedSocket) -> bytes | None:
    """Return the body of the next request; None when the run hung up; RequestRefusedError."""
    body = bytearray()
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            raise RequestRefusedError(f"UI server: this is not an HTTP request: {error}") from error
        if event is h11.NEED_DATA:
            connection.receive_data(await client.receive())
        elif isinstance(event, h11.Request):
            if (event.method, event.target) != (b"POST", PATH.encode()):
                where = event.target[:100].decode("ascii", "replace")
                raise RequestRefusedError(f"UI server: only POST {PATH} is allowed, not {where}")
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > BODY_LIMIT:
                raise RequestRefusedError(f"UI server: the call has more than {BODY_LIMIT} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return bytes(body)
        else:
            return None
