"""App profiles by version."""

from collections.abc import Iterable, Mapping

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.tables import app_profiles


async def keep_profile(tx: Transaction, *, version: str, name: str, content: str) -> None:
    """Keep the profile under its version; a kept one stays as it is."""
    build = postgresql.insert if tx.connection.dialect.name == "postgresql" else sqlite.insert
    values = {"version": version, "name": name, "content": content, "created_at": tx.now}
    await tx.connection.execute(
        build(app_profiles).values(values).on_conflict_do_nothing(index_elements=["version"])
    )


async def profiles_by_version(
    tx: Transaction, versions: Iterable[str]
) -> Mapping[str, tuple[str, str]]:
    """Return (name, TOML) of the profile versions."""
    query = select(app_profiles).where(app_profiles.c.version.in_(set(versions)))
    return {row.version: (row.name, row.content) for row in await tx.connection.execute(query)}
