"""Accounts come many at a time, all or none; groups can be read back."""

import json
from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from phonefarm.v1 import fleet_pb2, process_pb2
from phonefarm_common.channel import bearer
from support.controller import KEY, Farm, played_agent, request, told
from support.once import ONE_ENGINE


def account(account_id: str, **changes: Any) -> fleet_pb2.Account:
    """Return an active account bound to phone A1; *changes* replace fields."""
    values: dict[str, Any] = {"phone_id": "ph-a1", "app": "shortvideo", "active": True}
    return fleet_pb2.Account(account_id=account_id, **(values | changes))


async def put(farm: Farm, accounts: Sequence[fleet_pb2.Account]) -> list[fleet_pb2.Account]:
    """Put them together."""
    answer = await farm.fleet.PutAccounts(
        fleet_pb2.PutAccountsRequest(accounts=accounts), metadata=bearer(KEY)
    )
    return list(answer.accounts)


async def all_accounts(farm: Farm) -> dict[str, fleet_pb2.Account]:
    """Return every account by id."""
    answer = await farm.fleet.ListAccounts(fleet_pb2.ListAccountsRequest(), metadata=bearer(KEY))
    return {each.account_id: each for each in answer.accounts}


async def put_group(farm: Farm, kind: Any, name: str, *members: str) -> None:
    """Make these the members of the group."""
    group = fleet_pb2.Group(kind=kind, name=name, member_ids=members)
    await farm.fleet.PutGroup(fleet_pb2.PutGroupRequest(group=group), metadata=bearer(KEY))


async def test_many_accounts_are_put_at_once(farm: Farm) -> None:
    """A thousand, new and known ones; what comes back is what is kept."""
    async with played_agent(farm, "A1"):
        many = [account(f"n{number}", active=number % 2 == 0) for number in range(999)]
        changed = account("acc-A1", phone_id="", condition="needs_attention")

        kept = await put(farm, [*many, changed])

        known = await all_accounts(farm)
        assert len(kept) == 1000
        assert {each.account_id: each for each in kept} == known
        assert known["n3"].condition == "ok"
        assert not known["n3"].active
        assert (known["acc-A1"].phone_id, known["acc-A1"].condition) == ("", "needs_attention")


@ONE_ENGINE
@pytest.mark.parametrize("count", [0, 1001])
async def test_the_number_of_accounts_has_bounds(farm: Farm, count: int) -> None:
    """One to a thousand in a call."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await put(farm, [account(f"n{number}", phone_id="") for number in range(count)])

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert told(refused) == ("invalid_request", ["accounts"])


@ONE_ENGINE
@pytest.mark.parametrize(
    ("changes", "reason", "fields"),
    [
        ({1: {"app": "nope"}}, "invalid_request", ["accounts[1].app"]),
        (
            {0: {"condition": "odd"}, 2: {"phone_id": "not a name", "app": ""}},
            "invalid_request",
            ["accounts[0].condition", "accounts[2].phone_id", "accounts[2].app"],
        ),
        ({2: {"account_id": "n0"}}, "invalid_request", ["accounts[2].account_id"]),
        ({1: {"account_id": ""}}, "invalid_request", ["accounts[1].account_id"]),
        (
            {1: {"phone_id": "ph-what"}, 2: {"phone_id": "ph-who"}},
            "unknown_phone:ph-what",
            ["accounts[1].phone_id", "accounts[2].phone_id"],
        ),
    ],
    ids=str,
)
async def test_one_wrong_account_keeps_all_of_them_out(
    farm: Farm, changes: dict[int, dict[str, Any]], reason: str, fields: list[str]
) -> None:
    """Every wrong one is named by its place; none is kept."""
    async with played_agent(farm, "A1"):
        asked = [
            account(**({"account_id": f"n{number}"} | changes.get(number, {})))
            for number in range(3)
        ]

        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await put(farm, asked)

        assert told(refused) == (reason, fields)
        assert list(await all_accounts(farm)) == ["acc-A1"]


async def test_one_account_names_its_field_too(farm: Farm) -> None:
    """As `account.app`; an unknown phone is not found."""
    for changes, code, field in (
        ({"app": "nope", "phone_id": ""}, grpc.StatusCode.INVALID_ARGUMENT, "account.app"),
        ({"phone_id": "ph-what"}, grpc.StatusCode.NOT_FOUND, "account.phone_id"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await farm.fleet.PutAccount(
                fleet_pb2.PutAccountRequest(account=account("x", **changes)), metadata=bearer(KEY)
            )

        assert refused.value.code() is code
        assert told(refused)[1] == [field]


async def test_accounts_made_inactive_together_end_what_waits_for_them(farm: Farm) -> None:
    """Each process ends and is told; that of an account that stays goes on waiting."""
    async with played_agent(farm, "A1", "B1", "C1"):
        accepted = {}
        for name in ("A1", "B1", "C1"):
            target = process_pb2.Target(
                routing=process_pb2.ROUTING_DIRECT, account_id=f"acc-{name}"
            )
            accepted[name] = (await farm.enqueue(request(target=target))).process_id

        await put(
            farm,
            [
                account("acc-A1", active=False),
                account("acc-B1", phone_id="ph-b1", active=False),
                account("acc-C1", phone_id="ph-c1"),
            ],
        )

        records = {name: await farm.get(process_id) for name, process_id in accepted.items()}
        assert {name: each.status for name, each in records.items()} == {
            "A1": "failed_terminal",
            "B1": "failed_terminal",
            "C1": "queued",
        }
        assert records["B1"].error.code == "account_inactive"
        assert "acc-B1" in records["B1"].error.message
        assert await farm.milestones(accepted["A1"]) == ["accepted", "failed_terminal"]


async def test_groups_are_listed_with_their_members(farm: Farm) -> None:
    """By kind and name; a group is replaced whole, and without members it is none."""
    phone, account_kind = fleet_pb2.GROUP_KIND_PHONE, fleet_pb2.GROUP_KIND_ACCOUNT
    async with played_agent(farm, "A1", "B1"):
        await put_group(farm, phone, "pool", "ph-b1", "ph-a1", "ph-a1")
        await put_group(farm, account_kind, "pool", "acc-A1")
        await put_group(farm, phone, "gone", "ph-a1")
        await put_group(farm, phone, "gone")

        answer = await farm.fleet.ListGroups(fleet_pb2.ListGroupsRequest(), metadata=bearer(KEY))

        assert [(g.kind, g.name, list(g.member_ids)) for g in answer.groups] == [
            (account_kind, "pool", ["acc-A1"]),
            (phone, "pool", ["ph-a1", "ph-b1"]),
        ]


async def set_clean_up(farm: Farm, name: str, *steps: "fleet_pb2.CleanUpStep.ValueType") -> None:
    """Set what is done about a group's phones."""
    asked = fleet_pb2.SetCleanUpRequest(name=name, clean_up=fleet_pb2.CleanUp(steps=steps))
    await farm.fleet.SetCleanUp(asked, metadata=bearer(KEY))


async def test_a_run_is_handed_the_steps_that_its_phones_pools_want(farm: Farm) -> None:
    """None for a phone without a policy; else all that any of its groups names."""
    phone = fleet_pb2.GROUP_KIND_PHONE
    async with played_agent(farm, "A1", "B1") as agent:
        await put_group(farm, phone, "fast", "ph-b1")
        await put_group(farm, phone, "tidy", "ph-b1")
        await put_group(farm, phone, "all", "ph-a1", "ph-b1")
        await set_clean_up(farm, "fast", fleet_pb2.CLEAN_UP_STEP_HOME)
        await set_clean_up(farm, "tidy", fleet_pb2.CLEAN_UP_STEP_REMOVE_ADDED)
        target = process_pb2.Target(routing=process_pb2.ROUTING_GROUP, phone_ids=["ph-a1", "ph-b1"])
        await farm.enqueue(request(target=target))
        await agent.offer()
        assigned = await agent.assigned(2)

    plans = {work.phone_id: json.loads(work.plan_json) for work in assigned}
    assert "clean_up" not in plans["ph-a1"]
    assert plans["ph-b1"]["clean_up"] == ["home", "remove_added"]


async def test_a_group_without_members_has_no_policy_left(farm: Farm) -> None:
    """Made again, it begins anew."""
    phone = fleet_pb2.GROUP_KIND_PHONE
    async with played_agent(farm, "A1"):
        await put_group(farm, phone, "pool", "ph-a1")
        await set_clean_up(farm, "pool")
        before = (await groups_of(farm))[0]
        await put_group(farm, phone, "pool")
        await put_group(farm, phone, "pool", "ph-a1")
        after = (await groups_of(farm))[0]

    assert before.HasField("clean_up")
    assert not before.clean_up.steps
    assert not after.HasField("clean_up")


async def groups_of(farm: Farm) -> list[fleet_pb2.Group]:
    """Return every group."""
    asked = fleet_pb2.ListGroupsRequest()
    return list((await farm.fleet.ListGroups(asked, metadata=bearer(KEY))).groups)


async def test_agents_tell_what_their_runs_run_in(farm: Farm) -> None:
    """As they said at their last hello; an older agent does not say."""
    async with (
        played_agent(farm, "A1", agent_id="new", runtime="docker"),
        played_agent(farm, "B1", agent_id="old", runtime=""),
    ):
        answer = await farm.fleet.ListAgents(fleet_pb2.ListAgentsRequest(), metadata=bearer(KEY))

        told_by = {agent.agent_id: agent.runtime for agent in answer.agents}
        assert told_by == {"new": "docker", "old": ""}
