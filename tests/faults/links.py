"""The wires between the programs, each a TCP relay that can be cut, slowed and broken off."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_CHUNK = 65536


class Link:
    """One wire to a target. While it is silent nothing passes and nobody hears of it."""

    def __init__(self, target: str) -> None:
        self.address = ""
        self.delay = 0.0
        self._target = target
        self._open = asyncio.Event()
        self._open.set()
        self._pairs: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """Pass nothing, in either direction; both ends see a peer that says nothing."""
        self._open.clear()

    def heal(self) -> None:
        """Pass what waits, and what comes."""
        self.delay = 0.0
        self._open.set()

    def break_off(self) -> None:
        """End every connection as a reset does."""
        for pair in self._pairs:
            pair.cancel()

    def admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection."""
        pair = asyncio.create_task(self._serve(reader, writer))
        self._pairs.add(pair)
        pair.add_done_callback(self._pairs.discard)

    async def end(self) -> None:
        """End every connection and return when they are gone."""
        self.break_off()
        await asyncio.gather(*self._pairs, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back: asyncio.StreamWriter | None = None
        with suppress(OSError):
            try:
                await self._open.wait()
                host, _, port = self._target.rpartition(":")
                there, back = await asyncio.open_connection(host, int(port))
                ways = [
                    asyncio.create_task(self._pass_on(reader, back)),
                    asyncio.create_task(self._pass_on(there, writer)),
                ]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)
            finally:
                # Aborted, not closed: what a dead peer had not read must not hold the relay.
                for end in (writer, back):
                    if end is not None:
                        end.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(_CHUNK):
            if self.delay:
                await asyncio.sleep(self.delay)
            await self._open.wait()
            writer.write(chunk)
            await writer.drain()


@asynccontextmanager
async def link(target: str) -> AsyncIterator[Link]:
    """Serve a wire to *target* until the block ends."""
    made = Link(target)
    server = await asyncio.start_server(made.admit, "127.0.0.1", 0)
    made.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        await made.end()
