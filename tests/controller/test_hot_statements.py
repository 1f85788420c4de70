"""What compiled statements send to the driver itself means the same as through SQLAlchemy."""

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from phonefarm_common.clock import SystemClock
from phonefarm_controller.model.replace import replaced
from phonefarm_controller.store.bulk_writes import LostRowError, insert_rows, update_columns_if
from phonefarm_controller.store.compiled_statements import Statement, among
from phonefarm_controller.store.database import open_database
from phonefarm_controller.store.migrate import migrate
from phonefarm_controller.store.schema.fleet import groups
from phonefarm_controller.store.schema.work import leases
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

MEMBERS = Statement(
    select(groups.c.name, groups.c.member_id)
    .where(among(groups.c.member_id, "ids"), groups.c.kind == "phone")
    .order_by(groups.c.member_id)
)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A value to change."""

    left: int
    right: int


async def test_a_list_of_any_length_is_one_parameter(database_url: str) -> None:
    """None, one and many names are found, and a name with a NUL is one that nothing has."""
    async with open_database(database_url, SystemClock()) as database:
        await migrate(database)
        rows = [{"kind": "phone", "name": "g", "member_id": f"p{n:03}"} for n in range(300)]

        async with database.writing() as tx:
            await insert_rows(tx, groups, rows)
            none = await MEMBERS.rows(tx, ids=[])
            odd = await MEMBERS.rows(tx, ids=["p\0", 'p"]', "p007"])
            many = await MEMBERS.rows(tx, ids=[row["member_id"] for row in rows])

    assert none == []
    assert odd == [("g", "p007")]
    assert many == [("g", row["member_id"]) for row in rows]


async def test_a_text_with_a_nul_is_kept_without_it(database_url: str) -> None:
    """One hostile text among many changes only itself."""
    async with open_database(database_url, SystemClock()) as database:
        await migrate(database)
        rows = [{"kind": "phone", "name": "g", "member_id": name} for name in ("a", "b\0c")]

        async with database.writing() as tx:
            await insert_rows(tx, groups, rows)
            found = await MEMBERS.rows(tx, ids=["a", "b\ufffdc"])

    assert found == [("g", "a"), ("g", "b\ufffdc")]


async def test_a_refused_row_is_an_integrity_error_and_rolls_back(database_url: str) -> None:
    """The driver's own error is told as SQLAlchemy's; nothing of the transaction stays."""
    async with open_database(database_url, SystemClock()) as database:
        await migrate(database)

        async def spoil() -> None:
            async with database.writing() as tx:
                await insert_rows(tx, groups, [{"kind": "phone", "name": "g", "member_id": "a"}])
                await insert_rows(tx, groups, [{"kind": "car", "name": "g", "member_id": "b"}])

        with pytest.raises(IntegrityError):
            await spoil()
        async with database.reading() as tx:
            found = await MEMBERS.rows(tx, ids=["a", "b"])

    assert found == []


async def test_types_of_a_row_survive_the_way_in_and_out(database_url: str) -> None:
    """Moments keep their microseconds and booleans are booleans."""
    moment = datetime(2026, 11, 23, 12, 0, 0, 123457, tzinfo=UTC)
    query = select(leases.c.phone_held, leases.c.granted_at, leases.c.ended_at)
    async with open_database(database_url, SystemClock()) as database:
        await migrate(database)

        async with database.reading() as tx:
            made = Statement(query)._for(tx)  # the way in, without a row to hang on
            held = 1 if tx.connection.dialect.name == "sqlite" else True
            read = made.read([(held, round(moment.timestamp() * 1_000_000), None)])

    assert read == [(True, moment, None)]
    assert read[0][0] is True


async def test_a_row_that_moved_meanwhile_is_noticed_on_sqlite(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A conditional update of a row that is not there any more commits nothing."""
    url = f"sqlite:///{tmp_path_factory.mktemp('farm') / 'farm.db'}"
    async with open_database(url, SystemClock()) as database:
        await migrate(database)

        with pytest.raises(LostRowError, match="1 rows changed meanwhile"):
            async with database.writing() as tx:
                await update_columns_if(
                    tx, groups, was={"name": ["gone"]}, columns={"member_id": ["x"]}
                )


def test_a_changed_value_is_a_new_one_and_knows_its_names() -> None:
    """The old value stays, the new one is equal to one made anew, a wrong name is refused."""
    old = Pair(left=1, right=2)

    new = replaced(old, right=3)

    assert (old, new) == (Pair(left=1, right=2), Pair(left=1, right=3))
    with pytest.raises(TypeError, match=r"Pair has no \['middle'\]"):
        replaced(old, middle=0)
