"""Calls nobody should make: each gets a clean error, and the controller goes on serving."""

import json
from typing import Any

import grpc
import pytest
from google.protobuf.message import DecodeError, Message
from phonefarm.v1 import process_pb2
from support.controller import Farm, request
from support.hostile import NO_ID, UNARY, broken_copies, with_text

SURPRISES = {
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,  # an error too large for its trailers
}
DEEP = "[" * 300 + "]" * 300


async def code_of(farm: Farm, method: str, data: bytes) -> grpc.StatusCode:
    """Send the bytes as they are; return how the call ended."""
    raw: Any = farm.channel.unary_unary(f"/phonefarm.v1.{method}", None, None)
    call = raw(data, metadata=UNARY[method][1], timeout=180)
    code: grpc.StatusCode = await call.code()
    return code


async def still_serves(farm: Farm) -> None:
    """Fail unless a plain request is accepted and can be read."""
    accepted = await farm.enqueue(request())
    assert (await farm.get(accepted.process_id)).status == "queued"


async def test_noise_is_refused_and_does_no_harm(farm: Farm) -> None:
    """Bytes that are no message, or one that makes no sense, end in an error of the caller."""
    for method, (good, _) in UNARY.items():
        for data in broken_copies(good.SerializeToString(), count=60, seed=7):
            code = await code_of(farm, method, data)

            # What cannot be parsed is refused by gRPC itself, with a code of its choice.
            assert code not in SURPRISES or not _parses(good, data), (method, data)

    await still_serves(farm)


def _parses(kind: Message, data: bytes) -> bool:
    try:
        type(kind).FromString(data)
    except DecodeError:
        return False
    return True


async def test_text_that_a_database_cannot_hold_is_nobodys_surprise(farm: Farm) -> None:
    """NUL, a megabyte, and letters that change when folded: in every string of every request."""
    texts = ("\0", "a\0b", "x" * 1_000_000, "\u0130\ufdfa\U0001f4f1" * 50, "'; DROP TABLE x;--")
    for method, (good, _) in UNARY.items():
        for text in texts:
            for path, message in with_text(good, text):
                code = await code_of(farm, method, message.SerializeToString())

                assert code not in SURPRISES, (method, path, text[:9])

    await still_serves(farm)


HARD_INPUTS = (
    '{"keywords": ["\\ud800"], "app": "shortvideo"}',
    '{"keywords": ["a"], "app": "shortvideo", "dummy": {"a": ' + DEEP + "}}",
    '{"keywords": ["a"], "app": "\\ud800"}',
    '{"\\ud800": 1}',
    json.dumps({"k" * 200_000: 1}),
    json.dumps({"keywords": [""] * 20}),
    '{"keywords": ["a"], "app": "shortvideo", "watch_seconds": 1e999}',
    '{"keywords": ["a"], "app": "shortvideo", "watch_seconds": ' + "9" * 5000 + "}",
    "[" * 100_000,
    '{"a":' * 30_000,
    "\ufeff{}",
)


async def test_json_that_is_hard_to_handle_is_judged_and_answered(farm: Farm) -> None:
    """Whatever the JSON holds, the caller gets an answer that fits in an answer."""
    for inputs in HARD_INPUTS:
        message = request(inputs_json=inputs)

        code = await code_of(farm, "ProcessService/Enqueue", message.SerializeToString())

        assert code in {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}, inputs[:60]

    await still_serves(farm)


async def test_numbers_that_json_does_not_know_are_refused(farm: Farm) -> None:
    """NaN is no JSON; it would come out again where a strict reader waits."""
    changes: list[dict[str, Any]] = [
        {"inputs_json": '{"keywords": ["a"], "app": "shortvideo", "dummy": {"seconds": NaN}}'},
        {"callback": process_pb2.Callback(url="http://127.0.0.1:9/", metadata_json='{"n": NaN}')},
        {"requested_by": process_pb2.RequestedBy(system="s", metadata_json='{"n": -Infinity}')},
    ]
    for change in changes:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await farm.enqueue(request(**change))

        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_moments_at_the_ends_of_time_are_judged(farm: Farm) -> None:
    """A date that no calendar here can add a day to is the caller's mistake, not ours."""
    year_9999, year_1 = 253_402_300_799, -62_135_596_800
    for field in ("not_before", "deadline"):
        for seconds in (year_9999, year_1, 2**62, -(2**62)):
            message = request()
            getattr(message, field).seconds = seconds

            code = await code_of(farm, "ProcessService/Enqueue", message.SerializeToString())

            assert code in {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}, (field, seconds)

    await still_serves(farm)


async def test_an_unknown_process_is_not_found_however_it_is_spelled(farm: Farm) -> None:
    """No spelling of an id is a surprise."""
    for process_id in ("", "x", NO_ID, NO_ID.upper(), f"{{{NO_ID}}}", "\u0661" * 36, "0" * 32):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await farm.get(process_id)

        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
