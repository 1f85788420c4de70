"""The narrow door to the run's UI server: HTTP is read on one side and written anew on the other.

No byte of the run reaches the phone as it was sent. One call is under way at a time.
"""

import h11

from phonefarm_agent.phones.proxy.allowlist import RequestRefusedError
from phonefarm_agent.phones.proxy.stream import AdbProtocolError, GatedSocket
from phonefarm_agent.phones.proxy.ui_calls import rewritten

SERVICE = "tcp:9008"
"""What the run calls its UI server: the port that uiautomator2 knows, whichever it really is."""
HEAD_LIMIT = 2 * 1024
BODY_LIMIT = 128 * 1024
ANSWER_LIMIT = 8 * 1024 * 1024
_PATH = b"/jsonrpc/0"


async def serve_ui_calls(client: GatedSocket, upstream: GatedSocket, package: str) -> None:
    """Pass calls on and answers back until either side hangs up.

    Raises RequestRefusedError after it told the client, AdbProtocolError for an answer that is no
    HTTP.
    """
    asking = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
    answering = h11.Connection(h11.CLIENT)
    while True:
        try:
            found = await _next_request(asking, client)
            if found is None:
                return
            request, body = found
            forwarded = _forwarded(request, body, package)
        except RequestRefusedError as error:
            text = str(error).encode()
            head = f"HTTP/1.1 403 Forbidden\r\nContent-Length: {len(text)}\r\nConnection: close"
            await client.send(head.encode() + b"\r\n\r\n" + text)
            raise
        method, target, content = forwarded
        headers = [("Host", "localhost"), ("Content-Length", str(len(content)))]
        if content:
            headers.append(("Content-Type", "application/json"))
        sent = answering.send(h11.Request(method=method, target=target, headers=headers))
        sent = (sent or b"") + (answering.send(h11.Data(data=content)) or b"")
        answering.send(h11.EndOfMessage())
        await upstream.send(sent)
        status, kind, answer = await _next_answer(answering, upstream)
        head = (
            f"HTTP/1.1 {status} \r\nContent-Type: {kind}\r\nContent-Length: {len(answer)}\r\n\r\n"
        )
        await client.send(head.encode() + answer)
        if answering.our_state is not h11.DONE or answering.their_state is not h11.DONE:
            return
        answering.start_next_cycle()
        # What was answered was written by hand, so this side's state is told of it.
        asking.send(h11.Response(status_code=status, headers=[("Content-Length", "0")]))
        asking.send(h11.EndOfMessage())
        if asking.our_state is not h11.DONE or asking.their_state is not h11.DONE:
            return
        asking.start_next_cycle()


def _forwarded(request: h11.Request, body: bytes, package: str) -> tuple[bytes, bytes, bytes]:
    """Return method, path and body to send in place of a request; RequestRefusedError."""
    if (request.method, request.target, body) == (b"GET", b"/ping", b""):
        return b"GET", b"/ping", b""
    if (request.method, request.target) == (b"POST", _PATH):
        return b"POST", _PATH, rewritten(body, package)
    where = request.target[:100].decode("ascii", "replace")
    raise RequestRefusedError(f"UI server: only GET /ping and POST /jsonrpc/0, not {where}")


async def _next_request(
    connection: h11.Connection, client: GatedSocket
) -> tuple[h11.Request, bytes] | None:
    head: h11.Request | None = None
    body = bytearray()
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            raise RequestRefusedError(f"UI server: no HTTP request: {error}") from error
        if event is h11.NEED_DATA:
            connection.receive_data(await client.receive())
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > BODY_LIMIT:
                raise RequestRefusedError(f"UI server: a call of more than {BODY_LIMIT} bytes")
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return head, bytes(body)
        else:
            return None


async def _next_answer(connection: h11.Connection, upstream: GatedSocket) -> tuple[int, str, bytes]:
    """Return status, content type and body of the server's answer."""
    status, kind = 0, ""
    body = bytearray()
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            raise AdbProtocolError(f"the UI server answered no HTTP: {error}") from error
        if event is h11.NEED_DATA:
            connection.receive_data(await upstream.receive())
        elif isinstance(event, h11.Response):
            status = event.status_code
            kinds = [value for name, value in event.headers if name == b"content-type"]
            kind = kinds[0].decode("ascii", "replace")[:100] if kinds else "text/plain"
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > ANSWER_LIMIT:
                raise AdbProtocolError(f"the UI server answered more than {ANSWER_LIMIT} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return status, kind, bytes(body)
        else:
            raise EOFError("the UI server hung up")
