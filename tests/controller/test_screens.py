"""Screens at the controller: tickets, the relay, who may watch, whose input passes, thumbnails."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
import pytest
from phonefarm.v1 import access_pb2, access_pb2_grpc, agent_pb2, operator_pb2
from phonefarm.v1 import screen_pb2 as pb
from phonefarm_common.channel import bearer
from phonefarm_controller.rpc import screen_links, screen_service, screen_thumbnails
from phonefarm_controller.screens import links
from phonefarm_controller.store.schema.cluster import audit
from phonefarm_controller.store.schema.fleet import screen_tickets
from sqlalchemy import select
from support.controller import KEY, PATIENCE, Farm, PlayedAgent, farm_on, played_agent, told
from support.screens import ViewCall, serving, serving_at, ticket_of, viewing

PHONE = "ph-a1"
PRESS = bytes(14)


@pytest.fixture
async def agent(farm: Farm) -> AsyncIterator[PlayedAgent]:
    """Connect an agent with two phones."""
    async with played_agent(farm, "A1", "A2") as played:
        yield played


async def key_of(farm: Farm, name: str, *scopes: str) -> str:
    """Make a key with these scopes."""
    access: Any = access_pb2_grpc.AccessServiceStub(farm.channel)
    wish = access_pb2.CreateKeyRequest(name=name, scopes=scopes)
    made = await access.CreateKey(wish, metadata=bearer(KEY))
    return str(made.secret)


async def refusal(view: ViewCall) -> tuple[str, str]:
    """Return code and reason with which a view was refused."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await asyncio.wait_for(view.call.read(), PATIENCE)
    return refused.value.code().name, told(refused)[0]


async def audited(farm: Farm, verb: str) -> list[tuple[str, str, str]]:
    """Return actor, subject and text of the audit's entries with this verb."""
    async with farm.controller.database.reading() as tx:
        query = select(audit.c.actor, audit.c.subject, audit.c.reason).where(audit.c.verb == verb)
        return [tuple(row) for row in await tx.connection.execute(query)]


async def ends_of(farm: Farm, actor: str) -> list[str]:
    """Return what the audit says of the views that this key has ended."""
    return [text for name, _, text in await audited(farm, "watch_end") if name == actor]


async def held(farm: Farm, agent: PlayedAgent, key: str) -> agent_pb2.Assignment:
    """Hold the phone with this key, to where its run acts; return the hold's assignment."""
    wish = operator_pb2.HoldPhoneRequest(
        phone_id=PHONE, seconds=600, wait_seconds=600, reason="a look"
    )
    await farm.operator.HoldPhone(wish, metadata=bearer(key))
    await agent.offer()
    (assignment,) = await agent.assigned()
    await agent.start(assignment.run)
    return assignment


async def test_what_the_agent_shows_reaches_the_viewer(farm: Farm, agent: PlayedAgent) -> None:
    """Info and frames in order; beginning and end are in the audit, and the ticket is gone."""
    async with viewing(farm, PHONE) as view, serving(farm, agent) as serve:
        order = await serve.order("view")
        await serve.info()
        await serve.show(b"key", key=True)
        await serve.show(b"frame")

        info, first, second = [await view.next() for _ in range(3)]
        began = await audited(farm, "watch")
        ended = pb.ViewEnded(reason="phone_away", message="the cable is out")
        await serve.report(event=pb.ViewEvent(ended=ended))
        last = await view.next()
        ending = await view.ending()
        await serve.ended()

    async with farm.controller.database.reading() as tx:
        tickets = (await tx.connection.execute(select(screen_tickets))).all()
    assert (order.serialno, order.mode) == ("A1", pb.VIEW_MODE_VIDEO)
    assert (info.width, first.data, second.data) == (576, b"key", b"frame")
    assert (last.reason, ending[0]) == ("phone_away", "OK")
    assert tickets == []
    assert began == [("ingest_secret", PHONE, "began to watch the screen")]
    ((actor, subject, text),) = await audited(farm, "watch_end")
    assert (actor, subject) == ("ingest_secret", PHONE)
    assert text.startswith("watched the screen since 20")
    assert text.endswith("; no input")


async def test_the_agents_end_goes_when_the_viewer_leaves(farm: Farm, agent: PlayedAgent) -> None:
    """Nobody watches: the agent's call ends, and the place is free."""
    async with viewing(farm, PHONE) as view, serving(farm, agent) as serve:
        await serve.order("view")
        await serve.info()
        await view.next("info")
        view.call.cancel()

        code = await serve.ended()

    assert code is grpc.StatusCode.OK


async def test_an_agent_that_goes_ends_the_view(farm: Farm, agent: PlayedAgent) -> None:
    """The viewer is told so, and not left waiting."""
    async with viewing(farm, PHONE) as view, serving(farm, agent) as serve:
        await serve.info()
        await view.next("info")
        serve.call.cancel()

        ended = await view.next("ended")

    assert ended.reason == "agent_away"


async def test_a_refusal_of_the_agent_is_the_viewers(farm: Farm, agent: PlayedAgent) -> None:
    """With its word and its sentence; it is not in the audit, since nothing was seen."""
    async with viewing(farm, PHONE) as view, serving(farm, agent) as serve:
        refused = agent_pb2.ScreenRefused(reason="screens_off", message="--screens off")
        await serve.report(refused=refused)

        found = await refusal(view)

    assert found == ("FAILED_PRECONDITION", "screen_unavailable:screens_off")
    assert await audited(farm, "watch") == []


async def test_who_cannot_be_shown_is_told_why(
    farm: Farm, agent: PlayedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown phone, an agent that does not answer, and one that is not connected."""
    monkeypatch.setattr(links, "ANSWER_SECONDS", 0.2)
    async with viewing(farm, "ph-x") as view:
        unknown = await refusal(view)
    async with viewing(farm, PHONE) as view:
        silent = await refusal(view)
    agent.call.cancel()
    async with asyncio.timeout(PATIENCE):
        while (await farm.known_phones())[0].agent_connected:  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.02)
    async with viewing(farm, PHONE) as view:
        away = await refusal(view)

    assert unknown == ("NOT_FOUND", f"unknown_phone:{'ph-x'}")
    assert silent == ("FAILED_PRECONDITION", "screen_unavailable:no_answer")
    assert away == ("FAILED_PRECONDITION", "screen_unavailable:agent_away")


async def test_a_ticket_counts_once(farm: Farm, agent: PlayedAgent) -> None:
    """Whoever comes with it again, or with another, is refused; the view goes on."""
    async with viewing(farm, PHONE) as view:
        ticket = await ticket_of(agent)
        async with serving_at(farm, ticket) as serve:
            await serve.info()
            await view.next("info")
            refused = []
            for wrong in (ticket, "another", ""):
                async with serving_at(farm, wrong) as late:
                    refused.append(await late.ended())
            await serve.show(b"key", key=True)
            frame = await view.next("frame")

    assert refused == [grpc.StatusCode.NOT_FOUND] * 3
    assert frame.data == b"key"


async def test_views_are_bounded(tmp_path: Path) -> None:
    """One more than --screens is refused with a reason; the place is free when one ends."""
    async with (
        farm_on(f"sqlite:///{tmp_path / 'farm.db'}", tmp_path / "data", screens=1) as farm,
        played_agent(farm, "A1") as agent,
    ):
        async with viewing(farm, PHONE) as first, serving(farm, agent) as serve:
            await serve.info()
            await first.next("info")
            async with viewing(farm, PHONE) as second:
                refused = await refusal(second)
            await serve.report(event=pb.ViewEvent(ended=pb.ViewEnded(reason="phone_away")))
            await first.ending()
        async with viewing(farm, PHONE) as third, serving(farm, agent) as serve:
            await serve.info()
            info = await third.next("info")

    assert refused == ("RESOURCE_EXHAUSTED", "too_many_screens:1")
    assert info.width == 576


async def test_a_slow_viewer_holds_up_nobody(farm: Farm, agent: PlayedAgent) -> None:
    """It does not read: the agent's stream goes on, a key frame is asked for, the other sees all.

    What it gets when it reads again can be decoded: after a gap comes a key frame.
    """
    size, count = 100_000, 600
    async with (
        viewing(farm, PHONE) as slow,
        serving(farm, agent) as to_slow,
        viewing(farm, "ph-a2") as quick,
        serving(farm, agent) as to_quick,
    ):
        for serve in (to_slow, to_quick):
            await serve.info()
            await serve.show(b"0".ljust(size), key=True)
        seen = [await quick.next("frame")]
        for number in range(1, count):
            async with asyncio.timeout(PATIENCE):
                await to_slow.show(str(number).encode().ljust(size))
            await to_quick.show(str(number).encode())
            seen.append(await quick.next("frame"))
        await to_slow.order("key_frame")
        await to_slow.show(b"again", key=True)
        late: list[tuple[bytes, bool]] = []
        while not late or late[-1] != (b"again", True):
            frame = await slow.next("frame")
            late.append((frame.data.strip(), frame.key))

    assert [int(frame.data) for frame in seen] == list(range(count))
    numbers = [int(data) for data, _ in late[:-1]]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) < count - 1


async def test_a_revoked_key_ends_the_stream(
    farm: Farm, agent: PlayedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next look at the key finds it gone: nothing more is shown."""
    monkeypatch.setattr(screen_service, "KEY_SECONDS", 0.1)
    key = await key_of(farm, "guest", "watch")
    async with viewing(farm, PHONE, key=key) as view, serving(farm, agent) as serve:
        await serve.info()
        await view.next("info")
        access: Any = access_pb2_grpc.AccessServiceStub(farm.channel)
        wish = access_pb2.RevokeKeyRequest(name="guest")
        await access.RevokeKey(wish, metadata=bearer(KEY))

        code, _ = await view.ending()
        await serve.ended()

    assert code == "UNAUTHENTICATED"
    assert len(await audited(farm, "watch_end")) == 1


async def test_input_needs_the_scope_and_the_hold_of_the_same_key(
    farm: Farm, agent: PlayedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever lacks one of them hears which; nothing of it reaches the agent."""
    monkeypatch.setattr(screen_service, "HOLD_SECONDS", 0.0)
    guest = await key_of(farm, "guest", "watch")
    ada, bob = await key_of(farm, "ada", "operate"), await key_of(farm, "bob", "operate")
    reasons = []
    async with viewing(farm, PHONE, key=guest) as view, serving(farm, agent) as serve:
        await serve.info()
        await view.control(PRESS)
        reasons.append((await view.next("input_refused")).reason)
    async with viewing(farm, PHONE, key=ada) as view, serving(farm, agent) as serve:
        await serve.info()
        await view.control(PRESS)
        reasons.append((await view.next("input_refused")).reason)
        hold = await held(farm, agent, bob)
        await view.control(PRESS)
        reasons.append((await view.next("input_refused")).reason)
        await view.control(b"")
        reasons.append((await view.next("input_refused")).reason)
    async with viewing(farm, PHONE, key=bob) as view, serving(farm, agent) as serve:
        await serve.info()
        await view.control(PRESS)
        passed = await serve.order("input")
        gone = pb.InputRefused(reason="hold_ended", message="given back")
        await serve.report(event=pb.ViewEvent(input_refused=gone))
        reasons.append((await view.next("input_refused")).reason)

    assert reasons == [
        "insufficient_scope:operate",
        "hold_required",
        "hold_required",
        "control_not_allowed",
        "hold_ended",
    ]
    assert (passed.run_id, passed.epoch, passed.control) == (
        hold.run.run_id,
        hold.run.epoch,
        PRESS,
    )
    async with asyncio.timeout(PATIENCE):
        while not (ends := await ends_of(farm, "bob")):  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.02)
    assert [text.partition("; ")[2] for text in ends] == [
        f"1 inputs sent under the hold's run {hold.run.run_id}"
    ]


async def test_a_still_and_its_tree(farm: Farm, agent: PlayedAgent) -> None:
    """The picture, the elements, and a line in the audit; or why there is none."""
    request = pb.TakeStillRequest(phone_id=PHONE, format=pb.STILL_FORMAT_PNG, tree=True)
    asking = asyncio.ensure_future(farm.screens.TakeStill(request, metadata=bearer(KEY)))
    async with serving(farm, agent) as serve:
        order = await serve.order("still")
        nodes = [pb.UiNode(parent=-1, text="Search")]
        await serve.report(still=pb.Still(picture=b"png", width=9, height=8, nodes=nodes))
        still = await asking
    asking = asyncio.ensure_future(farm.screens.TakeStill(request, metadata=bearer(KEY)))
    async with serving(farm, agent) as serve:
        await serve.order("still")
        await serve.report(refused=agent_pb2.ScreenRefused(reason="phone_away", message="away"))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await asking

    assert (order.serialno, order.format, order.tree) == ("A1", pb.STILL_FORMAT_PNG, True)
    assert (still.picture, still.nodes[0].text) == (b"png", "Search")
    assert told(refused)[0] == "screen_unavailable:phone_away"
    assert await audited(farm, "take_still") == [("ingest_secret", PHONE, "picture and UI tree")]


async def test_thumbnails_of_the_phones_in_view(
    farm: Farm, agent: PlayedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call of the agent for all its phones; a change of view is an order, not a new call."""
    monkeypatch.setattr(screen_thumbnails, "AGAIN_SECONDS", 0.05)
    call = farm.screens.WatchThumbnails(metadata=bearer(KEY))
    await call.write(pb.ThumbnailsRequest(phone_ids=[PHONE, "ph-x"]))
    unknown = await call.read()
    async with serving(farm, agent) as serve:
        first = await serve.order("thumbnails")
        shown = pb.Thumbnail(jpeg=b"jpeg", width=9, height=8)
        for serialno in ("A1", "A2"):
            served = agent_pb2.ServedThumbnail(serialno=serialno, thumbnail=shown)
            await serve.report(thumbnail=served)
        seen = await call.read()
        await call.write(pb.ThumbnailsRequest(phone_ids=[PHONE, "ph-a2"]))
        while set((second := await serve.order("thumbnails")).serialnos) != {"A1", "A2"}:
            pass
        served = agent_pb2.ServedThumbnail(serialno="A2", thumbnail=shown)
        await serve.report(thumbnail=served)
        other = await call.read()
    away: dict[str, str] = {}
    while len(away) < 2:  # a picture may still be on its way
        if (gone := await call.read()).refused:
            away[gone.phone_id] = gone.refused
    async with serving(farm, agent) as serve:
        again = await serve.order("thumbnails")
        await call.write(pb.ThumbnailsRequest())
        await serve.ended()
    call.cancel()

    assert (unknown.phone_id, unknown.refused) == ("ph-x", "unknown_phone")
    assert list(first.serialnos) == ["A1"]
    assert (seen.phone_id, seen.jpeg) == (PHONE, b"jpeg")
    assert set(second.serialnos) == {"A1", "A2"}
    assert other.phone_id == "ph-a2"
    assert away == {PHONE: "agent_away", "ph-a2": "agent_away"}
    assert set(again.serialnos) == {"A1", "A2"}


class _BusyCall:
    """A call whose peer is slow to read."""

    def __init__(self) -> None:
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()
        self.written = 0

    async def write(self, _order: agent_pb2.ScreenOrder) -> None:
        """Write once the peer reads."""
        self.begun.set()
        await self.may_end.wait()
        self.written += 1


async def test_an_order_under_way_is_written_before_the_call_ends() -> None:
    """A write that is left behind keeps gRPC from ending the call, and the agent would hang."""
    call = _BusyCall()
    link: links.Link[agent_pb2.ScreenOrder, agent_pb2.ScreenReport] = links.Link("agent-1")
    link.orders.put_nowait(agent_pb2.ScreenOrder())
    writing = asyncio.create_task(screen_links._write(link, cast("Any", call)))
    await call.begun.wait()

    writing.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    ended_early = writing.done()
    call.may_end.set()
    await asyncio.wait({writing})

    assert not ended_early
    assert writing.cancelled()
    assert call.written == 1


@pytest.mark.postgres
async def test_the_viewer_may_be_at_another_controller_than_the_agent(
    postgres_url: str, tmp_path: Path
) -> None:
    """The ticket reaches the agent by its own session; it comes to the viewer's controller."""
    async with (
        farm_on(postgres_url, tmp_path / "one") as one,
        farm_on(postgres_url, tmp_path / "two") as two,
        played_agent(one, "A1") as agent,
        viewing(two, PHONE) as view,
    ):
        ticket = await ticket_of(agent)
        async with serving_at(one, ticket) as wrong:
            refused = await wrong.ended()
        async with serving_at(two, ticket) as serve:
            await serve.info()
            info = await view.next("info")

    assert refused is grpc.StatusCode.NOT_FOUND
    assert info.width == 576
