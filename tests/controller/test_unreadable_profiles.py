"""An app profile that an older release kept and this one cannot read: its items end."""

from phonefarm_controller.model.requests import Routing, Target
from phonefarm_controller.model.states import ItemState
from phonefarm_controller.store import items
from phonefarm_controller.store.schema.delivery import deliveries
from phonefarm_controller.store.schema.work import app_profiles, queue_items
from sqlalchemy import select
from support.world import World, world_on

BROKEN = "what a newer format forbids = ["


async def freeze_broken(world: World, process_id: str) -> None:
    """Make the process's items hang on a kept profile that cannot be read."""
    async with world.database.writing() as tx:
        row = {"version": "v", "name": "old", "content": BROKEN, "created_at": tx.now}
        await tx.connection.execute(app_profiles.insert().values(row))
        await tx.connection.execute(
            queue_items.update()
            .where(queue_items.c.process_id == process_id)
            .values(profile_version="v")
        )


async def state_of(world: World, process_id: str) -> tuple[ItemState, str | None]:
    """Return the state of the process's only item, and its failure's code."""
    async with world.database.writing() as tx:
        (item,) = (await items.lock_of_processes(tx, {process_id})).values()
    return item.state, item.failure.code if item.failure else None


async def test_an_item_whose_profile_cannot_be_read_ends_at_its_claim(database_url: str) -> None:
    """plan_invalid, told to its caller; in the same claim another phone gets its work."""
    async with world_on(database_url) as world:
        await world.furnish("a", "p1", "p2")
        first, second = [
            await world.accept(target=Target(routing=Routing.DIRECT, phone_id=f"ph-{name}"))
            for name in ("p1", "p2")
        ]
        await freeze_broken(world, first)

        claimed = await world.claim(world.offers("a", "p1", "p2"))
        again = await world.claim(world.offers("a", "p1"))

        assert [assignment.process_id for assignment in claimed] == [second]
        assert again == []
        assert await state_of(world, first) == (ItemState.DEAD_LETTER, "plan_invalid")
        async with world.database.reading() as tx:
            query = select(deliveries.c.milestone).where(deliveries.c.process_id == first)
            told = (await tx.connection.execute(query.order_by(deliveries.c.sequence))).scalars()
            assert list(told) == ["accepted", "failed_terminal"]


async def test_one_process_may_have_both(database_url: str) -> None:
    """A group whose one item cannot be read and whose other is claimed at the same moment."""
    async with world_on(database_url) as world:
        await world.furnish("a", "p1", "p2")
        group = Target(routing=Routing.GROUP, phone_ids=("ph-p1", "ph-p2"))
        process_id = await world.accept(target=group)
        await freeze_broken(world, process_id)
        good = next(iter(world.profiles.values())).version
        async with world.database.writing() as tx:
            await tx.connection.execute(
                queue_items.update()
                .where(queue_items.c.want_phone_id == "ph-p2")
                .values(profile_version=good)
            )

        (assignment,) = await world.claim(world.offers("a", "p1", "p2"))

        async with world.database.writing() as tx:
            now = (await items.lock_of_processes(tx, {process_id})).values()
        assert assignment.phone_id == "ph-p2"
        assert {item.want_phone_id: item.state for item in now} == {
            "ph-p1": ItemState.DEAD_LETTER,
            "ph-p2": ItemState.CLAIMED,
        }


async def test_a_claim_that_becomes_unreadable_does_not_silence_its_agent(
    database_url: str,
) -> None:
    """After an upgrade: the desired list still names the rest; nobody starts what it leaves out."""
    async with world_on(database_url) as world:
        await world.furnish("a", "p1", "p2")
        first, second = [
            await world.accept(target=Target(routing=Routing.DIRECT, phone_id=f"ph-{name}"))
            for name in ("p1", "p2")
        ]
        lost, _ = sorted(
            await world.claim(world.offers("a", "p1", "p2")), key=lambda each: each.phone_id
        )
        await freeze_broken(world, first)

        desired = await world.desire("a")
        await world.lease_expiry.void(lost.run.lease_id)
        async with world.database.writing() as tx:
            (item,) = (await items.lock_of_processes(tx, {first})).values()

        assert [assignment.process_id for assignment in desired.claimed] == [second]
        assert item.state is ItemState.QUEUED
