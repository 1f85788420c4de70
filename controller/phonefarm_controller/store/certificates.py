"""Stores the members: the authority's fingerprint, the invitations, and the valid certificates."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, func, insert, select, update

from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.dialect import insert_unless_there
from phonefarm_controller.store.schema.access import authorities, certificates, invitations

_FARM: Final = "farm"
_c = certificates.c
_i = invitations.c


@dataclass(frozen=True, kw_only=True)
class StoredInvitation:
    """A stored invitation; only the host that was given it knows its secret."""

    invitation_id: str
    role: str
    member_id: str
    created_at: datetime
    created_by: str
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """An issued certificate."""

    serial: str
    role: str
    member_id: str
    issued_at: datetime
    expires_at: datetime


async def authority_or_new(tx: Transaction, fingerprint: str) -> str:
    """Return the fingerprint of the farm's authority; *fingerprint* when there was none."""
    values = {"farm": _FARM, "fingerprint": fingerprint}
    await insert_unless_there(tx, authorities, values)
    known: str = (await tx.connection.execute(select(authorities.c.fingerprint))).scalar_one()
    return known


async def invite(tx: Transaction, new: StoredInvitation, *, digest: str) -> None:
    """Keep the invitation; those that ended a week ago are forgotten."""
    await tx.connection.execute(
        delete(invitations).where(_i.expires_at < tx.now - timedelta(days=7))
    )
    values = {name: getattr(new, name) for name in StoredInvitation.__dataclass_fields__}
    await tx.connection.execute(insert(invitations).values(values | {"digest": digest}))


async def use_if_open(tx: Transaction, digest: str) -> StoredInvitation | None:
    """Use up the invitation with this digest and return it; None unless it is open now."""
    statement = (
        update(invitations)
        .where(_i.digest == digest, _i.used_at.is_(None), _i.expires_at > tx.now)
        .values(used_at=tx.now)
        .returning(*(invitations.c[name] for name in StoredInvitation.__dataclass_fields__))
    )
    row = (await tx.connection.execute(statement)).one_or_none()
    return None if row is None else StoredInvitation(**row._asdict())


async def keep_certificate(tx: Transaction, new: Certificate) -> None:
    """Keep a certificate; the member's that ended a week ago are forgotten, but not the last."""
    values = {name: getattr(new, name) for name in Certificate.__dataclass_fields__}
    await tx.connection.execute(insert(certificates).values(values))
    await tx.connection.execute(
        delete(certificates).where(
            _c.role == new.role,
            _c.member_id == new.member_id,
            _c.serial != new.serial,
            _c.expires_at < tx.now - timedelta(days=7),
        )
    )


async def counts(tx: Transaction, *, serial: str, role: str, member_id: str) -> bool:
    """Tell whether this certificate was issued here, has not ended, and was not revoked."""
    query = select(_c.serial).where(
        _c.serial == serial,
        _c.role == role,
        _c.member_id == member_id,
        _c.revoked_at.is_(None),
        _c.expires_at > tx.now,
    )
    return (await tx.connection.execute(query)).one_or_none() is not None


async def known(tx: Transaction, *, role: str, member_id: str) -> bool:
    """Tell whether a member of this name ever had a certificate."""
    query = select(_c.serial).where(_c.role == role, _c.member_id == member_id).limit(1)
    return (await tx.connection.execute(query)).one_or_none() is not None


async def revoke_live(tx: Transaction, *, role: str, member_id: str) -> int:
    """Revoke every certificate of the member that counts; return how many."""
    result = await tx.connection.execute(
        update(certificates)
        .where(
            _c.role == role,
            _c.member_id == member_id,
            _c.revoked_at.is_(None),
            _c.expires_at > tx.now,
        )
        .values(revoked_at=tx.now)
    )
    return result.rowcount


async def last_ends(tx: Transaction, *, role: str) -> dict[str, datetime]:
    """Return until when each member of the role has a certificate that was not revoked."""
    query = (
        select(_c.member_id, func.max(_c.expires_at, type_=_c.expires_at.type))
        .where(_c.role == role, _c.revoked_at.is_(None))
        .group_by(_c.member_id)
    )
    return {row[0]: row[1] for row in await tx.connection.execute(query)}
