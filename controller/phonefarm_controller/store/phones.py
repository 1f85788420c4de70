"""Phones: the values of their axes, and since when each has its value."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from phonefarm_common.wire_enums import Readiness, Transport
from sqlalchemy import Row, func, select, update

from phonefarm_controller.model.blockers import BY_HEALTH, BY_INTENT
from phonefarm_controller.model.health import Owed, Verdict
from phonefarm_controller.model.replace import replaced
from phonefarm_controller.model.states import Health, Intent
from phonefarm_controller.store.bulk_writes import any_of, in_parts, insert_rows, update_if
from phonefarm_controller.store.compiled_statements import Statement, among, values_of
from phonefarm_controller.store.database import Transaction
from phonefarm_controller.store.schema.fleet import phones

_p = phones.c
_CHANGING = (
    "agent_id",
    "adb_serial",
    "transport",
    "readiness",
    "readiness_reason",
    "health",
    "health_reason",
    "intent",
    "epoch",
    "model",
    "android_release",
    "health_until",
    "cooling_until",
    "rounds",
    "round_at",
    "owed",
)
_AXES: Final = ("transport", "readiness", "health", "intent")
_SIGNED: Final = frozenset({"health", "intent"})
"""The axes that several programs may write; only the agent writes the others."""


@dataclass(frozen=True, kw_only=True)
class PhoneAvailability:
    """What the controller and the operators let a phone do."""

    phone_id: str
    agent_id: str
    health: Health
    health_reason: str
    intent: Intent
    health_until: datetime | None = None
    cooling_until: datetime | None = None
    rounds: int = 0
    round_at: datetime | None = None
    owed: Owed = Owed.NOTHING

    def may_work(self, now: datetime) -> bool:
        """Tell whether controller and operator let it work; the agent's offer is the other half."""
        return self.in_service and (self.cooling_until is None or self.cooling_until <= now)

    def may_prove(self, now: datetime) -> bool:
        """Tell whether they let it do a golden job: also behind a quarantine."""
        fit = self.in_service or (self.verdict.proving and BY_INTENT[self.intent] is None)
        return fit and (self.cooling_until is None or self.cooling_until <= now)

    @property
    def in_service(self) -> bool:
        """Tell whether controller and operator let it work, if not this moment."""
        return BY_HEALTH[self.health] is None and BY_INTENT[self.intent] is None

    @property
    def may_be_held(self) -> bool:
        """Tell whether a person may hold it: also one that is quarantined or in maintenance."""
        return self.health is not Health.RETIRED

    @property
    def verdict(self) -> Verdict:
        """Return what the controller thinks of it."""
        return Verdict(
            health=self.health,
            reason=self.health_reason,
            until=self.health_until,
            cooling_until=self.cooling_until,
            rounds=self.rounds,
            round_at=self.round_at,
            owed=self.owed,
        )


@dataclass(frozen=True, kw_only=True)
class Phone(PhoneAvailability):
    """One phone with its stored axes."""

    serialno: str
    adb_serial: str
    transport: Transport
    readiness: Readiness
    readiness_reason: str
    epoch: int
    model: str
    android_release: str

    def judged(self, verdict: Verdict) -> "Phone":
        """Return the phone with another verdict."""
        return replaced(
            self,
            health=verdict.health,
            health_reason=verdict.reason,
            health_until=verdict.until,
            cooling_until=verdict.cooling_until,
            rounds=verdict.rounds,
            round_at=verdict.round_at,
            owed=verdict.owed,
        )


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Since when each axis has its value, and who set those that several may set."""

    transport_since: datetime | None
    readiness_since: datetime | None
    health_since: datetime | None
    health_by: str | None
    intent_since: datetime | None
    intent_by: str | None


_NAMES = tuple(Phone.__dataclass_fields__)
_COLUMNS = [phones.c[name] for name in _NAMES]
READS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "transport": {str(value): value for value in Transport}.__getitem__,
    "readiness": {str(value): value for value in Readiness}.__getitem__,
    "health": {str(value): value for value in Health}.__getitem__,
    "intent": {str(value): value for value in Intent}.__getitem__,
    "owed": {str(value): value for value in Owed}.__getitem__,
}
_AMONG = select(*_COLUMNS).where(among(_p.phone_id, "ids")).order_by(_p.phone_id)
_GET = Statement(_AMONG, reads=READS)
_LOCK = Statement(_AMONG.with_for_update(), reads=READS)
_ALL = Statement(select(*_COLUMNS).order_by(_p.phone_id), reads=READS)
_DRAINED = Statement(select(_p.phone_id).where(_p.intent == Intent.DRAINING))
_NOTE = update(phones).where(_p.phone_id.in_(any_of("ids")))
_BY_TIME = _p.health_until.is_not(None) | _p.cooling_until.is_not(None)


async def insert(tx: Transaction, new: Sequence[Phone]) -> None:
    """Insert new phones."""
    axes = dict.fromkeys((f"{axis}_since" for axis in _AXES), tx.now)
    signed = dict.fromkeys((f"{axis}_by" for axis in sorted(_SIGNED)), tx.actor)
    rows = [{name: getattr(phone, name) for name in _NAMES} | axes | signed for phone in new]
    await insert_rows(tx, phones, rows)


async def lock(tx: Transaction, phone_ids: Iterable[str]) -> dict[str, Phone]:
    """Return the phones by id, locked until the end, in the order of their ids."""
    rows = await _LOCK.rows(tx, ids=list(set(phone_ids)))
    return {phone.phone_id: phone for phone in values_of(Phone, _NAMES, rows)}


async def get(tx: Transaction, phone_ids: Iterable[str]) -> dict[str, Phone]:
    """Return the phones by id; unknown ones are missing."""
    rows = await _GET.rows(tx, ids=list(set(phone_ids)))
    return {phone.phone_id: phone for phone in values_of(Phone, _NAMES, rows)}


async def lock_reported(
    tx: Transaction, agent_id: str, serialnos: Iterable[str]
) -> dict[str, Phone]:
    """Return, by serial number, the agent's phones and those it names, locked in id order."""
    query = (
        select(*_COLUMNS)
        .where((_p.agent_id == agent_id) | _p.serialno.in_(set(serialnos)))
        .order_by(_p.phone_id)
    ).with_for_update()
    return {row.serialno: _phone(row) for row in await tx.connection.execute(query)}


async def all_of(tx: Transaction, agent_id: str | None = None) -> list[Phone]:
    """Return every phone (of the agent), by id."""
    if agent_id is None:
        return values_of(Phone, _NAMES, await _ALL.rows(tx))
    query = select(*_COLUMNS).order_by(_p.phone_id).where(_p.agent_id == agent_id)
    return [_phone(row) for row in await tx.connection.execute(query)]


async def save(tx: Transaction, after: Sequence[Phone]) -> None:
    """Write phones that this transaction has locked; notes since when an axis is as it is."""
    was = await get(tx, [phone.phone_id for phone in after])
    rows = [
        {name: getattr(phone, name) for name in _CHANGING} | {"was_phone_id": phone.phone_id}
        for phone in sorted(after, key=lambda phone: phone.phone_id)
    ]
    await update_if(tx, phones, keys=("phone_id",), changes=_CHANGING, rows=rows)
    for axis in _AXES:
        moved = [p.phone_id for p in after if getattr(p, axis) != getattr(was[p.phone_id], axis)]
        if moved:
            noted: dict[str, object] = {f"{axis}_since": tx.now}
            noted |= {f"{axis}_by": tx.actor} if axis in _SIGNED else {}
            await tx.connection.execute(_NOTE.values(noted), {"ids": moved})


async def axes_of(tx: Transaction, phone_id: str) -> Axes:
    """Return since when each axis of the phone is as it is."""
    query = select(*(phones.c[name] for name in Axes.__dataclass_fields__))
    row = (await tx.connection.execute(query.where(_p.phone_id == phone_id))).one()
    return Axes(**row._asdict())


async def changed_at(tx: Transaction, phone_ids: Iterable[str]) -> dict[str, datetime]:
    """Return when an axis of each phone changed last; missing where release 0.1.0 wrote all."""
    since = [phones.c[f"{axis}_since"] for axis in _AXES]
    found = {}
    for part in in_parts(phone_ids):
        query = select(_p.phone_id, *since).where(_p.phone_id.in_(part))
        for phone_id, *moments in await tx.connection.execute(query):
            known = [moment for moment in moments if moment is not None]
            if known:
                found[phone_id] = max(known)
    return found


async def next_change(tx: Transaction) -> datetime | None:
    """Return the next moment at which time alone changes a phone."""
    query = select(func.min(_p.health_until), func.min(_p.cooling_until)).where(_BY_TIME)
    row = (await tx.connection.execute(query)).one()
    return min((moment for moment in row if moment is not None), default=None)


async def lock_changed_by_time(tx: Transaction) -> list[Phone]:
    """Return the phones, locked in the order of their ids, that time has changed."""
    due = (_p.health_until <= tx.now) | (_p.cooling_until <= tx.now)
    query = select(*_COLUMNS).where(_BY_TIME, due).order_by(_p.phone_id).with_for_update()
    return [_phone(row) for row in await tx.connection.execute(query)]


async def drained(tx: Transaction) -> set[str]:
    """Return the phones that an operator wants free."""
    return {phone_id for (phone_id,) in await _DRAINED.rows(tx)}


async def raise_epochs(tx: Transaction, locked: Sequence[Phone]) -> dict[str, int]:
    """Add one to the epoch of each phone, all locked by this transaction; return the new ones."""
    raised = {phone.phone_id: phone.epoch + 1 for phone in locked}
    rows = [
        {"was_phone_id": phone.phone_id, "was_epoch": phone.epoch, "epoch": raised[phone.phone_id]}
        for phone in locked
    ]
    await update_if(tx, phones, keys=("phone_id", "epoch"), changes=("epoch",), rows=rows)
    return raised


def _phone(row: Row[Any]) -> Phone:
    values = row._asdict()
    return Phone(**values | {name: read(values[name]) for name, read in READS.items()})
