"""AccessService: API keys and members, for administrators."""

from datetime import datetime, timedelta

from phonefarm.v1 import access_pb2 as pb
from phonefarm.v1 import access_pb2_grpc

from phonefarm_controller.auth.api_keys import ApiKeys
from phonefarm_controller.auth.enrollment import GOOD_FOR, Enrollment
from phonefarm_controller.model.errors import invalid_field
from phonefarm_controller.model.scopes import Scope
from phonefarm_controller.rpc.auth import caller
from phonefarm_controller.rpc.errors import Context
from phonefarm_controller.rpc.wire import moment_of, moment_to_wire
from phonefarm_controller.store.api_keys import ApiKey


class AccessService(access_pb2_grpc.AccessServiceServicer):
    """Serves administrators."""

    def __init__(self, *, api_keys: ApiKeys, enrollment: Enrollment) -> None:
        self._enrollment = enrollment
        self._api_keys = api_keys

    async def CreateKey(  # noqa: N802 - the wire's name
        self, request: pb.CreateKeyRequest, context: Context
    ) -> pb.CreateKeyResponse:
        """Make a key."""
        made = await self._api_keys.create(
            request.name,
            [_scope(word) for word in request.scopes],
            expires_at=_expiry(request),
            actor=caller().name,
        )
        return pb.CreateKeyResponse(key=_to_wire(made.key), secret=made.text)

    async def ListKeys(  # noqa: N802
        self, request: pb.ListKeysRequest, context: Context
    ) -> pb.ListKeysResponse:
        """Return every key."""
        known = await self._api_keys.all()
        return pb.ListKeysResponse(keys=[_to_wire(key) for key in known])

    async def RevokeKey(  # noqa: N802
        self, request: pb.RevokeKeyRequest, context: Context
    ) -> pb.ApiKey:
        """End a key."""
        revoked = await self._api_keys.revoke(request.name, actor=caller().name)
        return _to_wire(revoked)

    async def Invite(  # noqa: N802
        self, request: pb.InviteRequest, context: Context
    ) -> pb.InviteResponse:
        """Invite one host."""
        seconds = request.good_for_seconds
        token = await self._enrollment.invite(
            request.role,
            request.member_id,
            good_for=timedelta(seconds=seconds) if seconds else GOOD_FOR,
            actor=caller().name,
            reason=request.reason,
        )
        return pb.InviteResponse(token=token.text, expires_at=moment_to_wire(token.expires_at))

    async def RevokeMember(  # noqa: N802
        self, request: pb.RevokeMemberRequest, context: Context
    ) -> pb.RevokeMemberResponse:
        """End a member's certificates."""
        ended = await self._enrollment.revoke(
            request.role, request.member_id, actor=caller().name, reason=request.reason
        )
        return pb.RevokeMemberResponse(certificates=ended)


def _scope(word: str) -> Scope:
    try:
        return Scope(word)
    except ValueError:
        raise invalid_field("scopes", f"must contain only: {', '.join(Scope)}") from None


def _expiry(request: pb.CreateKeyRequest) -> datetime | None:
    if not request.HasField("expires_at"):
        return None
    return moment_of("expires_at", request.expires_at)


def _to_wire(key: ApiKey) -> pb.ApiKey:
    return pb.ApiKey(
        key_id=key.key_id,
        name=key.name,
        scopes=key.scopes,
        created_at=moment_to_wire(key.created_at),
        expires_at=moment_to_wire(key.expires_at),
        revoked_at=moment_to_wire(key.revoked_at),
        last_used_at=moment_to_wire(key.last_used_at),
        created_by=key.created_by,
    )
