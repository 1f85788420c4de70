"""VerificationService: read the wire, call one operation, write the wire."""

from typing import Any, Final

from phonefarm.v1 import verification_pb2 as pb
from phonefarm.v1 import verification_pb2_grpc
from phonefarm_common.ids import is_name, is_uuid
from phonefarm_common.reasons import FieldProblem
from phonefarm_common.trace_context import current_traceparent

from phonefarm_controller.model.errors import invalid, invalid_field, unknown_process
from phonefarm_controller.processes.verification import VerificationRequest, VerificationRuns
from phonefarm_controller.rpc.auth import caller
from phonefarm_controller.rpc.errors import Context
from phonefarm_controller.rpc.wire import (
    LONGEST_ID,
    LONGEST_JSON,
    moment_to_wire,
    object_of,
)

LONGEST_PROFILE: Final = 256 * 1024
LONGEST_PROFILE_NAME: Final = 64


class VerificationService(verification_pb2_grpc.VerificationServiceServicer):
    """Serves operators."""

    def __init__(self, *, verification: VerificationRuns) -> None:
        self._verification = verification

    async def VerifyCapability(  # noqa: N802 - the wire's name
        self, request: pb.VerifyCapabilityRequest, context: Context
    ) -> pb.VerifyCapabilityResponse:
        """Enqueue a run that leaves evidence."""
        inputs = _inputs(request.inputs_json) if request.inputs_json else None
        process_id = await self._verification.verify(
            request.capability, _ask(request, caller().name), inputs
        )
        return pb.VerifyCapabilityResponse(process_id=process_id)

    async def CheckProfile(  # noqa: N802
        self, request: pb.CheckProfileRequest, context: Context
    ) -> pb.CheckProfileResponse:
        """Enqueue a run that looks for what the profile names."""
        if not is_name(request.name) or len(request.name) > LONGEST_PROFILE_NAME:
            message = f"must be 1 to {LONGEST_PROFILE_NAME} characters from A-Z a-z 0-9 . _ : -"
            raise invalid_field("name", message)
        if not 0 < len(request.profile_toml) <= LONGEST_PROFILE:
            message = f"is required, and must have at most {LONGEST_PROFILE} characters"
            raise invalid_field("profile_toml", message)
        process_id = await self._verification.check_profile(
            request.name, request.profile_toml, _ask(request, caller().name)
        )
        return pb.CheckProfileResponse(process_id=process_id)

    async def RecordVerification(  # noqa: N802
        self, request: pb.RecordVerificationRequest, context: Context
    ) -> pb.Verification:
        """Make a completed verification count."""
        if not is_uuid(request.process_id):
            raise unknown_process(request.process_id)
        recorded, app = await self._verification.record(
            request.process_id.lower(), actor=caller().name
        )
        return pb.Verification(
            capability=recorded.capability,
            app=app,
            profile_version=recorded.profile_version,
            run_id=recorded.run_id,
            process_id=recorded.process_id,
            phone_id=recorded.phone_id,
            verified_by=recorded.verified_by,
            verified_at=moment_to_wire(recorded.verified_at),
        )


def _ask(
    request: pb.VerifyCapabilityRequest | pb.CheckProfileRequest, caller: str
) -> VerificationRequest:
    problems = []
    for field, value in (("phone_id", request.phone_id), ("requested_by", request.requested_by)):
        if not value.strip() or len(value) > LONGEST_ID or "\0" in value:
            message = f"is required, and must have at most {LONGEST_ID} characters, without NUL"
            problems.append(FieldProblem(field=field, message=message))
    if problems:
        raise invalid(*problems)
    return VerificationRequest(
        phone_id=request.phone_id,
        account_id=request.account_id or None,
        requested_by=request.requested_by,
        caller=caller,
        traceparent=current_traceparent(),
    )


def _inputs(text: str) -> dict[str, Any]:
    value = object_of(text) if len(text) <= LONGEST_JSON else None
    if value is None or "\\u0000" in text:
        message = f"must be a JSON object of at most {LONGEST_JSON} characters, without NUL"
        raise invalid_field("inputs", message)
    return value
