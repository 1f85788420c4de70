"""Endpoints of evidence: list a process's files, read one."""

import re
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web
from phonefarm.schemas import responses
from phonefarm.schemas.queries import NoQuery
from phonefarm_common.evidence_kinds import MEDIA_TYPES

from phonefarm_gateway.rest.endpoint import Call, Endpoint, Link, NoBody, ResponseSpec, reply

_OTHER: Final = "application/octet-stream"
_NOT_PLAIN: Final = re.compile(r"[^A-Za-z0-9._-]")


async def list_evidence(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return the evidence of a process."""
    return reply(await call.controller.inspection.evidence(call.key, call.process_id))


async def get_evidence(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Stream one file; a caller who reads slowly slows the controller's stream, not memory."""
    async with call.controller.inspection.evidence_file(
        call.key, call.process_id, call.path["evidence_id"]
    ) as file:
        response = web.StreamResponse(headers=_headers(file.line))
        response.content_length = file.line.bytes
        await response.prepare(call.request)
        if call.request.method != hdrs.METH_HEAD:
            sent = 0
            async for part in file.parts:
                sent += len(part)
                if sent > file.line.bytes:
                    break
                await response.write(part)
            if sent != file.line.bytes:
                # Too late for a problem document: a broken connection shows that bytes are missing.
                call.request.protocol.force_close()
                raise ConnectionError(
                    "the length of the evidence differs from the length in its description"
                )
        await response.write_eof()
    return response


def _headers(line: responses.Evidence) -> dict[str, str]:
    name = _NOT_PLAIN.sub("_", line.name) or "evidence"
    shown = "inline" if line.kind == "screenshot" else "attachment"
    return {
        hdrs.CONTENT_TYPE: MEDIA_TYPES.get(line.kind, _OTHER),
        hdrs.CONTENT_DISPOSITION: f'{shown}; filename="{name}"',
        hdrs.ETAG: f'"{line.sha256}"',
        # The bytes come from what an app shows: no browser may take them for a page of ours.
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/processes/{process_id}/evidence",
        name="listEvidence",
        tag="Processes",
        summary="List the screenshots, screen dumps and logs of a process",
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The files, each with its `url`.",
                models=(responses.EvidenceList,),
                links=(
                    Link(
                        operation_id="getEvidence",
                        parameters={
                            "process_id": "$response.body#/process_id",
                            "evidence_id": "$response.body#/evidence/0/evidence_id",
                        },
                    ),
                ),
            )
        },
        handler=list_evidence,
    ),
    Endpoint(
        method="GET",
        path="/processes/{process_id}/evidence/{evidence_id}",
        name="getEvidence",
        tag="Processes",
        summary="Read one evidence file",
        about="HEAD returns the length and the type of the file.",
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The bytes of the file.",
                media_types=(
                    *dict.fromkeys(kind.partition(";")[0] for kind in MEDIA_TYPES.values()),
                    _OTHER,
                ),
                headers={
                    "Content-Length": "Size of the file in bytes",
                    "Content-Disposition": "Name of the file",
                    "ETag": "Its SHA-256",
                },
            )
        },
        handler=get_evidence,
    ),
)
