"""Endpoints of running the farm: capabilities, pauses, verifications, doctor, audit, keys."""

from http import HTTPStatus
from typing import Final

from aiohttp import web
from phonefarm.schemas import examples, farm, operation, responses
from phonefarm.schemas.farm_requests import CheckProfile, CreateKey, PauseWork, Resume, Verify
from phonefarm.schemas.queries import AuditFilter, NoQuery

from phonefarm_gateway.rest.endpoint import Call, Endpoint, NoBody, ResponseSpec, reply

TAG: Final = "Operation"
_NOT_PROVED: Final = (
    "`state_conflict:<why>`: the process is not a completed verification, ran on the "
    "dummy runtime, or has no evidence (yet)"
)
_TARGETS: Final = "`unknown_phone:<id>`, `unknown_account:<id>`, `inactive_phone:<id>`, "
_STARTED: Final = {
    HTTPStatus.ACCEPTED: ResponseSpec(
        about="The run is in the queue.", models=(operation.VerificationStarted,)
    )
}


async def list_capabilities(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return every capability."""
    return reply(await call.controller.inspection.capabilities(call.key))


async def list_audit(call: Call[AuditFilter, NoBody]) -> web.StreamResponse:
    """Return a page of the audit."""
    return reply(await call.controller.fleet.audit(call.key, call.query))


async def examine(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return how a controller and its farm are."""
    return reply(await call.controller.operator.examine(call.key))


async def list_pauses(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return every pause."""
    return reply(await call.controller.fleet.pauses(call.key))


async def pause(call: Call[NoQuery, PauseWork]) -> web.StreamResponse:
    """Let nothing in a scope begin."""
    return reply(await call.controller.fleet.pause(call.key, call.body))


async def resume(call: Call[NoQuery, Resume]) -> web.StreamResponse:
    """End a pause."""
    return reply(await call.controller.fleet.resume(call.key, call.body))


async def verify(call: Call[NoQuery, Verify]) -> web.StreamResponse:
    """Enqueue a run that proves a capability."""
    operator = call.controller.operator
    started = await operator.verify(call.key, call.path["capability"], call.body)
    return reply(started, status=HTTPStatus.ACCEPTED)


async def check_profile(call: Call[NoQuery, CheckProfile]) -> web.StreamResponse:
    """Enqueue a run that looks for what a profile names."""
    started = await call.controller.operator.check_profile(call.key, call.body)
    return reply(started, status=HTTPStatus.ACCEPTED)


async def record_verification(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Make a completed verification count."""
    operator = call.controller.operator
    return reply(await operator.record_verification(call.key, call.process_id))


async def list_keys(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return every key."""
    return reply(await call.controller.access.keys(call.key))


async def create_key(call: Call[NoQuery, CreateKey]) -> web.StreamResponse:
    """Create a key; its text is in this answer alone."""
    response = reply(await call.controller.access.create_key(call.key, call.body))
    response.headers["Cache-Control"] = "no-store"
    return response


async def revoke_key(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """End a key."""
    return reply(await call.controller.access.revoke_key(call.key, call.path["key_name"]))


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/capabilities",
        name="listCapabilities",
        tag="Farm",
        summary="List the capabilities with their inputs, and whether they are live verified",
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="Every capability.", models=(responses.CapabilityList,)
            )
        },
        handler=list_capabilities,
    ),
    Endpoint(
        method="GET",
        path="/doctor",
        name="examine",
        tag="Farm",
        summary="Check a controller and its farm, and return problems with remedies",
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The findings as of now.", models=(operation.Examination,)
            )
        },
        handler=examine,
    ),
    Endpoint(
        method="GET",
        path="/audit",
        name="listAudit",
        tag="Farm",
        summary="List the audit: who did what to whom, and why; newest first",
        about="To get the next page, send `next_cursor` as `cursor`, with the same filters.",
        scope="operate",
        query=AuditFilter,
        body=NoBody,
        answers={
            HTTPStatus.OK: ResponseSpec(about="One page of the audit.", models=(farm.AuditList,))
        },
        handler=list_audit,
    ),
    Endpoint(
        method="GET",
        path="/pauses",
        name="listPauses",
        tag=TAG,
        summary="List what is paused, by whom and why",
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={HTTPStatus.OK: ResponseSpec(about="All pauses.", models=(operation.PauseList,))},
        handler=list_pauses,
    ),
    Endpoint(
        method="POST",
        path="/pause",
        name="pause",
        tag=TAG,
        summary="Pause all work, or the work of an app, an account or a capability",
        about="If you repeat the request, it replaces the reason. A pause does not change the "
        "deadlines that callers gave. During the pause, the farm's own limit on waiting does not "
        "run.",
        scope="operate",
        query=NoQuery,
        body=PauseWork,
        example=examples.PAUSE,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The pause; `stopped` is the number of runs that are being stopped.",
                models=(operation.Paused,),
            )
        },
        handler=pause,
    ),
    Endpoint(
        method="POST",
        path="/resume",
        name="resume",
        tag=TAG,
        summary="End one pause; other pauses remain",
        scope="operate",
        query=NoQuery,
        body=Resume,
        example=examples.RESUME,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The scope is no longer paused.", models=(operation.Resumed,)
            )
        },
        handler=resume,
    ),
    Endpoint(
        method="POST",
        path="/capabilities/{capability}/verify",
        name="verifyCapability",
        tag=TAG,
        summary="Run a capability on a real phone to verify it",
        about=(
            "When the process is completed and its evidence has arrived, record the verification "
            "with POST /processes/{process_id}/verification. If you repeat this request, the farm "
            "starts another run."
        ),
        scope="operate",
        query=NoQuery,
        body=Verify,
        answers=_STARTED,
        problems={HTTPStatus.NOT_FOUND: f"{_TARGETS}`inactive_account:<id>`"},
        handler=verify,
    ),
    Endpoint(
        method="POST",
        path="/processes/{process_id}/verification",
        name="recordVerification",
        tag=TAG,
        summary="Record a completed verification, so that the farm accepts unattended work",
        scope="operate",
        query=NoQuery,
        body=NoBody,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The recorded verification.", models=(operation.Verification,)
            )
        },
        problems={HTTPStatus.CONFLICT: _NOT_PROVED},
        handler=record_verification,
    ),
    Endpoint(
        method="POST",
        path="/profiles/check",
        name="checkProfile",
        tag=TAG,
        summary="Check on a phone whether a run finds everything that an app profile names",
        about=(
            "The run does not type or post anything. The process's result shows what the run found."
        ),
        scope="operate",
        query=NoQuery,
        body=CheckProfile,
        answers=_STARTED,
        problems={HTTPStatus.NOT_FOUND: f"{_TARGETS}`inactive_account:<id>`"},
        handler=check_profile,
    ),
    Endpoint(
        method="GET",
        path="/keys",
        name="listKeys",
        tag=TAG,
        summary="List the API keys",
        scope="admin",
        query=NoQuery,
        body=NoBody,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The keys, without their secrets.", models=(operation.ApiKeyList,)
            )
        },
        handler=list_keys,
    ),
    Endpoint(
        method="POST",
        path="/keys",
        name="createKey",
        tag=TAG,
        summary="Create an API key",
        about=(
            "Only this response shows the secret. If you repeat the request, the farm refuses it, "
            "because a key with this name already exists."
        ),
        scope="admin",
        query=NoQuery,
        body=CreateKey,
        example=examples.KEY,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The key with its secret.", models=(operation.NewApiKey,)
            )
        },
        problems={
            HTTPStatus.CONFLICT: "`state_conflict:<name>`: another key already has this name"
        },
        handler=create_key,
    ),
    Endpoint(
        method="POST",
        path="/keys/{key_name}/revoke",
        name="revokeKey",
        tag=TAG,
        summary="Revoke an API key, at once and permanently",
        scope="admin",
        query=NoQuery,
        body=NoBody,
        answers={HTTPStatus.OK: ResponseSpec(about="The key.", models=(operation.ApiKey,))},
        handler=revoke_key,
    ),
)
