"""Hosts: why their agents offer no phones, and the incidents of hosts."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select, update

from phonefarm_controller.model.phone_reports import Incident
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.dialect import upsert
from phonefarm_controller.store.schema.fleet import host_incidents, hosts

_h, _i = hosts.c, host_incidents.c


@dataclass(frozen=True, kw_only=True)
class Host:
    """A host as its agent last reported it."""

    agent_id: str
    withheld: str = ""
    withheld_since: datetime | None = None
    # Up to here its steps of recovery are in the audit.
    recovery_incarnation: int = 0
    recovery_number: int = 0


@dataclass(frozen=True, kw_only=True)
class OpenIncident:
    """A current incident, and when a phone was last added to it."""

    agent_id: str
    incident: Incident = field(repr=False)
    last_at: datetime


async def get(tx: Transaction, agent_ids: Iterable[str]) -> dict[str, Host]:
    """Return the hosts by their agents; those never reported are missing."""
    rows = await tx.connection.execute(select(hosts).where(_h.agent_id.in_(set(agent_ids))))
    return {row.agent_id: Host(**row._asdict()) for row in rows}


async def put(tx: Transaction, host: Host) -> None:
    """Create or replace the host."""
    values = {name: getattr(host, name) for name in Host.__dataclass_fields__}
    await upsert(tx, hosts, [values], key=["agent_id"])


async def incidents_of(tx: Transaction, agent_id: str, *, limit: int) -> list[Incident]:
    """Return the host's incidents: those that last first, then the newest."""
    query = (
        select(host_incidents)
        .where(_i.agent_id == agent_id)
        .order_by(_i.ended_at.is_not(None), _i.began_at.desc())
        .limit(limit)
    )
    return [_incident(row) for row in await tx.connection.execute(query)]


async def open_of(tx: Transaction, agent_ids: Iterable[str] | None = None) -> list[OpenIncident]:
    """Return the incidents that last (of these hosts)."""
    query = select(host_incidents).where(_i.ended_at.is_(None)).order_by(_i.agent_id, _i.began_at)
    if agent_ids is not None:
        query = query.where(_i.agent_id.in_(set(agent_ids)))
    return [
        OpenIncident(agent_id=row.agent_id, incident=_incident(row), last_at=row.last_at)
        for row in await tx.connection.execute(query)
    ]


async def recent_of(tx: Transaction, *, ended_after: datetime) -> dict[str, list[Incident]]:
    """Return, by agent, the incidents that last and those that ended after *ended_after*."""
    lasting = _i.ended_at.is_(None) | (_i.ended_at > ended_after)
    query = select(host_incidents).where(lasting).order_by(_i.agent_id, _i.began_at)
    found: dict[str, list[Incident]] = {}
    for row in await tx.connection.execute(query):
        found.setdefault(row.agent_id, []).append(_incident(row))
    return found


async def last_end(tx: Transaction, agent_id: str, kind: str) -> datetime | None:
    """Return when the host's last incident of the kind that the controller saw had ended."""
    query = select(func.max(_i.ended_at)).where(
        _i.agent_id == agent_id, _i.kind == kind, _i.seen_by == "controller"
    )
    ended: datetime | None = (await tx.connection.execute(query)).scalar_one()
    return ended


async def keep(tx: Transaction, agent_id: str, incidents: Mapping[str, Incident]) -> None:
    """Create or replace incidents."""
    for incident in incidents.values():
        values = {name: getattr(incident, name) for name in Incident.__dataclass_fields__}
        values |= {"agent_id": agent_id, "last_at": tx.now, "phones": json.dumps(incident.phones)}
        await upsert(
            tx,
            host_incidents,
            [values],
            key=["agent_id", "incident_id"],
            changes=("error", "phones", "last_at", "ended_at"),
        )


async def end(tx: Transaction, agent_id: str, incident_ids: Iterable[str]) -> None:
    """End incidents that last."""
    of_them = (_i.agent_id == agent_id) & _i.incident_id.in_(set(incident_ids))
    await tx.connection.execute(
        update(host_incidents).where(of_them, _i.ended_at.is_(None)).values(ended_at=tx.now)
    )


def _incident(row: Row[Any]) -> Incident:
    return Incident(
        incident_id=row.incident_id,
        kind=row.kind,
        error=row.error,
        phones=tuple(json.loads(row.phones)),
        began_at=row.began_at,
        ended_at=row.ended_at,
        seen_by=row.seen_by,
    )
