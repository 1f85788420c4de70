"""The control socket: a thread keeps it connected, receives orders and sends evidence."""

import base64
import json
import select
import socket
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phonefarm_executor.signals import Signals

LINE_LIMIT = 1024 * 1024
EVIDENCE_LIMIT = 700 * 1024
OUTBOX_FRAMES = 16
RETRY_SECONDS = 0.2
SEND_SECONDS = 10.0


class Control:
    """Sends `hello` on every connection, `ready` until `go`; passes what it receives to Signals."""

    def __init__(self, path: Path, run_id: str, signals: Signals) -> None:
        self._path = path
        self._run_id = run_id
        self._signals = signals
        self._outbox: deque[dict[str, Any]] = deque()
        self._untaken: dict[str, dict[str, Any]] = {}
        self._agent_tells = False
        self._lock = threading.Lock()
        self._flushed = threading.Condition(self._lock)
        self._bell_in, self._bell_out = socket.socketpair()
        self._bell_in.setblocking(False)
        self._bell_out.setblocking(False)
        self._ready = False
        self._wanted: set[str] = set()
        self._ui_question: dict[str, Any] | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        self._thread.start()

    def ready(self) -> None:
        """Tell the agent that the run waits at the start gate."""
        with self._lock:
            self._ready = True
            self._outbox.append({"type": "ready"})
        self._ring()

    def ask_for(self, asset: str) -> None:
        """Have the agent fetch an asset of the plan; its answer comes to Signals."""
        with self._lock:
            self._wanted.add(asset)
            self._outbox.append({"type": "fetch", "asset": asset})
        self._ring()

    def ask_ui_server(self, number: int, *, up: bool, why: str) -> None:
        """Have the agent start or end the UI server; its answer to *number* comes to Signals."""
        with self._lock:
            self._ui_question = {"type": "ui_server", "id": number, "up": up, "why": why[:500]}
            self._outbox.append(self._ui_question)
        self._ring()

    def ask_judge(self, number: int, action: int, texts: Sequence[str]) -> None:
        """Have the agent judge a video; its verdict on *number* comes to Signals, or never."""
        with self._lock:
            question = {"type": "judge", "id": number, "action": action, "texts": list(texts)}
            self._outbox.append(question)
        self._ring()

    def send_evidence(self, name: str, kind: str, action: int, data: bytes) -> bool:
        """Queue one file for the agent; tell whether there was room and it is not too large."""
        if len(data) > EVIDENCE_LIMIT:
            return False
        frame = {
            "type": "evidence",
            "name": name,
            "kind": kind,
            "action": action,
            "data": base64.b64encode(data).decode(),
        }
        with self._lock:
            if len(self._outbox) >= OUTBOX_FRAMES:
                return False
            self._outbox.append(frame)
        self._ring()
        return True

    def close(self, seconds: float) -> None:
        """Send what is queued, waiting at most *seconds* for the agent to take it, and hang up."""
        with self._flushed:
            self._flushed.wait_for(self._all_taken, timeout=seconds)
        self._closing = True
        self._ring()
        self._thread.join(timeout=seconds)
        if not self._thread.is_alive():
            self._bell_in.close()
            self._bell_out.close()

    def _all_taken(self) -> bool:
        # An agent of release 0.1.0 does not tell.
        return not self._outbox and not (self._untaken and self._agent_tells)

    def _ring(self) -> None:
        try:
            self._bell_in.send(b"!")
        except OSError:
            return  # the bell is full of rings or gone: the thread is awake or over

    def _run(self) -> None:
        while not self._closing:
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
                    peer.settimeout(SEND_SECONDS)
                    peer.connect(str(self._path))
                    self._greet(peer)
                    self._signals.heard(connected=True)
                    self._converse(peer)
            except OSError:
                pass  # the agent is away; try again until the run ends
            self._signals.heard(connected=False)
            select.select([self._bell_out], [], [], RETRY_SECONDS)
            self._silence_bell()

    def _greet(self, peer: socket.socket) -> None:
        _send(peer, {"type": "hello", "run_id": self._run_id})
        with self._lock:
            waiting = {"type": "ready"} in self._outbox
            repeat = self._ready and not self._signals.going and not waiting
            unanswered = [name for name in self._wanted if self._signals.asset(name) is None]
            question = self._ui_question
            if question and self._signals.ui_server(question["id"]) is not None:
                question = None
            if question in self._outbox:
                question = None
            # What an agent that was killed had not taken died with it.
            self._outbox.extendleft(reversed(self._untaken.values()))
            self._untaken.clear()
        if repeat:
            _send(peer, {"type": "ready"})
        for name in unanswered:
            _send(peer, {"type": "fetch", "asset": name})
        if question:
            _send(peer, question)

    def _converse(self, peer: socket.socket) -> None:
        heard = bytearray()
        while not self._closing:
            self._flush(peer)
            readable, _, _ = select.select([peer, self._bell_out], [], [])
            if self._bell_out in readable:
                self._silence_bell()
            if peer in readable:
                data = peer.recv(65536)
                if not data:
                    return
                heard += data
                *lines, rest = heard.split(b"\n")
                for line in lines:
                    self._hear(bytes(line))
                if len(rest) > LINE_LIMIT:
                    return
                heard = bytearray(rest)

    def _flush(self, peer: socket.socket) -> None:
        while self._outbox:
            _send(peer, self._outbox[0])
            with self._flushed:
                frame = self._outbox.popleft()
                if frame["type"] == "evidence":
                    self._untaken[frame["name"]] = frame
                if len(self._untaken) > OUTBOX_FRAMES:
                    del self._untaken[next(iter(self._untaken))]
                self._flushed.notify_all()

    def _silence_bell(self) -> None:
        try:
            while self._bell_out.recv(4096):
                pass
        except BlockingIOError:
            pass

    def _hear(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            return
        match message:
            case {"type": "go"}:
                self._signals.go()
            case {"type": "stop", **rest}:
                self._signals.stop(str(rest.get("reason") or "stopped by the agent"))
            case {"type": "ack", "sequence": int(sequence)}:
                self._signals.acknowledge(sequence)
            case {"type": "asset", "asset": str(name), **rest}:
                self._signals.hear_asset(name, rest)
            case {"type": "ui_server", "id": int(number), **rest}:
                self._signals.hear_ui_server(number, str(rest.get("refused") or ""))
            case {"type": "judged", "id": int(number), **rest}:
                self._signals.hear_verdict(number, rest)
            case {"type": "hello", "tells_taken": True}:
                self._agent_tells = True
            case {"type": "taken", "name": str(name)}:
                with self._flushed:
                    self._untaken.pop(name, None)
                    self._flushed.notify_all()
            case _:
                pass  # a newer agent may say more than we know


def _send(peer: socket.socket, message: dict[str, Any]) -> None:
    peer.sendall(json.dumps(message, separators=(",", ":")).encode() + b"\n")
