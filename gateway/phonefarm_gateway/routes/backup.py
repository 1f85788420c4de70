"""The endpoint of the backup: a copy of the controller's database."""

import base64
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web
from phonefarm.schemas import examples
from phonefarm.schemas.farm_requests import Because
from phonefarm.schemas.queries import NoQuery

from phonefarm_gateway.rest.endpoint import Call, Endpoint, ResponseSpec

_SQLITE: Final = "application/vnd.sqlite3"
_DIGEST: Final = "Repr-Digest"


async def back_up(call: Call[NoQuery, Because]) -> web.StreamResponse:
    """Stream the copy; a caller who reads slowly slows the controller's stream, not memory."""
    async with call.controller.operator.backup(call.key, call.body.reason) as copy:
        digest = base64.b64encode(bytes.fromhex(copy.sha256)).decode()
        response = web.StreamResponse(
            headers={
                hdrs.CONTENT_TYPE: _SQLITE,
                hdrs.CONTENT_DISPOSITION: (
                    f'attachment; filename="farm-{copy.taken_at:%Y%m%dT%H%M%SZ}.db"'
                ),
                hdrs.CACHE_CONTROL: "no-store",
                _DIGEST: f"sha-256=:{digest}:",
                "X-Content-Type-Options": "nosniff",
            }
        )
        response.content_length = copy.size
        await response.prepare(call.request)
        sent = 0
        async for part in copy.parts:
            sent += len(part)
            if sent > copy.size:
                break
            await response.write(part)
        if sent != copy.size:
            # Too late for a problem document: a broken connection shows that bytes are missing.
            call.request.protocol.force_close()
            raise ConnectionError("the length of the backup differs from that in its head")
        await response.write_eof()
    return response


ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path="/backup",
        name="backUp",
        tag="Operation",
        summary="Copy the controller's SQLite database, and download the copy",
        about=(
            "The copy is consistent, and the farm continues to work during the copy. A farm that "
            "is restored from the copy starts with all work paused. docs/operating.md explains "
            "what else a complete backup needs, and how to restore it. If the controller's disk "
            "has no room for the copy, the gateway returns 503 `storage_full`."
        ),
        scope="admin",
        query=NoQuery,
        body=Because,
        example=examples.BECAUSE,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The database file.",
                media_types=(_SQLITE,),
                headers={
                    "Content-Length": "Size of the file in bytes",
                    "Content-Disposition": "A name for the file, with the time of the copy in UTC",
                    _DIGEST: "Its SHA-256 (RFC 9530)",
                },
            )
        },
        problems={
            HTTPStatus.CONFLICT: (
                "`state_conflict:postgresql`: use pg_dump; `state_conflict:backup_running`: "
                "another backup is running"
            ),
        },
        handler=back_up,
    ),
)
