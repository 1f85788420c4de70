"""A caller of a gateway, who holds every answer against what is published."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from gateway.support.published import check_published


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back from the gateway."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def fields(self) -> list[str]:
        """Return the fields a problem names."""
        return [problem["field"] for problem in self.body["errors"]]


class Caller:
    """Calls with a key, unless told otherwise."""

    def __init__(self, base: str, session: aiohttp.ClientSession, key: str) -> None:
        self.base = base
        self.key = key
        self.checks_published = True
        self._session = session

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = "",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send *body* (bytes as they are, anything else as JSON) and return the answer.

        An empty *key* is the caller's own, None is none.
        """
        sent = dict(headers or {})
        if key is not None:
            sent.setdefault("Authorization", f"Bearer {key or self.key}")
        data = body
        if body is not None and not isinstance(body, bytes):
            data = json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        url = self.base + path
        payload = None if data is None else io.BytesIO(data)
        async with self._session.request(method, url, data=payload, headers=sent) as got:
            raw = await got.read()
            parsed = json.loads(raw) if "json" in got.headers.get("Content-Type", "") else raw
            if self.checks_published:
                check_published(method, path, got.status, got.headers, parsed)
            return Answer(status=got.status, headers=got.headers, body=parsed)
