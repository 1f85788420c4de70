"""A knock at the controller's door: whether it is there and knows our token. Opens no session."""

import grpc
import grpc.aio
from phonefarm.v1 import agent_pb2_grpc
from phonefarm_common.channel import bearer, open_channel
from phonefarm_common.timers import Timers


class KnockFailedError(Exception):
    """The controller is away or does not know us; `refused` tells which."""

    def __init__(self, text: str, *, refused: bool) -> None:
        super().__init__(text)
        self.refused = refused


async def knock(target: str, token: str, timers: Timers) -> None:
    """Return when the controller at HOST:PORT answers and takes *token*; KnockFailedError.

    A Session that ends before its Hello: the controller checks who calls and then has nothing to
    say, so that the session of an agent that runs goes on. The caller sets the time limit.
    """
    try:
        channel = open_channel(target, timers)
    except ValueError as error:
        raise KnockFailedError(str(error), refused=True) from error
    try:
        call = agent_pb2_grpc.AgentServiceStub(channel).Session(None, metadata=bearer(token))
        await call.done_writing()
        while await call.read() is not grpc.aio.EOF:  # type: ignore[attr-defined]  # missing in the stubs
            continue
    except grpc.aio.AioRpcError as error:
        refused = error.code() in {
            grpc.StatusCode.UNAUTHENTICATED,
            grpc.StatusCode.PERMISSION_DENIED,
        }
        told = f"{error.code().name}: {error.details()}"
        raise KnockFailedError(told, refused=refused) from error
    finally:
        await channel.close(None)
