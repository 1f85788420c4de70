"""Runtime snapshots: the newest stays; each run is handed the one that was current at its claim."""

import asyncio
import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from phonefarm.v1 import agent_pb2, content_pb2, process_pb2
from phonefarm_common.channel import bearer
from phonefarm_controller.model.requests import Routing, Target
from phonefarm_controller.store import account_snapshots
from phonefarm_controller.store.account_snapshots import Snapshot
from phonefarm_controller.store.schema.work import runs
from sqlalchemy import select
from support.controller import KEY, Farm, farm_on, played_agent, request
from support.once import ONE_ENGINE
from support.world import World, world_on

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def wire(**changes: Any) -> content_pb2.UpsertSnapshotRequest:
    """Return a snapshot of the account of phone A1; *changes* replace fields."""
    values: dict[str, Any] = {
        "account_id": "acc-A1",
        "ugc_account_id": "ugc-1",
        "snapshot_id": "snap-1",
        "strategy_version": 3,
        "content_hash": "h",
        "strategy_synced_at": Timestamp(seconds=1_700_000_000, nanos=5_000_000),
        "personality_json": '{"tone": "dry", "n": 1.50}',
        "stage": "warm",
        "active_skills_json": '["a", {"b": 2}]',
    }
    return content_pb2.UpsertSnapshotRequest(**(values | changes))


async def upsert(farm: Farm, **changes: Any) -> bool:
    """Send it; tell whether it was kept."""
    answer = await farm.content.UpsertSnapshot(wire(**changes), metadata=bearer(KEY))
    return bool(answer.upserted)


def of(version: int, minutes: float, *, account_id: str = "acc-p1") -> Snapshot:
    """Return the snapshot of that version, synced that many minutes after the begin."""
    return Snapshot(
        account_id=account_id,
        snapshot_id=f"{version}@{minutes}",
        strategy_version=version,
        strategy_synced_at=BEGIN + timedelta(minutes=minutes),
        body=json.dumps({"version": version}),
    )


@pytest.mark.parametrize(
    ("stored", "incoming", "kept"),
    [
        ((2, 0), (1, 9), False),  # an older version, however late it was synced
        ((2, 0), (3, -9), True),  # a newer one, however early
        ((2, 5), (2, 4), False),
        ((2, 5), (2, 5), True),  # the same again
        ((2, 5), (2, 6), True),
    ],
)
async def test_what_is_newer_stays(
    database_url: str, stored: tuple[int, float], incoming: tuple[int, float], *, kept: bool
) -> None:
    """By version, then by the moment it was synced; what is stale changes nothing."""
    async with world_on(database_url) as world:
        await world.furnish("a", "p1")
        await world.upsert_snapshot(of(*stored))

        upserted = await world.upsert_snapshot(of(*incoming))

        assert upserted is kept
        assert await current(world) == of(*(incoming if kept else stored))


async def current(world: World) -> Snapshot | None:
    """Return what is stored of acc-p1."""
    async with world.database.reading() as tx:
        return await account_snapshots.get(tx, "acc-p1")


async def test_of_many_at_once_the_newest_stays(database_url: str) -> None:
    """Whatever the order they come in, on one controller."""
    async with world_on(database_url) as world:
        await world.furnish("a", "p1")
        many = [of(version, minutes) for version in range(6) for minutes in range(5)]
        random.Random(1).shuffle(many)

        await asyncio.gather(*(world.upsert_snapshot(each) for each in many))

        assert await current(world) == of(5, 4)


@pytest.mark.postgres
async def test_of_many_on_two_controllers_the_newest_stays(postgres_url: str) -> None:
    """Also the first two of an account, which find no row to lock."""
    async with world_on(postgres_url) as one, world_on(postgres_url) as two:
        for number in range(8):
            name = f"p{number}"
            await one.furnish("a", name)
            many = [of(version, 0, account_id=f"acc-{name}") for version in (3, 1, 4, 2)]

            await asyncio.gather(
                *(world.upsert_snapshot(each) for each in many for world in (one, two))
            )

            async with one.database.reading() as tx:
                stored = await account_snapshots.get(tx, f"acc-{name}")
            assert stored == many[2]


async def test_a_run_is_handed_the_snapshot_of_its_claim(farm: Farm) -> None:
    """The caller's objects word for word; a later snapshot is for later runs."""
    async with played_agent(farm, "A1") as agent:
        await farm.enqueue(request())
        await agent.offer()
        (bare,) = await agent.assigned()
        await agent.act_out(bare)
        assert await upsert(farm)

        await farm.enqueue(request())
        await agent.offer()
        (handed,) = await agent.assigned()
        assert await upsert(farm, strategy_version=4, snapshot_id="snap-2")
        desired = (await agent.hear("desired")).claimed
        while not desired:
            desired = (await agent.hear("desired")).claimed

        assert json.loads(bare.plan_json)["snapshot"] is None
        assert json.loads(handed.plan_json)["snapshot"] == {
            "account_id": "acc-A1",
            "ugc_account_id": "ugc-1",
            "snapshot_id": "snap-1",
            "strategy_version": 3,
            "content_hash": "h",
            "strategy_synced_at": "2023-11-14T22:13:20.005Z",
            "stage": "warm",
            "active_action": None,
            "personality": {"tone": "dry", "n": 1.5},
            "active_skills": ["a", {"b": 2}],
        }
        assert '{"tone": "dry", "n": 1.50}' in handed.plan_json
        assert [again.plan_json for again in desired] == [handed.plan_json]
        await agent.act_out(handed)
        await farm.enqueue(request())
        await agent.offer()
        (newest,) = await agent.assigned()
        assert json.loads(newest.plan_json)["snapshot"]["snapshot_id"] == "snap-2"
        # What the run does is not changed by it.
        plans = [json.loads(each.plan_json)["actions"] for each in (bare, handed, newest)]
        assert plans[0] == plans[1] == plans[2]


async def test_the_run_keeps_what_it_was_handed(database_url: str) -> None:
    """With the id of the snapshot, and the runtime of its agent."""
    async with world_on(database_url) as world:
        await world.furnish("a", "p1", "p2")
        await world.upsert_snapshot(of(7, 0))
        for name in ("p1", "p2"):
            await world.accept(target=Target(routing=Routing.DIRECT, phone_id=f"ph-{name}"))

        claimed = await world.claim(world.offers("a", "p1", "p2"))

        async with world.database.reading() as tx:
            columns = (runs.c.account_id, runs.c.snapshot_id, runs.c.snapshot, runs.c.runtime)
            rows = (await tx.connection.execute(select(*columns).order_by(runs.c.account_id))).all()
        assert len(claimed) == 2
        assert [tuple(row) for row in rows] == [
            ("acc-p1", "7@0", '{"version": 7}', "process"),
            ("acc-p2", None, None, "process"),
        ]


@ONE_ENGINE
@pytest.mark.parametrize(
    ("changes", "code", "reason"),
    [
        ({"account_id": "who"}, grpc.StatusCode.NOT_FOUND, "unknown account"),
        ({"account_id": ""}, grpc.StatusCode.INVALID_ARGUMENT, "account_id"),
        ({"ugc_account_id": ""}, grpc.StatusCode.INVALID_ARGUMENT, "ugc_account_id"),
        ({"snapshot_id": ""}, grpc.StatusCode.INVALID_ARGUMENT, "snapshot_id"),
        ({"content_hash": ""}, grpc.StatusCode.INVALID_ARGUMENT, "content_hash"),
        ({"strategy_version": 0}, grpc.StatusCode.INVALID_ARGUMENT, "strategy_version"),
        ({"strategy_version": -1}, grpc.StatusCode.INVALID_ARGUMENT, "strategy_version"),
        ({"strategy_synced_at": None}, grpc.StatusCode.INVALID_ARGUMENT, "strategy_synced_at"),
        ({"personality_json": ""}, grpc.StatusCode.INVALID_ARGUMENT, "personality"),
        ({"personality_json": "[]"}, grpc.StatusCode.INVALID_ARGUMENT, "personality"),
        ({"personality_json": "{}, 1"}, grpc.StatusCode.INVALID_ARGUMENT, "personality"),
        ({"active_skills_json": "{}"}, grpc.StatusCode.INVALID_ARGUMENT, "active_skills"),
        ({"active_skills_json": '[], "x": 1'}, grpc.StatusCode.INVALID_ARGUMENT, "active_skills"),
        ({"active_skills_json": '[], "array": []'}, grpc.StatusCode.INVALID_ARGUMENT, "skills"),
    ],
    ids=str,
)
async def test_a_wrong_snapshot_is_refused(
    farm: Farm, changes: dict[str, Any], code: grpc.StatusCode, reason: str
) -> None:
    """The field is named; text that would smuggle in another field is none of JSON's values."""
    async with played_agent(farm, "A1"):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await upsert(farm, **changes)

        assert refused.value.code() is code
        assert reason in (refused.value.details() or "")


async def test_many_long_plans_reach_their_agent(database_url: str, tmp_path: Path) -> None:
    """More than fits in one message, pushed and repeated: the session lives, nothing is missing."""
    phones = [f"L{number}" for number in range(80)]
    async with (
        # Of full patience, or a busy machine takes claims back that nobody comes to start.
        farm_on(database_url, tmp_path / "data", scale=1, desired=0.25) as farm,
        played_agent(farm, *phones) as agent,
    ):
        large = json.dumps({"tone": "x" * 60_000})
        for phone in phones:
            assert await upsert(farm, account_id=f"acc-{phone}", personality_json=large)
        inputs = {"keywords": ["k" * 40] * 20, "videos_per_keyword": 50, "watch_seconds": 1}
        target = process_pb2.Target(
            routing=process_pb2.ROUTING_GROUP, phone_ids=[f"ph-{name.lower()}" for name in phones]
        )
        await farm.enqueue(request(target=target, inputs_json=json.dumps(inputs)))
        await agent.offer()

        assigned: dict[str, agent_pb2.Assignment] = {}
        while len(assigned) < len(phones):  # some may come twice: the list repeats them
            assigned |= {each.run.run_id: each for each in await agent.assigned()}
        # What was pushed has come: this is the list. One that was made before the last claims may
        # lack some, and the next has others in its first message.
        repeated: set[str] = set()
        while len(repeated) < len(phones):
            said = await agent.hear("desired", "assignments")
            again = said.claimed if isinstance(said, agent_pb2.Desired) else said.assignments
            repeated |= {each.run.run_id for each in again}

        assert sum(each.ByteSize() for each in assigned.values()) > 8 * 1024 * 1024
        assert repeated == assigned.keys()
