"""Passes TCP bytes on; across network namespaces by Unix sockets, or by what links them.

As a program (`python -m support.relay FROM=TO ...`) it serves until it is killed. FROM and TO are
HOST:PORT or a path.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

_DIAL_SECONDS = 0.5  # a way that is cut is given up: who wants it calls again


@dataclass
class Meter:
    """Counts the bytes to a target, and cuts the connection that brings the byte `cut_at`."""

    passed: int = 0
    cut_at: int | None = None
    cut: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, size: int) -> None:
        """Count; ConnectionError where the cut is due, which is once."""
        self.passed += size
        if self.cut_at is not None and self.passed >= self.cut_at:
            self.cut_at = None
            self.cut.set()
            raise ConnectionAbortedError("cut by the test")


@asynccontextmanager
async def relay(source: str, target: str, meter: Meter | None = None) -> AsyncIterator[str]:
    """Serve at *source* what goes to *target* until the block ends; yield where (port 0: any)."""
    pairs: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pair = asyncio.create_task(_serve(reader, writer, target, meter))
        pairs.add(pair)
        pair.add_done_callback(pairs.discard)

    if "/" in source:
        server = await asyncio.start_unix_server(accept, source)
    else:
        host, _, port = source.rpartition(":")
        server = await asyncio.start_server(accept, host, int(port))
        source = f"{host}:{server.sockets[0].getsockname()[1]}"
    try:
        yield source
    finally:
        server.close()
        for pair in pairs:
            pair.cancel()
        await asyncio.gather(*pairs, return_exceptions=True)


async def _serve(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    target: str,
    meter: Meter | None,
) -> None:
    with suppress(OSError, TimeoutError):
        try:
            async with asyncio.timeout(_DIAL_SECONDS):
                there, back = await _dial(target)
            try:
                ways = [
                    asyncio.create_task(_pass_on(reader, back, meter)),
                    asyncio.create_task(_pass_on(there, writer)),
                ]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)
            finally:
                back.close()
        finally:
            writer.close()


async def _dial(target: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if "/" in target:
        return await asyncio.open_unix_connection(target)
    host, _, port = target.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, meter: Meter | None = None
) -> None:
    while chunk := await reader.read(65536):
        if meter is not None:
            meter.take(len(chunk))
        writer.write(chunk)
        await writer.drain()


async def _serve_all(pairs: Iterable[str]) -> None:
    async with AsyncExitStack() as stack:
        for pair in pairs:
            source, _, target = pair.partition("=")
            await stack.enter_async_context(relay(source, target))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve_all(sys.argv[1:]))
