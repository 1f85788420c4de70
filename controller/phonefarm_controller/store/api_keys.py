"""API keys: each caller is known by the digest of its key."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, or_, select, text, update

from phonefarm_controller.model.scopes import Scope
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.dialect import insert_unless_there
from phonefarm_controller.store.schema.access import api_keys

_k = api_keys.c
_LIVE: Final = text("revoked_at IS NULL")


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A named key; only its owner knows its text."""

    key_id: str
    name: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None


_NAMES = tuple(ApiKey.__dataclass_fields__)
_COLUMNS = [api_keys.c[name] for name in _NAMES]


async def insert_if_free(tx: Transaction, new: ApiKey, *, digest: str) -> bool:
    """Insert the key unless an unrevoked one has its name."""
    values = {name: getattr(new, name) for name in _NAMES}
    values |= {"scopes": " ".join(new.scopes), "digest": digest}
    return await insert_unless_there(tx, api_keys, values, key=["name"], where=_LIVE)


async def with_digest(tx: Transaction, digest: str) -> ApiKey | None:
    """Return the key with this digest, also a revoked or expired one; None when there is none."""
    query = select(*_COLUMNS).where(_k.digest == digest)
    row = (await tx.connection.execute(query)).one_or_none()
    return None if row is None else _key(row)


async def any_unrevoked(tx: Transaction) -> bool:
    """Tell whether there is a key that was not revoked."""
    query = select(_k.key_id).where(_LIVE).limit(1)
    return (await tx.connection.execute(query)).one_or_none() is not None


async def all_of(tx: Transaction, *, limit: int) -> list[ApiKey]:
    """Return the unrevoked keys by name, then the revoked ones, the newest first."""
    query = (
        select(*_COLUMNS)
        .order_by(_k.revoked_at.is_not(None), _k.revoked_at.desc(), _k.name)
        .limit(limit)
    )
    return [_key(row) for row in await tx.connection.execute(query)]


async def revoke_if_live(tx: Transaction, name: str) -> ApiKey | None:
    """Revoke the unrevoked key of this name and return it; None when there is none."""
    statement = (
        update(api_keys)
        .where(_k.name == name, _k.revoked_at.is_(None))
        .values(revoked_at=tx.now)
        .returning(*_COLUMNS)
    )
    row = (await tx.connection.execute(statement)).one_or_none()
    return None if row is None else _key(row)


async def note_use_if_older(tx: Transaction, key_id: str, *, than: timedelta) -> None:
    """Write that the key is used now, unless that was written within *than*."""
    await tx.connection.execute(
        update(api_keys)
        .where(
            _k.key_id == key_id, or_(_k.last_used_at.is_(None), _k.last_used_at <= tx.now - than)
        )
        .values(last_used_at=tx.now)
    )


def _key(row: Row[Any]) -> ApiKey:
    values = row._asdict()
    values["scopes"] = _scopes(values["scopes"])
    return ApiKey(**values)


def _scopes(words: str) -> Sequence[Scope]:
    """Read the column; a word of a later release grants nothing here."""
    known = {str(scope) for scope in Scope}
    return tuple(Scope(word) for word in words.split() if word in known)
