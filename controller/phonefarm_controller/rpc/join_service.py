"""JoinService and MemberService: becoming a member of the farm, and staying one."""

from collections.abc import Sequence

from phonefarm.v1 import join_pb2 as pb
from phonefarm.v1 import join_pb2_grpc
from phonefarm_common.certificates import CertificateFacts

from phonefarm_controller.auth.enrollment import Enrollment
from phonefarm_controller.rpc.auth import member_certificate
from phonefarm_controller.rpc.errors import Context


class JoinService(join_pb2_grpc.JoinServiceServicer):
    """Serves hosts that have no certificate yet."""

    def __init__(self, *, enrollment: Enrollment, controllers: Sequence[str] = ()) -> None:
        """Serve with the addresses of the farm's *controllers*, which members are given."""
        self._enrollment = enrollment
        self._controllers = controllers

    async def Join(  # noqa: N802 - the wire's name
        self, request: pb.JoinRequest, context: Context
    ) -> pb.Membership:
        """Trade a token for a certificate."""
        facts, pem = await self._enrollment.join(
            request.secret, request.request, wanted=request.member_id
        )
        return _to_wire(facts, pem, self._controllers)


class MemberService(join_pb2_grpc.MemberServiceServicer):
    """Serves members."""

    def __init__(self, *, enrollment: Enrollment, controllers: Sequence[str] = ()) -> None:
        """Serve with the addresses of the farm's *controllers*, which members are given."""
        self._enrollment = enrollment
        self._controllers = controllers

    async def Renew(  # noqa: N802
        self, request: pb.RenewRequest, context: Context
    ) -> pb.Membership:
        """Issue another certificate."""
        facts, pem = await self._enrollment.renew(member_certificate(context), request.request)
        return _to_wire(facts, pem, self._controllers)


def _to_wire(facts: CertificateFacts, pem: str, controllers: Sequence[str]) -> pb.Membership:
    return pb.Membership(
        role=facts.role, member_id=facts.member_id, certificate=pem, controllers=controllers
    )
