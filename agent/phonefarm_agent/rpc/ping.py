"""Checks that a controller answers and accepts our credentials, without a session."""

import grpc
import grpc.aio
from phonefarm.v1 import agent_pb2 as pb
from phonefarm_common.channel import ClientTls, bearer, open_channel
from phonefarm_common.timers import Timers

_SESSION = "/phonefarm.v1.AgentService/Session"
_UNKNOWN_TO_IT = frozenset(
    {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED},
)


class PingFailedError(Exception):
    """The controller is unreachable, or (`refused`) rejects our credentials."""

    def __init__(self, text: str, *, refused: bool) -> None:
        super().__init__(text)
        self.refused = refused


async def ping(target: str, token: str, timers: Timers, secured: ClientTls | None = None) -> None:
    """Return once the controller at HOST:PORT has accepted our credentials; PingFailedError.

    The certificate in *secured* is shown, or *token* without it.

    A Session whose first message is no Hello: the controller looks at who calls before it complains
    of that, so the session of an agent that runs goes on. The caller sets the time limit.
    """
    try:
        channel = open_channel(target, timers, secured)
    except ValueError as error:
        raise PingFailedError(str(error), refused=True) from error
    # One message and no more, which to grpc is a call with a unary request: as a stream of requests
    # it would fail in many ways of its own when the controller ends it first.
    call = channel.unary_stream(
        _SESSION,
        request_serializer=pb.AgentMessage.SerializeToString,
        response_deserializer=pb.ControllerMessage.FromString,
    )
    goodbye = pb.AgentMessage(goodbye=pb.Goodbye(reason="only a ping"))
    try:
        async for _ in call(goodbye, metadata=() if secured else bearer(token)):
            continue
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
            return
        told = f"{error.code().name}: {error.details()}"
        raise PingFailedError(told, refused=error.code() in _UNKNOWN_TO_IT) from error
    finally:
        await channel.close(None)
