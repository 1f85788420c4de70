"""Inventory: what an agent sees of its phones, written down when it changed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog
from phonefarm_common.identity import is_name

from phonefarm_controller.domain.states import Health, Intent, Readiness, Transport
from phonefarm_controller.operations.whole import whole
from phonefarm_controller.sessions.hints import Hints
from phonefarm_controller.store import agents, phones
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.phones import Phone

log = structlog.get_logger()

MOST_EPOCH = 2**62
"""Epochs only rise: one at the end of what a database can count would leave none above it."""


@dataclass(frozen=True, kw_only=True)
class SeenPhone:
    """One phone as its agent sees it."""

    serialno: str
    adb_serial: str
    transport: Transport
    readiness: Readiness
    reason: str
    model: str
    android_release: str
    epoch: int


@dataclass(frozen=True, kw_only=True)
class PhoneName:
    """The id of a phone, or why it is refused."""

    serialno: str
    phone_id: str
    refused: str = ""


class Inventory:
    """Takes inventories."""

    def __init__(self, *, database: Database, hints: Hints) -> None:
        self._database = database
        self._hints = hints

    @whole
    async def __call__(
        self, agent_id: str, term: int, seen: Sequence[SeenPhone]
    ) -> tuple[PhoneName, ...] | None:
        """Write what changed; return the phones' names, None when a newer session took over."""
        async with self._database.writing() as tx:
            if not await agents.heard_in_term(tx, agent_id, term):
                return None
            names = await self.take(tx, agent_id, seen)
        self.announce()
        return names

    def announce(self) -> None:
        """Let the change be seen by whoever matches items with phones."""
        self._hints.fleet_changed()

    async def take(
        self, tx: Transaction, agent_id: str, seen: Sequence[SeenPhone]
    ) -> tuple[PhoneName, ...]:
        """Write what changed within the caller's transaction."""
        known = await phones.lock_reported(tx, agent_id, [phone.serialno for phone in seen])
        others = {phone.agent_id for phone in known.values()} - {agent_id}
        owners = await agents.get(tx, others)
        fresh = {_phone_id(p.serialno): p.serialno for p in seen if p.serialno not in known}
        taken = {p.phone_id: p.serialno for p in (await phones.get(tx, fresh)).values()}
        names, new, changed = [], [], []
        for report in seen:
            before = known.pop(report.serialno, None)
            spelled = taken.setdefault(_phone_id(report.serialno), report.serialno)
            refused = _refusal(report, before, agent_id, owners)
            if spelled != report.serialno:
                refused = (
                    f"there is a phone {spelled}: serial numbers must differ in more than case"
                )
            if refused:
                names.append(PhoneName(serialno=report.serialno, phone_id="", refused=refused))
                continue
            after = _seen(report, before, agent_id)
            names.append(PhoneName(serialno=report.serialno, phone_id=after.phone_id))
            if before is None:
                new.append(after)
                log.info("phone.found", phone_id=after.phone_id, agent_id=agent_id)
            elif after != before:
                changed.append(after)
        changed += [
            replace(phone, transport=Transport.ABSENT, readiness=Readiness.UNKNOWN)
            for phone in known.values()
            if phone.agent_id == agent_id and phone.transport is not Transport.ABSENT
        ]
        await phones.insert(tx, new)
        await phones.save(tx, changed)
        return tuple(names)


def _phone_id(serialno: str) -> str:
    return f"ph-{serialno.lower()}"


def _refusal(
    report: SeenPhone, before: Phone | None, agent_id: str, owners: dict[str, agents.Agent]
) -> str:
    if not is_name(_phone_id(report.serialno)) or not report.serialno:
        return "the serial number is empty or unusable"
    if report.epoch > MOST_EPOCH:
        return f"its lease file names epoch {report.epoch}, which no farm reaches: remove the file"
    if before is None or before.agent_id == agent_id:
        return ""
    owner = owners.get(before.agent_id)
    if owner is not None and owner.connected and before.transport is not Transport.ABSENT:
        return f"the same serial number is alive on agent {before.agent_id}"
    return ""


def _seen(report: SeenPhone, before: Phone | None, agent_id: str) -> Phone:
    if before is None:
        before = Phone(
            phone_id=_phone_id(report.serialno),
            serialno=report.serialno,
            agent_id=agent_id,
            adb_serial="",
            transport=Transport.ABSENT,
            readiness=Readiness.UNKNOWN,
            readiness_reason="",
            health=Health.GOOD,
            health_reason="",
            intent=Intent.NEW,
            epoch=0,
            model="",
            android_release="",
        )
    return replace(
        before,
        agent_id=agent_id,
        adb_serial=report.adb_serial,
        transport=report.transport,
        readiness=report.readiness,
        readiness_reason=report.reason,
        model=report.model or before.model,
        android_release=report.android_release or before.android_release,
        # The next epoch is above every epoch that the phone has seen.
        epoch=max(before.epoch, report.epoch),
    )
