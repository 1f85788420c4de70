"""The agents' last reports of their phones, and of devices that they could not identify."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from phonefarm_common.wire_enums import StageState, Transport
from sqlalchemy import Row, delete, select

from phonefarm_controller.model.phone_reports import (
    PhoneReport,
    Stage,
    StoredPhoneReport,
    UnidentifiedDevice,
)
from phonefarm_controller.store.bulk_writes import in_parts
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.dialect import upsert
from phonefarm_controller.store.schema.fleet import phone_looks, strangers

_l, _s = phone_looks.c, strangers.c
_FACTS: Final = ("battery_percent", "battery_celsius", "storage_free_bytes")


@dataclass(frozen=True, kw_only=True)
class StoredUnidentifiedDevice:
    """An unidentified device, and since when the farm knows it."""

    agent_id: str
    device: UnidentifiedDevice
    since: datetime


async def of_phones(tx: Transaction, phone_ids: Iterable[str]) -> dict[str, StoredPhoneReport]:
    """Return the last report of each phone; phones never reported are missing."""
    found: dict[str, StoredPhoneReport] = {}
    for part in in_parts(phone_ids):
        query = select(phone_looks).where(_l.phone_id.in_(part))
        found |= {row.phone_id: _look(row) for row in await tx.connection.execute(query)}
    return found


async def keep(
    tx: Transaction, seen: Mapping[str, PhoneReport], before: Mapping[str, StoredPhoneReport]
) -> None:
    """Store these reports, by phone; *before* are the stored ones."""
    rows = [
        {
            "phone_id": phone_id,
            "stages": json.dumps([asdict(stage) for stage in report.stages]),
            "needs_hands": report.needs_hands,
            "needs_hands_since": _since(report, before.get(phone_id), tx.now),
            "told_at": tx.now,
        }
        | {name: getattr(report, name) for name in _FACTS}
        for phone_id, report in sorted(seen.items())
    ]
    await upsert(tx, phone_looks, rows, key=["phone_id"])


async def unidentified_devices(
    tx: Transaction, agent_id: str | None = None
) -> list[StoredUnidentifiedDevice]:
    """Return what nobody could identify (on the agent's host), by agent and adb's name."""
    query = select(strangers).order_by(_s.agent_id, _s.adb_serial)
    if agent_id is not None:
        query = query.where(_s.agent_id == agent_id)
    return [
        StoredUnidentifiedDevice(
            agent_id=row.agent_id,
            device=UnidentifiedDevice(
                adb_serial=row.adb_serial,
                transport=Transport(row.transport),
                reason=row.reason,
                needs_hands=row.needs_hands,
            ),
            since=row.since,
        )
        for row in await tx.connection.execute(query)
    ]


async def replace_unidentified_devices(
    tx: Transaction, agent_id: str, here: Sequence[UnidentifiedDevice]
) -> None:
    """Make these the only ones of the agent; writes only what changed."""
    known = {
        kept.device.adb_serial: kept.device for kept in await unidentified_devices(tx, agent_id)
    }
    now_here = {device.adb_serial: device for device in here}
    gone = [name for name, device in known.items() if now_here.get(name) != device]
    if gone:
        of_it = (_s.agent_id == agent_id) & _s.adb_serial.in_(gone)
        await tx.connection.execute(delete(strangers).where(of_it))
    new = [device for name, device in now_here.items() if known.get(name) != device]
    if new:
        rows = [{"agent_id": agent_id, "since": tx.now} | asdict(device) for device in new]
        await tx.connection.execute(strangers.insert(), rows)


def _since(report: PhoneReport, before: StoredPhoneReport | None, now: datetime) -> datetime | None:
    if not report.needs_hands:
        return None
    same = before is not None and before.report.needs_hands == report.needs_hands
    return before.needs_hands_since if before is not None and same else now


def _look(row: Row[Any]) -> StoredPhoneReport:
    stages = tuple(
        Stage(**(stage | {"state": StageState(stage["state"])})) for stage in json.loads(row.stages)
    )
    facts = {name: getattr(row, name) for name in _FACTS}
    return StoredPhoneReport(
        report=PhoneReport(stages=stages, needs_hands=row.needs_hands, **facts),
        needs_hands_since=row.needs_hands_since,
        told_at=row.told_at,
    )
