"""App profiles by version."""

from collections.abc import Iterable, Mapping

from sqlalchemy import select

from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.dialect import insert_unless_there
from phonefarm_controller.store.schema.work import app_profiles


async def keep_profile(tx: Transaction, *, version: str, name: str, content: str) -> None:
    """Keep the profile under its version; a kept one stays as it is."""
    values = {"version": version, "name": name, "content": content, "created_at": tx.now}
    await insert_unless_there(tx, app_profiles, values, key=["version"])


async def profiles_by_version(
    tx: Transaction, versions: Iterable[str]
) -> Mapping[str, tuple[str, str]]:
    """Return (name, TOML) of the profile versions."""
    query = select(app_profiles).where(app_profiles.c.version.in_(set(versions)))
    return {row.version: (row.name, row.content) for row in await tx.connection.execute(query)}
