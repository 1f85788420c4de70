"""The agent's end of control.sock: JSON lines to and from one executor (docs/seams.md)."""

import asyncio
import base64
import binascii
import json
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog
from phonefarm_common.evidence_kinds import KINDS

from phonefarm_agent.judge.verdict import Verdict

log = structlog.get_logger()

LINE_BYTES = 1024 * 1024
EVIDENCE_BYTES = 700 * 1024
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_CONNECTIONS = 4
_ASSETS = 16
_UI_QUESTIONS = 1000
_TEXTS = 10
_TEXT_LETTERS = 500


@dataclass(frozen=True, kw_only=True)
class EvidenceFrame:
    """A piece of evidence that the executor sent."""

    name: str
    kind: str
    action: int
    data: bytes


class _LenientReader(asyncio.StreamReader):
    """A reader that still returns what a peer sent before it reset the connection.

    An executor that ends with an acknowledgement unread resets the connection (unix_release_sock
    of Linux), and StreamReader would raise that before it gives the lines it still has.
    """

    def set_exception(self, exc: Exception) -> None:
        """Treat a reset as the end of the data."""
        if isinstance(exc, ConnectionError):
            self.feed_eof()
        else:
            super().set_exception(exc)


class _PeerWriter:
    """Writes to one peer past the transport, which would end reading at a failed write.

    It would throw away what the peer had sent before it closed and nobody had read yet.
    """

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._socket: socket.socket = writer.get_extra_info("socket").dup()

    def say(self, data: bytes) -> None:
        """Write *data* at once; disconnect a peer that does not read."""
        try:
            said = self._socket.send(data)
        except BlockingIOError:
            said = 0
        except OSError:
            return  # It has closed: the reader comes to that end after what was sent.
        if said < len(data):
            self._writer.transport.abort()

    def close(self) -> None:
        """Close the duplicate of the socket."""
        self._socket.close()


class ControlSocket:
    """Serves one control.sock; the latest connection with a valid hello is the executor."""

    def __init__(
        self,
        *,
        path: Path,
        run_id: str,
        on_ready: Callable[[], None],
        on_line: Callable[[], None],
        on_evidence: Callable[[EvidenceFrame], Awaitable[None]],
        fetch_asset: Callable[[str], Awaitable[dict[str, object]]],
        on_ui_server: Callable[[bool], Awaitable[str]],
        judge: Callable[[int, Sequence[str]], Awaitable[Verdict]],
    ) -> None:
        """Use *fetch_asset* for assets: it returns the answer of docs/seams.md, never raises."""
        self._path = path
        self._run_id = run_id
        self._on_ready = on_ready
        self._on_line = on_line
        self._on_evidence = on_evidence
        self._fetch_asset = fetch_asset
        self._on_ui_server = on_ui_server
        self._judge = judge
        self._judging: asyncio.Task[None] | None = None
        self._ui_questions: dict[int, asyncio.Task[None]] = {}
        self._fetching: dict[str, asyncio.Task[None]] = {}
        self._server: asyncio.Server | None = None
        self._executor: _PeerWriter | None = None
        self._lines = 0
        self._connections: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._standing: dict[str, bytes] = {"hello": _line({"type": "hello", "tells_taken": True})}

    async def open(self) -> None:
        """Listen; OSError when the socket cannot be made."""
        self._path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: asyncio.StreamReaderProtocol(_LenientReader(limit=LINE_BYTES), self._serve),
            path=self._path,
        )
        # The executor is another user in its container; the directory above is closed to others.
        self._path.chmod(0o666)

    async def drain(self, *, within: float) -> None:
        """Read what an executor sent before it ended.

        Nothing new for *within* seconds ends it: something else may hold the socket.
        """
        while self._serving:
            lines = self._lines
            _, serving = await asyncio.wait(set(self._serving), timeout=within)
            if serving and self._lines == lines:
                log.warning("control_socket.not_drained", run_id=self._run_id, waited=within)
                return

    async def close(self) -> None:
        """Stop listening, disconnect, and cancel the fetches."""
        if self._server is not None:
            self._server.close()
            for writer in list(self._connections):
                writer.transport.abort()
            await self._server.wait_closed()
            self._server = None
            self._path.unlink(missing_ok=True)
        tasks = [*self._fetching.values(), *self._ui_questions.values()]
        tasks += [self._judging] if self._judging is not None else []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def go(self) -> None:
        """Tell the executor to act, also when it connects again."""
        self._say("go", {"type": "go"})

    def stop(self, reason: str) -> None:
        """Tell the executor to stop between actions, also when it connects again."""
        self._say("stop", {"type": "stop", "reason": reason})

    def acknowledge(self, sequence: int) -> None:
        """Tell the executor that the controller has every line up to *sequence*."""
        self._say("ack", {"type": "ack", "sequence": sequence})

    def _say(self, topic: str, document: dict[str, object]) -> None:
        self._standing[topic] = _line(document)
        if self._executor is not None:
            self._executor.say(self._standing[topic])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= _CONNECTIONS:
            writer.transport.abort()
            return
        self._connections.add(writer)
        task = asyncio.current_task()
        if task is not None:
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        peer = _PeerWriter(writer)
        try:
            await self._listen(reader, peer)
        except (ValueError, OSError, asyncio.IncompleteReadError) as error:
            log.warning("control_socket.failed", run_id=self._run_id, error=str(error))
        except asyncio.CancelledError:
            # The server is closing; asyncio would log this as an error of the connection.
            return
        finally:
            self._connections.discard(writer)
            if self._executor is peer:
                self._executor = None
            peer.close()
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _listen(self, reader: asyncio.StreamReader, peer: _PeerWriter) -> None:
        while line := await reader.readline():
            self._lines += 1
            document = _parse(line)
            kind = document.get("type")
            if kind == "hello":
                if document.get("run_id") != self._run_id:
                    raise ValueError("the `hello` message is for another run")
                self._executor = peer
                for data in self._standing.values():
                    peer.say(data)
            elif self._executor is not peer:
                raise ValueError("no hello")
            self._on_line()
            if kind == "ready":
                self._on_ready()
            elif kind == "evidence":
                await self._take_evidence(document)
                peer.say(_line({"type": "taken", "name": document.get("name")}))
            elif kind == "fetch":
                self._begin_fetch(document)
            elif kind == "ui_server":
                self._switch_ui_server(document)
            elif kind == "judge":
                self._begin_to_judge(document)

    def _begin_fetch(self, document: dict[str, object]) -> None:
        """Start fetching an asset, unless it was requested before."""
        name = document.get("asset")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError("the executor asked for an asset, but gave no valid name")
        if name in self._fetching:
            return
        if len(self._fetching) >= _ASSETS:
            raise ValueError("the executor asked for more assets than a run may have")
        self._fetching[name] = asyncio.create_task(self._fetch(name), name=f"fetch-{name}")

    async def _fetch(self, name: str) -> None:
        answer = await self._fetch_asset(name)
        self._say(f"asset {name}", {"type": "asset", "asset": name, **answer})

    def _switch_ui_server(self, document: dict[str, object]) -> None:
        """Have the UI server started or ended, one question after the other; the answer stands."""
        number, up = document.get("id"), document.get("up")
        if type(number) is not int or not isinstance(up, bool):
            raise ValueError(
                "the executor's question for the UI server has no number or no direction"
            )
        if number in self._ui_questions:
            return  # asked again after a reconnect: the answer is under way
        if len(self._ui_questions) >= _UI_QUESTIONS:
            raise ValueError(
                "the executor sent more questions for the UI server than a run may have"
            )
        self._ui_questions[number] = asyncio.create_task(
            self._answer_ui_server(number, up), name=f"ui-server-{number}"
        )

    async def _answer_ui_server(self, number: int, up: bool) -> None:
        refused = await self._on_ui_server(up)
        self._say("ui_server", {"type": "ui_server", "id": number, "refused": refused})

    def _begin_to_judge(self, document: dict[str, object]) -> None:
        """Judge a video; a run looks at one at a time, so a newer question ends an older one."""
        match document:
            case {"id": int(number), "action": int(action), "texts": [*texts]} if all(
                isinstance(text, str) for text in texts
            ):
                pass
            case _:
                raise ValueError("the executor sent an invalid question for the judge")
        if self._judging is not None:
            self._judging.cancel()
        asked = [str(text)[:_TEXT_LETTERS] for text in texts[:_TEXTS]]
        self._judging = asyncio.create_task(
            self._answer_judge(number, action, asked), name=f"judge-{number}"
        )

    async def _answer_judge(self, number: int, action: int, texts: Sequence[str]) -> None:
        verdict = await self._judge(action, texts)
        self._say("judge", {"type": "judged", "id": number, **verdict.as_json()})

    async def _take_evidence(self, document: dict[str, object]) -> None:
        """Pass a frame on; drop a bad one, since the executor would only send it again."""
        try:
            frame = _frame(document)
        except ValueError as error:
            log.warning("evidence.refused", run_id=self._run_id, error=str(error))
            return
        await self._on_evidence(frame)


def _line(document: dict[str, object]) -> bytes:
    return json.dumps(document).encode() + b"\n"


def _parse(line: bytes) -> dict[str, object]:
    try:
        document = json.loads(line)
    except RecursionError as error:
        raise ValueError("the line is nested too deeply") from error
    if not isinstance(document, dict):
        raise ValueError("the line is not a JSON object")  # noqa: TRY004 - the peer's fault, told like the others
    return document


def _frame(document: dict[str, object]) -> EvidenceFrame:
    name, kind, action = document.get("name"), document.get("kind"), document.get("action", -1)
    data = document.get("data")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError("the executor sent evidence whose name is not a plain file name")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"the executor sent evidence of the unknown kind {kind!r}")
    if not isinstance(action, int) or not -1 <= action < 2**31:
        raise ValueError("the executor sent evidence that belongs to no action")
    if not isinstance(data, str):
        raise ValueError("the executor sent evidence without data")  # noqa: TRY004 - the peer's fault, as above
    try:
        content = base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise ValueError(f"the executor sent evidence that is not base64: {error}") from error
    if len(content) > EVIDENCE_BYTES:
        raise ValueError("the executor sent evidence that is larger than the limit")
    return EvidenceFrame(name=name, kind=kind, action=action, data=content)
