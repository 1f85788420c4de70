"""Live screens over a whole farm: a simulated phone with real video, watched and driven."""

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from phonefarm.v1 import operator_pb2, process_pb2
from phonefarm.v1 import screen_pb2 as pb
from phonefarm_common.channel import bearer
from phonefarm_simulator.farm import Farm as Phones
from phonefarm_simulator.farm import simulated_phones
from phonefarm_simulator.ledger import Kind
from support.agents import PHONE_SCALE, agent_of, running_agent
from support.controller import KEY, PATIENCE, Farm, farm_on, request
from support.live_farm import eventually
from support.screen_server import real_jar
from support.screens import ViewCall, viewing

PHONE = "ph-sim0001"
WAKE = bytes([4, 0])


def touch(action: int, at: tuple[int, int], size: tuple[int, int]) -> bytes:
    """Return a touch: 0 down, 1 up (ControlMessageReader.java, parseInjectTouchEvent)."""
    pressure = 0xFFFF if action == 0 else 0
    return struct.pack(">BBQIIHHHII", 2, action, 1, *at, *size, pressure, 0, 0)


async def tap(view: ViewCall, at: tuple[int, int], size: tuple[int, int]) -> None:
    """Tap in the frame."""
    await view.control(touch(0, at, size))
    await view.control(touch(1, at, size))


@pytest.fixture
async def phones(tmp_path: Path) -> AsyncIterator[Phones]:
    """Run one phone."""
    real_jar()
    async with simulated_phones(1, tmp_path / "phones") as phones:
        yield phones


@pytest.fixture
async def farm(tmp_path: Path, phones: Phones) -> AsyncIterator[Farm]:
    """Run a controller and an agent with the phone, admitted."""
    async with (
        farm_on(f"sqlite:///{tmp_path / 'farm.db'}", tmp_path / "data", scale=PHONE_SCALE) as farm,
        running_agent(agent_of(farm, tmp_path / "agent", phones, runtime="process")),
    ):
        await eventually(lambda: known(farm), what="the phone")
        await farm.admit(["SIM0001"])
        yield farm


async def known(farm: Farm) -> bool:
    """Tell whether the controller knows the phone."""
    return len(await farm.known_phones()) == 1


async def hold(farm: Farm) -> str:
    """Hold the phone; return the process once a person may act."""
    wish = operator_pb2.HoldPhoneRequest(
        phone_id=PHONE, seconds=600, wait_seconds=600, reason="a look"
    )
    held = await farm.operator.HoldPhone(wish, metadata=bearer(KEY))
    process_id: str = held.process_id
    await eventually(lambda: acts(farm, process_id), what="the hold")
    return process_id


async def acts(farm: Farm, process_id: str) -> bool:
    """Tell whether the hold has begun."""
    asked = operator_pb2.GetHoldRequest(process_id=process_id)
    state = (await farm.operator.GetHold(asked, metadata=bearer(KEY))).state
    return str(state) == "EXECUTING"


async def unhold(farm: Farm) -> None:
    """Give the phone back."""
    wish = operator_pb2.UnholdPhoneRequest(phone_id=PHONE, reason="done")
    await farm.operator.UnholdPhone(wish, metadata=bearer(KEY))


async def test_a_person_watches_holds_and_taps_and_never_after_the_hold(
    farm: Farm, phones: Phones
) -> None:
    """Real video comes; a tap under the hold is in the phone's ledger; after it, none of 1,000."""
    phone = phones["SIM0001"]
    async with viewing(farm, PHONE) as view:
        info = await view.next("info")
        size = (info.width, info.height)
        key = await view.next("frame")
        await tap(view, (100, 200), size)
        early = await view.next("input_refused")
        await hold(farm)
        await eventually(lambda: tapped(view, phones, size), what="a tap")
        await unhold(farm)
        ended = await view.next("input_refused")
        while ended.reason != "hold_ended":
            ended = await view.next("input_refused")
        marked = len(phone.ledger())
        for _ in range(500):
            await tap(view, (100, 200), size)
        await view.call.write(pb.ViewRequest(key_frame=pb.KeyFrameWanted()))
        while not (await view.next("frame")).key:
            pass

    assert (info.mode, info.codec[:5]) == (pb.VIEW_MODE_VIDEO, "avc1.")
    assert key.key
    assert early.reason == "hold_required"
    assert [each for each in phone.ledger()[marked:] if each.kind is Kind.TAPPED] == []


async def tapped(view: ViewCall, phones: Phones, size: tuple[int, int]) -> bool:
    """Tap, and tell whether a touch has reached the phone."""
    await tap(view, (100, 200), size)
    return any(entry.kind is Kind.TAPPED for entry in phones["SIM0001"].ledger())


@pytest.mark.long
async def test_watching_leaves_a_run_as_it_is(farm: Farm, phones: Phones) -> None:
    """The run completes with the same outputs as one that nobody watches; its tree is its own."""
    alone = await ended_run(farm)
    async with viewing(farm, PHONE) as view:
        await view.next("frame")
        watched, frames = await asyncio.gather(ended_run(farm), count_frames(view))

    assert (alone.status, watched.status) == ("completed", "completed")
    assert outputs(alone) == outputs(watched)
    assert frames > 0


async def ended_run(farm: Farm) -> process_pb2.Process:
    """Have one job done on the phone; return its record."""
    accepted = await farm.enqueue(request())
    return await farm.until(accepted.process_id, "completed", "failed")


async def count_frames(view: ViewCall) -> int:
    """Return how many frames come in a few events of the run."""
    for _ in range(20):
        await view.next("frame")
    return 20


def outputs(process: process_pb2.Process) -> Any:
    """Return what the process's one item gives to its caller, without how long it took."""
    (result,) = json.loads(process.result_json, object_hook=untimed)["items"].values()
    return result


def untimed(given: dict[str, Any]) -> dict[str, Any]:
    """Return the object without its seconds, which were measured."""
    return {name: value for name, value in given.items() if name != "seconds"}


async def test_a_still_with_its_tree_and_a_thumbnail(farm: Farm, phones: Phones) -> None:
    """The inspector's picture and elements, and the small picture of the grid."""
    asked = pb.TakeStillRequest(phone_id=PHONE, format=pb.STILL_FORMAT_JPEG, tree=True)
    still = await farm.screens.TakeStill(asked, metadata=bearer(KEY))
    call = farm.screens.WatchThumbnails(metadata=bearer(KEY))
    await call.write(pb.ThumbnailsRequest(phone_ids=[PHONE]))
    async with asyncio.timeout(PATIENCE):
        thumbnail = await call.read()
    call.cancel()

    assert still.picture[:2] == b"\xff\xd8"
    assert (still.width, still.height) == (720, 1280)
    assert still.tree_refused == ""
    assert "keyguard" in still.nodes[0].resource_id  # a phone that nobody has woken
    assert max(node.right for node in still.nodes) <= 720
    assert (thumbnail.phone_id, thumbnail.jpeg[:2]) == (PHONE, b"\xff\xd8")
    assert max(thumbnail.width, thumbnail.height) == 240
