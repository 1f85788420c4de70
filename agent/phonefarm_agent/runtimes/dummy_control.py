"""The executor's end of the control socket (docs/seams.md), for the dummy runtime."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

_LINE_BYTES = 1024 * 1024
_RETRY_SECONDS = 0.05


class ControlConnection:
    """Stays connected to the control socket, and sets an event for each order."""

    def __init__(self, path: Path, *, run_id: str) -> None:
        self.going = asyncio.Event()
        self.stopping = asyncio.Event()
        self._path = path
        self._run_id = run_id
        self._ready = False
        self._acknowledged = 0
        self._wanted: dict[int, asyncio.Event] = {}
        self._writer: asyncio.StreamWriter | None = None

    def acknowledged(self, sequence: int) -> asyncio.Event:
        """Return an event that is set once *sequence* is acknowledged."""
        event = self._wanted.setdefault(sequence, asyncio.Event())
        self._settle()
        return event

    def say_ready(self) -> None:
        """Send `ready`, now and after each reconnect until go."""
        self._ready = True
        self.send(type="ready")

    def send(self, **frame: Any) -> None:
        """Send one frame; it is lost when nobody listens."""
        if self._writer is not None:
            self._writer.write(json.dumps(frame).encode() + b"\n")

    async def keep(self) -> None:
        """Stay connected until cancelled."""
        while True:
            with suppress(
                OSError, ValueError, KeyError, TypeError
            ):  # away, or no frame: connect again
                await self._converse()
            await asyncio.sleep(_RETRY_SECONDS)

    async def _converse(self) -> None:
        reader, writer = await asyncio.open_unix_connection(self._path, limit=_LINE_BYTES)
        self._writer = writer
        try:
            self.send(type="hello", run_id=self._run_id)
            if self._ready and not self.going.is_set():
                self.send(type="ready")
            while line := await reader.readline():
                self._take(dict(json.loads(line)))
        finally:
            self._writer = None
            writer.close()

    def _take(self, frame: dict[str, Any]) -> None:
        match frame.get("type"):
            case "go":
                self.going.set()
            case "stop":
                self.stopping.set()
            case "ack":
                self._acknowledged = max(self._acknowledged, int(frame["sequence"]))
                self._settle()
            case _:
                pass  # a newer agent may say more

    def _settle(self) -> None:
        for sequence, event in self._wanted.items():
            if sequence <= self._acknowledged:
                event.set()
