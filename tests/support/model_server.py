"""A server that speaks OpenAI's chat completions, well or badly, for the judge."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


def completion(content: str) -> dict[str, Any]:
    """Return the body of a chat completion with this content."""
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "c", "object": "chat.completion", "model": "m", "choices": [choice]}


def verdict(word: str, score: object = 0.5) -> str:
    """Return what a well-behaved model says."""
    return json.dumps({"verdict": word, "score": score, "why": "because"})


@dataclass(kw_only=True)
class ModelServer:
    """Answers every question with `content`, or as `how` says; keeps what it was asked."""

    url: str = ""
    how: str = "well"
    content: str = verdict("watch")
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    room: int = 1
    full: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once so many questions as there is `room` for were under way together."""
    open: asyncio.Event = field(default_factory=asyncio.Event)
    """Set: answers are given. A test closes it to have questions wait."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one POST /v1/chat/completions."""
        self.keys.append(request.headers.get("Authorization", ""))
        self.asked.append(await request.json())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        if self.at_once >= self.room:
            self.full.set()
        try:
            await self.open.wait()
            return await self._said(request)
        finally:
            self.at_once -= 1

    async def _said(self, request: web.Request) -> web.StreamResponse:
        match self.how:
            case "500":
                return web.Response(status=500, text="no projector")
            case "garbage":
                return web.Response(body=b"\x00\xff not json", content_type="application/json")
            case "redirect":
                raise web.HTTPFound(self.url)
            case "zipped":
                response = web.json_response(completion(self.content))
                response.enable_compression(web.ContentCoding.gzip)
                response.headers["Content-Encoding"] = "gzip"
                return response
            case "huge":
                stream = web.StreamResponse()
                await stream.prepare(request)
                while True:
                    await stream.write(b" " * 65536)
            case "never":
                await asyncio.Event().wait()
            case "hangs_up":
                if request.transport is not None:
                    request.transport.abort()
            case _:
                pass
        return web.json_response(completion(self.content))


@asynccontextmanager
async def model_server() -> AsyncIterator[ModelServer]:
    """Yield a server on a free port of the loopback."""
    server = ModelServer()
    server.open.set()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield server
    finally:
        await runner.cleanup()
