"""The rules of enqueue that only show with a farm behind them, one test per rule."""

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from phonefarm.v1 import fleet_pb2, process_pb2
from phonefarm_common.channel import bearer
from phonefarm_controller.model.states import Condition
from support.controller import KEY, Farm, played_agent, request, told
from support.once import ONE_ENGINE
from support.world import World, world_on

GROUP, DIRECT = process_pb2.ROUTING_GROUP, process_pb2.ROUTING_DIRECT


def at(seconds: float) -> Timestamp:
    """Return the moment that many seconds from now."""
    stamp = Timestamp()
    stamp.FromDatetime(datetime.now(UTC) + timedelta(seconds=seconds))
    return stamp


async def refused(farm: Farm, **changes: Any) -> tuple[grpc.StatusCode, str, list[str]]:
    """Enqueue what must be refused; return code, reason and fields."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await farm.enqueue(request(**changes))
    return error.value.code(), *told(error)


async def test_a_group_is_the_union_of_all_that_is_named(farm: Farm) -> None:
    """Phones, accounts and the groups' members as of enqueue; each place once."""
    async with played_agent(farm, "A1", "B1", "C1", "D1"):
        for kind, name, members in (
            (fleet_pb2.GROUP_KIND_PHONE, "pool", ["ph-b1"]),
            (fleet_pb2.GROUP_KIND_ACCOUNT, "team", ["acc-C1"]),
        ):
            group = fleet_pb2.Group(kind=kind, name=name, member_ids=members)
            await farm.fleet.PutGroup(fleet_pb2.PutGroupRequest(group=group), metadata=bearer(KEY))
        target = process_pb2.Target(
            routing=GROUP,
            phone_group="pool",
            account_group="team",
            phone_ids=["ph-a1", "ph-a1"] + ["ph-b1"] * 1500,
            account_ids=["acc-A1", "acc-D1"],
        )

        accepted = await farm.enqueue(request(target=target))
        grown = fleet_pb2.Group(
            kind=fleet_pb2.GROUP_KIND_PHONE, name="pool", member_ids=["ph-a1", "ph-b1", "ph-d1"]
        )
        await farm.fleet.PutGroup(fleet_pb2.PutGroupRequest(group=grown), metadata=bearer(KEY))
        record = await farm.get(accepted.process_id)

        places = [(item.phone_id, item.account_id) for item in record.partial_progress.items]
        assert places == [
            ("ph-a1", "acc-A1"),
            ("ph-b1", "acc-B1"),
            ("ph-d1", "acc-D1"),
            ("ph-c1", "acc-C1"),
        ]
        assert (record.target_phone_id, record.target_account_id) == ("", "")


async def test_a_group_of_one_names_its_target(farm: Farm) -> None:
    """As a direct request does."""
    async with played_agent(farm, "A1"):
        target = process_pb2.Target(routing=GROUP, account_ids=["acc-A1"])

        record = await farm.get((await farm.enqueue(request(target=target))).process_id)

        assert (record.target_phone_id, record.target_account_id) == ("ph-a1", "acc-A1")


@ONE_ENGINE
async def test_more_ids_than_any_farm_has_are_refused(farm: Farm) -> None:
    """Ten thousand in a list are looked up, each of them; more are not."""
    missing = [f"n{number}" for number in range(10_000)]
    target = process_pb2.Target(routing=GROUP, phone_ids=missing, account_ids=missing)

    code, reason, _ = await refused(farm, target=target)
    target.account_ids.append("one more")
    too_many = await refused(farm, target=target)

    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "unknown_phone:n0")
    assert too_many == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "invalid_request",
        ["target.account_ids"],
    )


@ONE_ENGINE
@pytest.mark.parametrize(
    ("not_before", "deadline"), [(None, -5), (60, 30), (60, -5), (-60, -5), (60, 60)]
)
async def test_a_deadline_that_cannot_be_met_is_refused(
    farm: Farm, not_before: float | None, deadline: float
) -> None:
    """In the past, or before the work may begin."""
    changes: dict[str, Any] = {"deadline": at(deadline)}
    if not_before is not None:
        changes["not_before"] = at(not_before) if not_before != deadline else changes["deadline"]

    assert await refused(farm, **changes) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "invalid_request",
        ["deadline"],
    )


async def test_a_dry_run_checks_everything_and_creates_nothing(farm: Farm) -> None:
    """It names no process; the request it tried is still new, and equal to it."""
    async with played_agent(farm, "A1", "B1"):
        target = process_pb2.Target(routing=GROUP, phone_ids=["ph-a1", "ph-b1"])
        tried = request(target=target, dry_run=True, request_id="same")
        answer = await farm.enqueue(tried)
        wrong = await refused(
            farm, target=process_pb2.Target(routing=DIRECT, phone_id="no"), dry_run=True
        )
        unverified = await refused(farm, dry_run=True, mode=process_pb2.MODE_UNATTENDED)
        listed = await farm.processes.ListProcesses(
            process_pb2.ListProcessesRequest(), metadata=bearer(KEY)
        )
        made = await farm.enqueue(request(target=target, request_id="same"))
        again = await farm.enqueue(tried)

        assert (answer.process_id, answer.items_planned, answer.process_status) == ("", 2, "queued")
        assert (answer.process_type, answer.request_id) == ("keyword_warmup", "same")
        assert wrong[1] == "unknown_phone:no"
        assert unverified[1] == "capability_not_live_verified:keyword_warmup"
        assert list(listed.processes) == []
        assert not made.duplicate
        assert (again.duplicate, again.request_differs) == (True, False)
        assert again.process_id == made.process_id


async def test_the_key_is_type_system_and_request_id(farm: Farm) -> None:
    """Each of the three makes another process; nothing else does, and what differs is told."""
    async with played_agent(farm, "A1"):
        target = process_pb2.Target(routing=DIRECT, account_id="acc-A1")
        base: dict[str, Any] = {"request_id": "r", "target": target}
        first = await farm.enqueue(request(**base))
        others: list[dict[str, Any]] = [
            {"request_id": "s"},
            {"requested_by": process_pb2.RequestedBy(system="elsewhere")},
            {"capability": "fyp_warmup", "inputs_json": '{"judge_prompt": "p"}'},
        ]
        made = [await farm.enqueue(request(**(base | other))) for other in others]
        repeats: list[dict[str, Any]] = [
            {"priority": 9},
            {"callback": process_pb2.Callback(url="http://other.example/")},
            {"inputs_json": '{"keywords": ["dogs"]}'},
            {"inputs_json": '{"no longer": "valid"}'},
            {"mode": process_pb2.MODE_UNATTENDED},
        ]
        differing = [await farm.enqueue(request(**(base | repeat))) for repeat in repeats]
        same = await farm.enqueue(request(**base))

        assert not any(answer.duplicate for answer in [first, *made])
        assert len({answer.process_id for answer in [first, *made]}) == 4
        assert all(answer.duplicate and answer.request_differs for answer in differing)
        assert (same.duplicate, same.request_differs) == (True, False)
        assert {answer.process_id for answer in [*differing, same]} == {first.process_id}
        assert same.process_status == "queued"


@ONE_ENGINE
async def test_who_asked_is_bounded(farm: Farm) -> None:
    """A name, not a novel."""
    long = process_pb2.RequestedBy(system="tests", user="x" * 257)

    assert await refused(farm, requested_by=long) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "invalid_request",
        ["requested_by.user"],
    )


async def test_a_phone_with_several_accounts_takes_no_open_work(database_url: str) -> None:
    """Which of them should act is not ours to choose, also when one cannot work just now."""
    async with world_on(database_url) as world:
        await world.furnish("a", "p1")
        await world.put_account("second", phone_id="ph-p1")
        await world.accept()

        both = await world.claim(world.offers("a", "p1"))
        await attention(world, "second")
        one_unwell = await world.claim(world.offers("a", "p1"))
        await world.put_account("second", phone_id="ph-p1", active=False)
        one = await world.claim(world.offers("a", "p1"))

        assert (both, one_unwell) == ([], [])
        assert [assignment.account_id for assignment in one] == ["acc-p1"]


async def attention(world: World, account_id: str) -> None:
    """Let the account need somebody's attention."""
    await world.put_account(account_id, phone_id="ph-p1", condition=Condition.NEEDS_ATTENTION)
