"""Work from the command line: submit it, receive its callbacks, see the gateways."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from phonefarm.v1 import callback_pb2, callback_pb2_grpc
from phonefarm_cli.client.receiver import CallbackEvent, Receiver
from phonefarm_cli.commands.submit import read_pairs
from phonefarm_cli.errors import CommandError
from support.commanding import Operator
from support.controller import GATEWAY_TOKEN, PATIENCE, Farm, farm_on, played_agent

WORK = ("submit", "keyword_warmup", "--input", "keywords=tiny houses", "--input", "keywords=b")


@pytest.fixture
async def farm(tmp_path: Path) -> AsyncIterator[Farm]:
    """Run a controller."""
    async with farm_on(f"sqlite:///{tmp_path / 'farm.db'}", tmp_path / "data") as it:
        yield it


@pytest.fixture
def operator(farm: Farm, capsys: pytest.CaptureFixture[str]) -> Operator:
    """Return an operator of the farm."""
    return Operator.of(farm, capsys)


async def test_work_is_submitted_watched_and_repeated_safely(
    farm: Farm, operator: Operator
) -> None:
    """The process is followed to its end; the same request id makes no second one."""
    async with played_agent(farm, "A1") as agent:
        await agent.offer()
        watching = asyncio.create_task(
            operator.command(*WORK, "--phone", "A1", "--request-id", "r-1", "--watch")
        )
        (assignment,) = await asyncio.wait_for(agent.assigned(), PATIENCE)
        await agent.act_out(assignment)
        watched = await watching
        again = await operator.command(*WORK, "--phone", "A1", "--request-id", "r-1", "--json")

    assert watched.code == 0
    assert "DONE" in watched.out
    repeated = json.loads(again.out)
    assert repeated["duplicate"] is True
    assert repeated["request_differs"] is False


async def test_a_dry_run_creates_nothing_and_a_wrong_input_is_named(
    farm: Farm, operator: Operator
) -> None:
    """The controller's own checks answer."""
    async with played_agent(farm, "A1"):
        told = await operator.command(*WORK, "--dry-run")
        listed = await operator.command("processes", "list", "--json")
        with pytest.raises(CommandError, match="videos_per_keyword"):
            await operator.command(*WORK, "--input", "videos_per_keyword=many")
        with pytest.raises(CommandError, match="there is no capability warmup; known: "):
            await operator.command("submit", "warmup")

    assert told.out == "the request is valid: it would create 1 item; nothing was created\n"
    assert json.loads(listed.out)["processes"] == []


PROPERTIES: dict[str, Any] = {
    "keywords": {"type": "array"},
    "caption": {"type": "string"},
    "seconds": {"type": "integer"},
}


def test_inputs_are_read_as_the_schema_wants_them() -> None:
    """Text stays text, also if it looks like a number; a list grows with each word."""
    words = ["keywords=a=b", 'keywords=["c"', "caption=007", "seconds=3", "other=plain"]

    assert read_pairs(words, PROPERTIES) == {
        "keywords": ["a=b", '["c"'],
        "caption": "007",
        "seconds": 3,
        "other": "plain",
    }
    assert read_pairs(['keywords=["a", "b"]'], PROPERTIES) == {"keywords": ["a", "b"]}


@pytest.mark.parametrize("words", [["caption"], ["=x"], ["caption=a", "caption=b"]])
def test_an_unclear_input_is_refused(words: list[str]) -> None:
    """With the form that is right, or the name that is given twice."""
    with pytest.raises(CommandError, match="--input"):
        read_pairs(words, PROPERTIES)


async def test_gateways_are_listed_with_what_they_say(farm: Farm, operator: Operator) -> None:
    """One that calls says whether it signs; one that is refused is there with the reason."""
    empty = await operator.command("gateways", "list", "--json")
    stub: Any = callback_pb2_grpc.CallbackServiceStub(farm.channel)
    ask = callback_pb2.LeaseDeliveriesRequest(gateway_id="g", limit=1, signs=False)

    await stub.LeaseDeliveries(ask, metadata=(("x-phonefarm-gateway-token", GATEWAY_TOKEN),))
    listed = json.loads((await operator.command("gateways", "list", "--json")).out)

    assert json.loads(empty.out) == []
    assert [(one["connected"], one["signs"], one["refused"]) for one in listed] == [
        (True, False, "")
    ]


async def test_a_listening_receiver_tells_of_each_callback() -> None:
    """One that is signed with another secret is told from the farm's own."""
    told: asyncio.Queue[CallbackEvent] = asyncio.Queue()
    body = {
        "process": {"process_id": "p", "status": "completed"},
        "milestone": "completed",
        "sequence": 3,
    }
    async with (
        Receiver.serving("whsec_x", told=told.put_nowait) as receiver,
        aiohttp.ClientSession() as session,
        session.post(receiver.url, json=body) as answer,
    ):
        event = await asyncio.wait_for(told.get(), PATIENCE)

    assert answer.status == 204
    assert (event.process_id, event.sequence, event.signed) == ("p", 3, False)
