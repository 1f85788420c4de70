"""Writes a run's log and its phone's logcat, with the actions marked in both."""

import asyncio
import re
import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import structlog
from phonefarm_common.clock import Clock

from phonefarm_agent.model.phone import PhoneFailedError, PhoneNotFitError
from phonefarm_agent.runs.bounded_log import BoundedLog

log = structlog.get_logger()

LOGCAT = "logcat.txt"
RUN_LOG = "run.log"
KIB = 1024
LINE_BYTES = 16 * KIB
"""Longer lines of a phone's log are split."""
RETRY_SECONDS = 1.0

_STAMP = re.compile(rb"^(\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) ", re.MULTILINE)
"""The beginning of each line of `logcat -v threadtime`."""

Source = Callable[[str], AsyncGenerator[bytes, None]]
"""Returns the phone's log after the given stamp; if the stamp is empty, from now on."""


@dataclass(frozen=True, kw_only=True)
class LogFile:
    """One log file of a run; `missing` says why it has no data."""

    name: str
    kind: str
    data: bytes
    truncated: bool
    missing: str


class RunLog:
    """The logs of one run on the disk; the agent's next process continues them."""

    def __init__(self, folder: Path, *, clock: Clock, scale: float) -> None:
        self._folder = folder
        self._clock = clock
        self._scale = scale
        self._logcat = BoundedLog(folder, LOGCAT, head=256 * KIB, part=384 * KIB)
        self._run_log = BoundedLog(folder, RUN_LOG, head=128 * KIB, part=192 * KIB)
        self._writing = asyncio.Lock()
        self._finished = False
        self._has_logcat = False
        self._logcat_error = "the phone returned no log"
        self._unwritten = ""

    async def write(self, text: str) -> None:
        """Add a line to the run's log."""
        await self._write((self._run_log, self._line(text)))

    async def mark(self, text: str) -> None:
        """Add a line to both logs, to mark where an action begins or ends."""
        marker = b"--------- phonefarm " + self._line(text)
        await self._write((self._run_log, self._line(text)), (self._logcat, marker))

    async def follow(self, source: Source) -> None:
        """Write the phone's logcat until cancelled, with a line at each gap."""
        stamp, seen = await self._last_lines()
        cut = False
        while not self._finished:
            try:
                async with aclosing(_lines(source(stamp))) as lines:
                    async for line in lines:
                        found = _STAMP.match(line)
                        if found is None or line in seen:
                            continue
                        if found[1].decode() != stamp:
                            stamp, seen = found[1].decode(), set()
                        seen.add(line)
                        if cut:
                            await self._mark_gap("the phone's log continues")
                            cut = False
                        self._has_logcat = True
                        await self._write((self._logcat, line))
                self._logcat_error = "the phone's log ended"
            except (PhoneFailedError, PhoneNotFitError) as error:
                self._logcat_error = str(error)
            if not cut and self._has_logcat:
                await self._mark_gap(
                    f"the connection for the phone's log was lost: {self._logcat_error}"
                )
            cut = True
            await asyncio.sleep(RETRY_SECONDS * self._scale)

    async def finish(self) -> list[LogFile]:
        """Return the log files; later writes are ignored."""
        async with self._writing:
            self._finished = True
            return await asyncio.to_thread(self._files)

    async def discard(self) -> None:
        """Remove it from the disk."""
        async with self._writing:
            self._finished = True
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def _files(self) -> list[LogFile]:
        files = []
        for name, kind, bounded_log in (
            (RUN_LOG, "log", self._run_log),
            (LOGCAT, "logcat", self._logcat),
        ):
            try:
                content = bounded_log.read()
            except OSError as error:
                self._unwritten = f"the log cannot be read: {error.strerror}"
                files.append(_missing_file(name, kind, missing=self._unwritten))
                continue
            # Markers alone are no log of a phone.
            if content.data and (kind == "log" or _STAMP.search(content.data)):
                cut = bool(content.left_out or self._unwritten)
                file = LogFile(name=name, kind=kind, data=content.data, truncated=cut, missing="")
                files.append(file)
            else:
                files.append(
                    _missing_file(name, kind, missing=self._unwritten or self._logcat_error)
                )
        return files

    async def _last_lines(self) -> tuple[str, set[bytes]]:
        """Return the last timestamp in the file, and the lines with that timestamp."""
        try:
            tail = await asyncio.to_thread(self._logcat.tail, 64 * KIB)
        except OSError:
            return "", set()
        lines = [line for line in tail.splitlines(keepends=True) if _STAMP.match(line)]
        if not lines:
            return "", set()
        self._has_logcat = True
        last = lines[-1][:18]
        return last.decode(), {line for line in lines if line.startswith(last)}

    async def _mark_gap(self, text: str) -> None:
        await self._write((self._logcat, b"--------- phonefarm " + self._line(text)))

    async def _write(self, *writes: tuple[BoundedLog, bytes]) -> None:
        async with self._writing:
            if self._finished:
                return
            try:
                await asyncio.to_thread(_write_each, writes)
            except OSError as error:
                if not self._unwritten:
                    log.warning("run_log.not_written", error=str(error))
                self._unwritten = f"the log cannot be written: {error.strerror}"

    def _line(self, text: str) -> bytes:
        return f"{self._clock.now().isoformat(timespec='milliseconds')} {text}\n".encode(
            "utf-8", "replace"
        )


def _missing_file(name: str, kind: str, *, missing: str) -> LogFile:
    return LogFile(name=name, kind=kind, data=b"", truncated=False, missing=missing)


def _write_each(writes: tuple[tuple[BoundedLog, bytes], ...]) -> None:
    for bounded_log, data in writes:
        bounded_log.write(data)


async def _lines(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield complete lines with their ends; the stream's last, incomplete line is dropped."""
    rest = b""
    async with aclosing(chunks):
        async for chunk in chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line[:LINE_BYTES] + b"\n"
            rest = rest[:LINE_BYTES]
