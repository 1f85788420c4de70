"""The inventory: store what an agent sees of its phones and its host, when it has changed."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import structlog
from phonefarm_common.ids import is_name
from phonefarm_common.wire_enums import Readiness, Transport

from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.model.phone_reports import (
    HostReport,
    Incident,
    PhoneReport,
    RecoveryStep,
    UnidentifiedDevice,
    is_news,
)
from phonefarm_controller.model.states import Health, Intent
from phonefarm_controller.model.transitions import by_agent
from phonefarm_controller.store import agents, audit, hosts, phone_reports, phones
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.phones import Phone

log = structlog.get_logger()

MOST_EPOCH = 2**62
"""The greatest epoch that is accepted; there must be room above it, because epochs only rise."""

MOST_INCIDENTS: Final = 50
"""The controller reads at most this many incidents of one host; an agent reports at most 20."""
RECOVERY: Final = "recover "
"""In the audit, the verb of each recovery step begins with this."""


@dataclass(frozen=True, kw_only=True)
class ReportedPhone:
    """One phone as its agent sees it."""

    serialno: str
    adb_serial: str
    transport: Transport
    readiness: Readiness
    reason: str
    model: str
    android_release: str
    epoch: int
    report: PhoneReport = field(default_factory=PhoneReport)


@dataclass(frozen=True, kw_only=True)
class ReportedHost:
    """A host as its agent sees it; *incarnation* numbers the agent's lives."""

    incarnation: int
    report: HostReport


@dataclass(frozen=True, kw_only=True)
class PhoneName:
    """The id of a phone, or why it is refused."""

    serialno: str
    phone_id: str
    refused: str = ""


class Inventory:
    """Stores inventories."""

    def __init__(self, *, database: Database, wakeups: WakeUps) -> None:
        self._database = database
        self._wakeups = wakeups

    @uninterrupted
    async def __call__(
        self,
        agent_id: str,
        term: int,
        seen: Sequence[ReportedPhone],
        *,
        unidentified: Sequence[UnidentifiedDevice] = (),
        host: ReportedHost | None = None,
    ) -> tuple[PhoneName, ...] | None:
        """Write what changed; return the phones' names, None when a newer session took over.

        *unidentified* are devices that adb lists and nobody could identify; *host* is None from
        an agent before 0.2.0.
        """
        async with self._database.writing() as tx:
            if not await agents.heard_in_term(tx, agent_id, term):
                return None
            names = await self.take(tx, agent_id, seen)
            await phone_reports.replace_unidentified_devices(tx, agent_id, unidentified)
            if host is not None:
                await _take_host(tx, agent_id, host)
        self.announce()
        return names

    def announce(self) -> None:
        """Wake the dispatcher, which matches items with phones."""
        self._wakeups.fleet_changed()

    async def take(
        self, tx: Transaction, agent_id: str, seen: Sequence[ReportedPhone]
    ) -> tuple[PhoneName, ...]:
        """Write what changed within the caller's transaction."""
        known = await phones.lock_reported(tx, agent_id, [phone.serialno for phone in seen])
        others = {phone.agent_id for phone in known.values()} - {agent_id}
        owners = await agents.get(tx, others)
        fresh = {_phone_id(p.serialno): p.serialno for p in seen if p.serialno not in known}
        taken = {p.phone_id: p.serialno for p in (await phones.get(tx, fresh)).values()}
        names, new, changed = [], [], []
        for reported in seen:
            before = known.pop(reported.serialno, None)
            spelled = taken.setdefault(_phone_id(reported.serialno), reported.serialno)
            refused = _refusal(reported, before, agent_id, owners)
            if spelled != reported.serialno:
                refused = (
                    f"the phone {spelled} already exists: two serial numbers must not differ only "
                    "in upper and lower case"
                )
            if refused:
                names.append(PhoneName(serialno=reported.serialno, phone_id="", refused=refused))
                continue
            after = _seen(reported, before, agent_id)
            names.append(PhoneName(serialno=reported.serialno, phone_id=after.phone_id))
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
        ids = {name.serialno: name.phone_id for name in names if not name.refused}
        told = {
            ids[reported.serialno]: reported.report for reported in seen if reported.serialno in ids
        }
        kept = await phone_reports.of_phones(tx, told)
        news = {
            phone_id: report
            for phone_id, report in told.items()
            if is_news(kept[phone_id].report if phone_id in kept else None, report)
        }
        await phone_reports.keep(tx, news, kept)
        return tuple(names)


async def _take_host(tx: Transaction, agent_id: str, seen: ReportedHost) -> None:
    """Write what changed of the host; each step of recovery goes into the audit once."""
    report = seen.report
    before = (await hosts.get(tx, [agent_id])).get(agent_id) or hosts.Host(agent_id=agent_id)
    after = before
    if report.withheld != before.withheld:
        log.info("host.withheld", agent_id=agent_id, why=report.withheld)
        since = tx.now if report.withheld else None
        after = replace(after, withheld=report.withheld, withheld_since=since)
    same_life = before.recovery_incarnation == seen.incarnation
    known = before.recovery_number if same_life else 0
    steps = [step for step in report.recovery if step.number > known]
    if steps:
        await audit.keep_once(tx, await _entries(tx, agent_id, seen.incarnation, steps))
        number = max(step.number for step in steps)
        after = replace(after, recovery_incarnation=seen.incarnation, recovery_number=number)
    if after != before:
        await hosts.put(tx, after)
    await _take_incidents(tx, agent_id, report.incidents)


async def _take_incidents(tx: Transaction, agent_id: str, told: Sequence[Incident]) -> None:
    kept = await hosts.incidents_of(tx, agent_id, limit=MOST_INCIDENTS)
    own = {incident.incident_id: incident for incident in kept if incident.seen_by == "agent"}
    now = {incident.incident_id: incident for incident in await _named(tx, told)}
    changed = {key: incident for key, incident in now.items() if own.get(key) != incident}
    await hosts.keep(tx, agent_id, changed)
    # Of an earlier life of the agent that did not live to tell its end.
    gone = [key for key, incident in own.items() if incident.ended_at is None and key not in now]
    if gone:
        await hosts.end(tx, agent_id, gone)
    for key, incident in changed.items():
        if key not in own or own[key].ended_at != incident.ended_at:
            over = incident.ended_at is not None
            log.warning("host.incident_reported", agent_id=agent_id, kind=incident.kind, over=over)


async def _named(tx: Transaction, told: Sequence[Incident]) -> list[Incident]:
    """Return the incidents with ids for serial numbers, as far as they are known."""
    serials = {serial for incident in told for serial in incident.phones}
    known = await phones.get(tx, {_phone_id(serial) for serial in serials})
    ids = {phone.serialno: phone.phone_id for phone in known.values()}
    return [
        replace(incident, phones=tuple(ids.get(serial, serial) for serial in incident.phones))
        for incident in told
    ]


async def _entries(
    tx: Transaction, agent_id: str, incarnation: int, steps: Sequence[RecoveryStep]
) -> list[audit.Entry]:
    known = await phones.get(tx, {_phone_id(step.serialno) for step in steps})
    ids = {phone.serialno: phone.phone_id for phone in known.values()}
    return [
        audit.Entry(
            audit_id=f"recovery:{agent_id}:{incarnation}:{step.number}",
            at=tx.now,
            actor=by_agent(agent_id),
            verb=f"{RECOVERY}{step.step}",
            subject=ids.get(step.serialno) or step.serialno or step.adb_serial,
            reason=f"{step.reason}: {step.outcome}" if step.outcome else step.reason,
        )
        for step in steps
    ]


def _phone_id(serialno: str) -> str:
    return f"ph-{serialno.lower()}"


def _refusal(
    reported: ReportedPhone, before: Phone | None, agent_id: str, owners: dict[str, agents.Agent]
) -> str:
    if not is_name(_phone_id(reported.serialno)) or not reported.serialno:
        return "the serial number is empty or unusable"
    if reported.epoch > MOST_EPOCH:
        return (
            f"its lease file contains epoch {reported.epoch}, which is too high to be valid: "
            "remove the file"
        )
    if before is None or before.agent_id == agent_id:
        return ""
    owner = owners.get(before.agent_id)
    if owner is not None and owner.connected and before.transport is not Transport.ABSENT:
        return f"agent {before.agent_id} already has a connected phone with the same serial number"
    return ""


def _seen(reported: ReportedPhone, before: Phone | None, agent_id: str) -> Phone:
    if before is None:
        before = Phone(
            phone_id=_phone_id(reported.serialno),
            serialno=reported.serialno,
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
        adb_serial=reported.adb_serial,
        transport=reported.transport,
        readiness=reported.readiness,
        readiness_reason=reported.reason,
        model=reported.model or before.model,
        android_release=reported.android_release or before.android_release,
        # The next epoch is above every epoch that the phone has seen.
        epoch=max(before.epoch, reported.epoch),
    )
