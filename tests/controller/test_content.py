"""Ingest: contents become posts, once each; what waits can be withdrawn."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from phonefarm.v1 import agent_pb2, content_pb2, fleet_pb2
from phonefarm_common.channel import bearer
from phonefarm_common.reasons import FailureClass, FarmError
from phonefarm_common.wire_enums import RunOutcome
from phonefarm_controller.capabilities.planners.post_video import caption_of
from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.run_reports import RunEnded
from phonefarm_controller.processes.content import CancelledContent, IngestRequest
from support.controller import KEY, Farm, PlayedAgent, played_agent, told
from support.once import ONE_ENGINE
from support.world import World, world_on

VIDEO = "https://videos.example/a.mp4"


def content(**changes: Any) -> content_pb2.IngestRequest:
    """Return a video for the account of phone A1; *changes* replace fields."""
    values: dict[str, Any] = {
        "content_id": "c1",
        "account_id": "acc-A1",
        "video_url": VIDEO,
        "caption": "My cat",
        "hashtags": ["cats", "#fyp"],
        "callback_url": "http://127.0.0.1:9/cb",
        "metadata_json": '{"n": 1}',
    }
    return content_pb2.IngestRequest(**(values | changes))


async def ingest(farm: Farm, **changes: Any) -> content_pb2.IngestResponse:
    """Send it with the good key."""
    answer: content_pb2.IngestResponse = await farm.content.Ingest(
        content(**changes), metadata=bearer(KEY)
    )
    return answer


async def withdraw(farm: Farm, content_id: str = "c1") -> content_pb2.CancelContentResponse:
    """Cancel the content."""
    answer: content_pb2.CancelContentResponse = await farm.content.CancelContent(
        content_pb2.CancelContentRequest(
            content_id=content_id, account_id="acc-A1", reason="changed my mind"
        ),
        metadata=bearer(KEY),
    )
    return answer


async def found(farm: Farm, **changes: str) -> content_pb2.FindContentResponse:
    """Ask whether it was taken in before."""
    values = {"content_id": "c1", "account_id": "acc-A1"} | changes
    answer: content_pb2.FindContentResponse = await farm.content.FindContent(
        content_pb2.FindContentRequest(**values), metadata=bearer(KEY)
    )
    return answer


def in_seconds(seconds: float) -> Timestamp:
    """Return the moment that many seconds from now."""
    stamp = Timestamp()
    stamp.FromDatetime(datetime.now(UTC) + timedelta(seconds=seconds))
    return stamp


async def test_a_content_becomes_a_post_and_its_caller_hears_of_it(farm: Farm) -> None:
    """One process without a request_id, one item for the account; the plan posts once."""
    async with played_agent(farm, "A1") as agent:
        before = await found(farm)
        taken = await ingest(farm)
        await agent.offer()
        (assignment,) = await agent.assigned()
        await agent.act_out(assignment)
        record = await farm.until(taken.process_id, "completed")

        assert not before.queue_item_id
        assert (taken.queue_status, taken.duplicate) == ("QUEUED", False)
        assert (record.process_type, record.request_id) == ("post_video", "")
        assert (record.requested_by.system, record.requested_by.metadata_json) == ("ingest", "{}")
        assert (record.callback.url, record.callback.metadata_json) == (
            "http://127.0.0.1:9/cb",
            '{"n": 1}',
        )
        assert list(record.queue_item_ids) == [taken.queue_item_id]
        assert (record.target_phone_id, record.target_account_id) == ("ph-a1", "acc-A1")
        actions = json.loads(assignment.plan_json)["actions"]
        text = "My cat #cats #fyp"
        assert [(action["kind"], action["params"]) for action in actions] == [
            ("fetch_asset", {"asset": "video", "url": VIDEO, "type": "video"}),
            ("push_file", {"asset": "video"}),
            ("share_video", {"asset": "video"}),
            ("write_caption", {"text": text}),
            ("confirm_post", {}),
            ("verify_posted", {"caption": text}),
            ("stop_app", {}),
        ]
        once = [action["kind"] for action in actions if action["repeat"] == "once"]
        assert once == ["confirm_post"]
        told = await farm.milestones(taken.process_id)
        assert told == ["accepted", "executing", "completed"]
        after = await found(farm)
        assert (after.queue_item_id, after.queue_status) == (taken.queue_item_id, "DONE")


async def test_a_content_without_a_callback_tells_nobody(farm: Farm) -> None:
    """Its record has none."""
    async with played_agent(farm, "A1"):
        taken = await ingest(farm, callback_url="", metadata_json="")

        record = await farm.get(taken.process_id)

        assert not record.HasField("callback")
        assert await farm.milestones(taken.process_id) == []


async def test_fifty_identical_contents_at_once_make_one_post(farm: Farm) -> None:
    """The key is (account_id, content_id): each repeat gets the same item, as it is now."""
    async with played_agent(farm, "A1", "B1"):
        answers = await asyncio.gather(*(ingest(farm) for _ in range(50)))
        other = await ingest(farm, account_id="acc-B1")
        second = await ingest(farm, content_id="c2")

        assert len({answer.queue_item_id for answer in answers}) == 1
        assert sum(not answer.duplicate for answer in answers) == 1
        assert {answer.queue_status for answer in answers} == {"QUEUED"}
        assert not other.duplicate
        assert not second.duplicate
        await withdraw(farm)
        again = await ingest(farm, caption="another")
        assert (again.duplicate, again.queue_status) == (True, "CANCELLED")


@pytest.mark.parametrize(("seconds", "state"), [(3600, "SCHEDULED"), (-3600, "QUEUED")])
async def test_the_scheduling_hint_says_when(farm: Farm, seconds: float, state: str) -> None:
    """A moment to come schedules; one that has passed is now."""
    async with played_agent(farm, "A1"):
        taken = await ingest(farm, scheduling_hint=in_seconds(seconds))

        assert taken.queue_status == state
        assert (await found(farm)).queue_status == state
        assert (await withdraw(farm)).previous_status == state


async def test_scheduled_content_starts_at_its_moment(farm: Farm) -> None:
    """Nobody has to ask again."""
    async with played_agent(farm, "A1") as agent:
        await agent.offer()
        taken = await ingest(farm, scheduling_hint=in_seconds(0.5))

        (assignment,) = await agent.assigned()

        assert taken.queue_status == "SCHEDULED"
        assert assignment.process_id == taken.process_id


async def test_the_account_is_looked_at_before_anything_else(farm: Farm) -> None:
    """Unknown and inactive are 404, also for a repeat; bound to no phone is wrong only when new."""
    async with played_agent(farm, "A1"):
        await ingest(farm)
        for account_id, phone_id, active in (
            ("off", "ph-a1", False),
            ("loose", "", True),
            ("acc-A1", "", True),  # bound to no phone since
        ):
            account = fleet_pb2.Account(
                account_id=account_id, phone_id=phone_id, app="shortvideo", active=active
            )
            await farm.fleet.PutAccount(
                fleet_pb2.PutAccountRequest(account=account), metadata=bearer(KEY)
            )

        for call in (ingest, found):
            for account_id, reason in (("who", "unknown_account"), ("off", "inactive_account")):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await call(farm, account_id=account_id)
                assert refused.value.code() is grpc.StatusCode.NOT_FOUND
                assert told(refused) == (f"{reason}:{account_id}", ["account_id"])
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ingest(farm, account_id="loose")
        assert told(refused)[0] == "account_not_on_phone"
        assert (await ingest(farm)).duplicate


@ONE_ENGINE
@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"content_id": ""}, ["content_id"]),
        ({"content_id": "x" * 257}, ["content_id"]),
        ({"account_id": " "}, ["account_id"]),
        ({"video_url": ""}, ["video_url"]),
        ({"video_url": "ftp://x/y"}, ["video_url"]),
        ({"video_url": "file:///etc/passwd", "caption": ""}, ["video_url", "caption"]),
        ({"caption": ""}, ["caption"]),
        ({"caption": "x" * 4001}, ["caption"]),
        ({"caption": "a\0b"}, ["caption"]),
        ({"hashtags": ["a"] * 101}, ["hashtags"]),
        ({"hashtags": ["a", "", "x" * 101]}, ["hashtags[1]", "hashtags[2]"]),
        ({"sound_id": "x" * 257}, ["sound_id"]),
        ({"cover_image_url": "nowhere"}, ["cover_image_url"]),
        ({"callback_url": "nowhere"}, ["callback_url"]),
        ({"metadata_json": "[]"}, ["metadata"]),
        ({"metadata_json": "{"}, ["metadata"]),
        ({"scheduling_hint": Timestamp(seconds=2**60)}, ["scheduling_hint"]),
    ],
    ids=str,
)
async def test_a_wrong_content_names_its_fields(
    farm: Farm, changes: dict[str, Any], fields: list[str]
) -> None:
    """All that is wrong of one kind at once; nothing is kept."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ingest(farm, **changes)

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert told(refused) == ("invalid_request", fields)


def test_each_hashtag_has_one_leading_hash() -> None:
    """With one, none or several; what is no name is left out."""
    assert caption_of("Hi", []) == "Hi"
    assert caption_of("Hi", ["a", "#b", "##c", " #d ", "#", "é"]) == "Hi #a #b #c #d #é"


async def test_only_what_waits_can_be_withdrawn(farm: Farm) -> None:
    """QUEUED and RETRYABLE end at once; what is claimed, runs or has ended is a conflict."""
    async with played_agent(farm, "A1") as agent:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await withdraw(farm)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        assert told(refused)[0] == "unknown_content"

        queued = await ingest(farm, content_id="queued")
        answer = await withdraw(farm, "queued")
        assert (answer.queue_item_id, answer.previous_status) == (queued.queue_item_id, "QUEUED")
        milestones = await farm.milestones(queued.process_id)
        assert milestones == ["accepted", "cancel_requested", "cancelled"]
        record = await farm.get(queued.process_id)
        assert (record.error.code, record.error.message) == (
            "cancelled",
            "cancelled: changed my mind",
        )
        await conflict(farm, "queued", "CANCELLED")

        taken = await ingest(farm, content_id="run")
        await agent.offer()
        (assignment,) = await agent.assigned()
        await conflict(farm, "run", "CLAIMED")
        await agent.start(assignment.run)
        await conflict(farm, "run", "EXECUTING")
        await agent.report(*agent.whole_run(assignment))
        await farm.until(taken.process_id, "completed")
        await conflict(farm, "run", "DONE")

        lost = await ingest(farm, content_id="lost")
        await fail(agent, final=True)
        await farm.until(lost.process_id, "failed_terminal")
        await conflict(farm, "lost", "DEAD_LETTER")


async def conflict(farm: Farm, content_id: str, state: str) -> None:
    """Fail unless cancelling is refused because of the state."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await withdraw(farm, content_id)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert told(refused)[0] == f"state_conflict:{state}"


async def fail(agent: PlayedAgent, *, final: bool) -> None:
    """Take the next assignment and fail it before the post."""
    await agent.offer()
    (assignment,) = await agent.assigned()
    await agent.start(assignment.run)
    failure = agent_pb2.Failure(
        code="phone_lost", failure_class=agent_pb2.FAILURE_CLASS_INFRA, final=final
    )
    await agent.report(*agent.failed_run(assignment.run, failure))


async def test_what_waits_for_another_attempt_can_be_withdrawn(database_url: str) -> None:
    """RETRYABLE is waiting too."""
    async with world_on(database_url) as world:
        await world.furnish("a", "p1")
        taken = await world.content.ingest(ask())
        (assignment,) = await world.claim(world.offers("a", "p1"))
        await world.begin(assignment)
        lost = Failure(code="phone_lost", message="", failure_class=FailureClass.INFRA)
        await world.tell(
            assignment, 1, RunEnded(outcome=RunOutcome.FAILED, failure=lost, exit_code=None)
        )

        withdrawn = await cancel(world)

        assert (withdrawn.item_id, withdrawn.previous) == (taken.item_id, "RETRYABLE")


def ask(**changes: Any) -> IngestRequest:
    """Return a content for the account of phone p1."""
    values: dict[str, Any] = {
        "content_id": "c1",
        "account_id": "acc-p1",
        "inputs": {"video_url": VIDEO, "caption": "Hi"},
        "callback_url": "http://127.0.0.1:9/cb",
        "not_before": None,
        "metadata": "{}",
        "digest": "d",
    }
    return IngestRequest(**(values | changes))


async def cancel(world: World, content_id: str = "c1") -> CancelledContent:
    """Withdraw a content of acc-p1."""
    withdrawn: CancelledContent = await world.content.cancel(
        "acc-p1", content_id, reason="r", requested_by="test"
    )
    return withdrawn


@pytest.mark.postgres
async def test_two_controllers_take_a_content_in_once(postgres_url: str) -> None:
    """Whichever is first; the other finds it."""
    async with world_on(postgres_url) as one, world_on(postgres_url) as two:
        await one.furnish("a", "p1")
        for number in range(10):
            wanted = ask(content_id=f"c{number}")

            answers = await asyncio.gather(
                *(world.content.ingest(wanted) for world in (one, two) for _ in range(3))
            )

            assert len({answer.item_id for answer in answers}) == 1
            assert sum(not answer.duplicate for answer in answers) == 1


@pytest.mark.postgres
async def test_a_withdrawal_that_races_a_claim_ends_it_or_is_refused(postgres_url: str) -> None:
    """On two connections: cancelled and never claimed, or claimed and a conflict; nothing else."""
    async with world_on(postgres_url) as one, world_on(postgres_url) as two:
        names = [f"p{number}" for number in range(16)]
        await one.furnish("a", *names)
        two.terms = dict(one.terms)
        outcomes = set()
        for name in names:
            account = f"acc-{name}"
            await one.content.ingest(ask(account_id=account))

            claimed, answer = await asyncio.gather(
                one.claim(one.offers("a", name)),
                two.content.cancel(account, "c1", reason="r", requested_by="test"),
                return_exceptions=True,
            )

            assert not isinstance(claimed, BaseException)
            if isinstance(answer, FarmError):
                assert answer.text == "state_conflict:CLAIMED"
                assert len(claimed) == 1
            else:
                assert isinstance(answer, CancelledContent)
                assert answer.previous == "QUEUED"
                assert claimed == []
            state = await one.content.ingest(ask(account_id=account))
            outcomes.add(state.state)
            assert state.state == ("CLAIMED" if claimed else "CANCELLED")
        assert outcomes <= {"CLAIMED", "CANCELLED"}
