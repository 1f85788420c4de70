"""The UI server of uiautomator2 (u2.jar): JSON-RPC over HTTP on a port of the phone.

What it answers was read in u2.jar 0.4.1 and openatx/android-uiautomator-server-jar, and in what
uiautomator2 3.7.1 asks. It reads a moving screen, since it never waits for rest; it holds the
phone's one UiAutomation, so `uiautomator dump` fails while it lives.
"""

import asyncio
import json
from typing import Any

import h11

from phonefarm_simulator.adb_stream import Stream
from phonefarm_simulator.capture import captured
from phonefarm_simulator.faults import Fault
from phonefarm_simulator.phone import Phone
from phonefarm_simulator.screenshot import jpeg_of
from phonefarm_simulator.ui_server_calls import UiCalls, UnknownMethodError
from phonefarm_simulator.ui_server_objects import RpcError

MAIN_CLASS = "com.wetest.uia2.Main"
DEFAULT_PORT = 9008
SILENCE_SECONDS = 5.0
"""NanoHTTPD's socket timeout: a connection on which nothing comes for so long is closed."""
LARGEST_BODY_BYTES = 1024 * 1024


class UiServer:
    """One running server; `serve` answers one connection, any number of them beside each other."""

    def __init__(self, phone: Phone, port: int) -> None:
        self.port = port
        self._phone = phone
        self._calls = 0
        self._ui = UiCalls(phone)
        self.died = asyncio.Event()
        """Set when the process ends by itself: `/stop`, or a fault."""

    async def serve(self, stream: Stream) -> None:
        """Answer requests until the peer leaves, is silent for 5 s, or the server dies."""
        http = h11.Connection(h11.SERVER)
        while not self.died.is_set():
            request = await self._request(http, stream)
            if request is None:
                return
            head, body = request
            answer = await self._answer(head.method.decode(), head.target.decode(), body)
            if answer is None:
                return  # it died on the way: the peer sees the connection end
            status, kind, content = answer
            reason = {200: "OK", 404: "Not Found", 500: "Internal Server Error"}[status]
            heads = (
                f"HTTP/1.1 {status} {reason} \r\nContent-Type: {kind}\r\n"
                f"Connection: keep-alive\r\nContent-Length: {len(content)}\r\n\r\n"
            )
            await stream.write(heads.encode() + content)
            http.send(
                h11.Response(status_code=status, headers=[("Content-Length", str(len(content)))])
            )
            http.send(h11.Data(data=content))
            http.send(h11.EndOfMessage())
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                return
            http.start_next_cycle()

    async def _request(
        self, http: h11.Connection, stream: Stream
    ) -> tuple[h11.Request, bytes] | None:
        head: h11.Request | None = None
        body = bytearray()
        while True:
            try:
                event = http.next_event()
            except h11.RemoteProtocolError:
                return None
            if event is h11.NEED_DATA:
                try:
                    async with asyncio.timeout(SILENCE_SECONDS):
                        http.receive_data(await stream.read())
                except TimeoutError:
                    return None
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > LARGEST_BODY_BYTES:
                    return None
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return head, bytes(body)
            else:
                return None

    async def _answer(self, method: str, target: str, body: bytes) -> tuple[int, str, bytes] | None:
        path = target.partition("?")[0]
        match method, path:
            case "GET", "/ping":
                return 200, "text/html", b"pong"
            case _, "/stop":
                self.died.set()
                return 200, "text/html", b"Server stopped"
            case "GET", "/screenshot/0":
                return (
                    200,
                    "image/jpeg",
                    await asyncio.to_thread(jpeg_of, captured(self._phone), 80),
                )
            case "POST", "/jsonrpc/0":
                return await self._call(body)
            case _:
                return 404, "text/html", b"Error 404, file not found."

    async def _call(self, body: bytes) -> tuple[int, str, bytes] | None:
        self._calls += 1
        faults = self._phone.faults
        if Fault.UI_SERVER_HTTP_500 in faults:
            return 500, "text/plain", b"SERVER INTERNAL ERROR: Serve() returned a null response."
        slow = faults.get(Fault.UI_SERVER_SLOW)
        if slow is not None:
            await asyncio.sleep(slow.milliseconds / 1000)
        await faults.ended(Fault.UI_SERVER_HANGS)
        dies = faults.get(Fault.UI_SERVER_DIES)
        dying = dies is not None and self._calls >= dies.nth
        if dying and dies is not None and not dies.after_effect:
            self._die()
            return None
        try:
            # The server reads its body as US-ASCII.
            document = json.loads(body.decode("ascii", "replace"))
            name, given = document["method"], document.get("params")
            number = document.get("id")
        except (ValueError, RecursionError, TypeError, KeyError):
            return 500, "text/plain", b"SERVER INTERNAL ERROR: java.io.IOException"
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": number}
        try:
            answer["result"] = await self._ui.perform(str(name), _positional(given))
        except RpcError as error:
            answer["error"] = {
                "code": -32001,
                "message": f"{error.kind}: {error}" if str(error) else error.kind,
                "data": f"{error.kind}: {error}\n\tat com.wetest.uia2.stub.AutomatorServiceImpl",
            }
        except (ValueError, TypeError, IndexError, KeyError) as error:
            answer["error"] = {"code": -32602, "message": f"method parameters invalid: {error}"}
        except UnknownMethodError:
            answer["error"] = {"code": -32601, "message": "method not found"}
        if dying:
            self._die()
            return None
        return 200, "application/json-rpc", json.dumps(answer, ensure_ascii=False).encode()

    def _die(self) -> None:
        self._phone.clear_fault(Fault.UI_SERVER_DIES)
        self.died.set()


def _positional(given: Any) -> list[Any]:
    """Return the params of a call: by position; `{}` and nothing stand for none."""
    if given is None or given == {}:
        return []
    if not isinstance(given, list):
        raise ValueError("params by name")  # noqa: TRY004 - the caller's fault, told as the server does
    return given
