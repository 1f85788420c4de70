"""A caller of the REST API, like any other program."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from phonefarm_cli.errors import CommandError

CALL_SECONDS = 15.0


class RestCaller:
    """Calls the REST API with one key."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    @classmethod
    @asynccontextmanager
    async def opened(cls, rest: str, key: str) -> "AsyncIterator[RestCaller]":
        """Yield a caller of the gateway at HOST:PORT."""
        async with aiohttp.ClientSession(
            f"http://{rest}",
            headers={"Authorization": f"Bearer {key}"},
            timeout=aiohttp.ClientTimeout(total=CALL_SECONDS),
        ) as session:
            yield cls(session)

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send *body*; CommandError with the problem when it is not accepted."""
        return await self._call("POST", path, json=body)

    async def process(self, process_id: str) -> dict[str, Any]:
        """Return the process record."""
        return await self._call("GET", f"/processes/{process_id}")

    async def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            async with self._session.request(method, path, **options) as response:
                answer: dict[str, Any] = await response.json(content_type=None)
                if response.status not in {200, 202}:
                    raise CommandError(f"{method} {path} was refused: {response.status} {answer}")
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise CommandError(f"{method} {path} failed: {error!r}") from error
        return answer
