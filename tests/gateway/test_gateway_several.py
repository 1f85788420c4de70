"""A gateway with two controllers: a call goes to one that answers, twice only where safe."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, cast

import grpc
import grpc.aio
import pytest
from gateway.support.caller import Caller
from gateway.support.farm import enqueue_body, farm
from gateway.support.memory_controller import KEY, TOKEN, MemoryController
from phonefarm.schemas import requests
from phonefarm.v1 import process_pb2_grpc
from phonefarm_common.channel import bearer, open_channel
from phonefarm_common.endpoints import EndpointSelector
from phonefarm_common.failover import FailoverChannel
from phonefarm_common.timers import Timers
from phonefarm_gateway.client import GATEWAY_TOKEN, convert
from phonefarm_gateway.client.retry_policy import repeatable

PAIR = tuple[MemoryController, MemoryController]


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Caller, PAIR]]:
    """Run a gateway before two controllers; the one that it calls first comes first."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(MemoryController.serving())
        two = await stack.enter_async_context(MemoryController.serving())
        changes = {"controllers": (one.address, two.address)}
        caller = await stack.enter_async_context(farm(changes=changes))
        await caller.call("GET", "/processes")
        yield caller, ((one, two) if one.listed else (two, one))


async def test_a_dead_controller_costs_a_caller_nothing(pair: tuple[Caller, PAIR]) -> None:
    """The call under way and those after it are answered by the other."""
    caller, (first, second) = pair
    await first.stop()

    answer = await caller.call("POST", "/capability-requests/enqueue", enqueue_body())
    again = await caller.call("GET", "/processes")

    assert (answer.status, again.status) == (202, 200)
    assert len(second.enqueued) == 1


async def test_a_controller_without_its_database_is_left_for_the_other(
    pair: tuple[Caller, PAIR],
) -> None:
    """UNAVAILABLE from a controller that lives: its neighbour may do better."""
    caller, (first, second) = pair
    away = (grpc.StatusCode.UNAVAILABLE, "controller_unavailable", "the database is away", ())
    first.next_refusal = away

    answer = await caller.call("POST", "/capability-requests/enqueue", enqueue_body())

    assert answer.status == 202
    assert len(first.enqueued) + len(second.enqueued) == 1


async def test_without_any_controller_a_caller_is_told_when_to_come_again(
    pair: tuple[Caller, PAIR],
) -> None:
    """503 with Retry-After, and answers as soon as one of them is back."""
    caller, (first, second) = pair
    await first.stop()
    await second.stop()

    refused = await caller.call("GET", "/processes")
    await second.start()
    status = 503
    while status == 503:
        status = (await caller.call("GET", "/processes")).status

    assert (refused.status, refused.body["error"]) == (503, "controller_unavailable")
    assert int(refused.headers["Retry-After"]) > 0
    assert status == 200


async def test_what_may_have_been_done_is_not_done_again() -> None:
    """A call that is not as good twice: refused once sent, done elsewhere when it was not."""
    async with MemoryController.serving() as first, MemoryController.serving() as second:
        choice = EndpointSelector(
            (first.address, second.address), monotonic=time.monotonic, chance=lambda: 0.0
        )
        channel = FailoverChannel(
            choice,
            dial=partial(open_channel, timers=Timers()),
            repeatable=lambda _: False,
        )
        stub: Any = process_pb2_grpc.ProcessServiceStub(cast("grpc.aio.Channel", channel))
        request = convert.enqueue_request(requests.Enqueue.model_validate(enqueue_body()))
        shown = ((GATEWAY_TOKEN, TOKEN), *bearer(KEY))
        first.next_refusal = (grpc.StatusCode.UNAVAILABLE, "controller_unavailable", "away", ())

        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Enqueue(request, metadata=shown, timeout=180)
        done_twice = len(second.enqueued)
        choice.answered(first.address)
        await first.stop()
        await stub.Enqueue(request, metadata=shown, timeout=180)
        await channel.close()

        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert done_twice == 0
        assert len(second.enqueued) == 1


@pytest.mark.parametrize(
    ("path", "twice"),
    [
        ("/phonefarm.v1.ProcessService/Enqueue", True),
        ("/phonefarm.v1.ProcessService/CancelProcess", True),
        ("/phonefarm.v1.InspectService/GetTimeline", True),
        ("/phonefarm.v1.InspectService/ReplayDeliveries", False),
        ("/phonefarm.v1.ContentService/CancelContent", False),
        ("/phonefarm.v1.CallbackService/LeaseDeliveries", False),
    ],
)
def test_each_call_is_known_to_be_as_good_twice_or_not(path: str, *, twice: bool) -> None:
    """What changes something is repeated only when its second time changes nothing more."""
    assert repeatable(path) is twice
