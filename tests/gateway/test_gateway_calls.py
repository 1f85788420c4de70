"""Calls in both directions: the caller gets the refusal, also while messages are on their way."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
from phonefarm_common.reasons import Reason
from phonefarm_gateway.client.calls import DuplexCall, RefusedError, RpcCaller

CALLS = 100  # without the status kept, 9 of 10 calls lost it


async def refuse(_requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    """Refuse before any message is read."""
    await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not yours")
    yield b""


async def answer_and_end(_requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
    """End well before any message is read."""
    yield b"enough"


async def served(behaviour: Any) -> tuple[grpc.aio.Server, int]:
    """Serve one method on a free port."""
    server = grpc.aio.server()
    method = grpc.stream_stream_rpc_method_handler(behaviour)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("test.Calls", {"Both": method}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


async def send_many(call: "DuplexCall[bytes, bytes]") -> None:
    """Send until the call has surely ended meanwhile."""
    for _ in range(5):
        await call.send(b"x" * 10)


async def outcomes(behaviour: Any) -> Counter[str]:
    """Return how CALLS calls ended that write while the server ends them."""
    server, port = await served(behaviour)
    ended: Counter[str] = Counter()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            method: Any = channel.stream_stream("/test.Calls/Both", bytes, bytes)
            for _ in range(CALLS):
                async with RpcCaller(token="").duplex(method, key="k") as call:
                    sending = asyncio.create_task(send_many(call))
                    try:
                        heard = [message async for message in call.answers()]
                        ended[f"heard {len(heard)}"] += 1
                    except RefusedError as error:
                        ended[error.reason] += 1
                    await sending
    finally:
        await server.stop(None)
    return ended


async def test_a_refusal_is_told_whatever_is_being_sent() -> None:
    """grpc.aio puts INTERNAL in its place when a write fails at that moment (grpc/grpc#36066)."""
    assert await outcomes(refuse) == {Reason.INSUFFICIENT_SCOPE: CALLS}


async def test_the_last_answer_is_heard_whatever_is_being_sent() -> None:
    """A controller that ends a call well has not failed."""
    assert await outcomes(answer_and_end) == {"heard 1": CALLS}
