"""A web server for videos that behaves as badly as a test says."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

HEAD_LIMIT = 64 * 1024


async def no_supply(name: str) -> dict[str, object]:
    """Stand in for a run's supply where nothing is fetched."""
    raise AssertionError(name)


def mp4(size: int, *, seed: int = 0) -> bytes:
    """Return bytes that begin as an MP4 does, different for each seed."""
    head = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"
    return head + random.Random(seed).randbytes(size - len(head))


@dataclass(kw_only=True)
class Page:
    """One file and how it is served."""

    content: bytes
    content_type: str = "video/mp4"
    etag: str = ""  # "" sends none
    last_modified: str = ""
    status: int = 200  # another one is answered with no content
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    cut_after: int | None = None  # hang up after so many bytes of an answer
    cuts: int = 10**9  # so many answers are cut, then none
    announce: int | None = None  # a Content-Length that is a lie
    pause: float = 0.0  # seconds between blocks
    block: int = 16 * 1024
    hold: asyncio.Event | None = None  # wait for it after the first block


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request as it came."""

    path: str
    headers: dict[str, str]


class AssetServer:
    """Pages by path; what was asked and how many bytes went out is kept."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.asked: list[Asked] = []
        self.sent = 0
        self.port = 0
        self._news = asyncio.Condition()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """Return where a page is."""
        return f"http://{host}:{self.port}{path}"

    def put(self, path: str, content: bytes, **manners: object) -> Page:
        """Serve *content*, with an ETag unless one is given; return the page to be changed."""
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        page = Page(content=content, **({"etag": etag} | manners))  # type: ignore[arg-type]
        self.pages[path] = page
        return page

    async def until_asked(self, count: int) -> None:
        """Return once so many requests came."""
        async with asyncio.timeout(180), self._news:
            await self._news.wait_for(lambda: len(self.asked) >= count)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and hang up."""
        try:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {
                name.strip().lower(): value.strip()
                for name, _, value in (line.partition(":") for line in lines[1:] if line)
            }
            method, path, _ = lines[0].split(" ")
            async with self._news:
                self.asked.append(Asked(path=path, headers=headers))
                self._news.notify_all()
            bare = method == "HEAD"
            await self._answer(self.pages.get(path), headers, writer, bare=bare)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(
        self,
        page: Page | None,
        asked: dict[str, str],
        writer: asyncio.StreamWriter,
        *,
        bare: bool,
    ) -> None:
        if page is None or page.status != 200:
            status = 404 if page is None else page.status
            writer.write(_head(status, {"Content-Length": "0"} | (page.headers if page else {})))
            await writer.drain()
            return
        headers = {"Content-Type": page.content_type} | page.headers
        headers |= {"ETag": page.etag} if page.etag else {}
        headers |= {"Last-Modified": page.last_modified} if page.last_modified else {}
        if page.etag and asked.get("if-none-match") == page.etag:
            writer.write(_head(304, headers))
            await writer.drain()
            return
        start = 0
        condition = asked.get("if-range", page.etag)
        if page.ranges and "range" in asked and condition in {page.etag, page.last_modified}:
            start = int(asked["range"].removeprefix("bytes=").partition("-")[0])
            if start >= len(page.content):
                writer.write(_head(416, {"Content-Length": "0"}))
                await writer.drain()
                return
            last = len(page.content) - 1
            headers["Content-Range"] = f"bytes {start}-{last}/{len(page.content)}"
        body = page.content[start:]
        if page.announce != 0:
            headers["Content-Length"] = str(len(body) if page.announce is None else page.announce)
        writer.write(_head(206 if start else 200, headers))
        await self._send(page, b"" if bare else body, writer)

    async def _send(self, page: Page, body: bytes, writer: asyncio.StreamWriter) -> None:
        cut = page.cut_after if page.cuts > 0 else None
        if cut is not None:
            page.cuts -= 1
            body = body[:cut]
        for place in range(0, len(body), page.block):
            block = body[place : place + page.block]
            writer.write(block)
            self.sent += len(block)
            await writer.drain()
            if page.hold is not None:
                await page.hold.wait()
            if page.pause:
                await asyncio.sleep(page.pause)


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@asynccontextmanager
async def asset_server() -> AsyncIterator[AssetServer]:
    """Serve on loopback while the block runs."""
    server = AssetServer()
    tasks: set[asyncio.Task[None]] = set()

    def admit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(server.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listener = await asyncio.start_server(admit, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
