"""Checks this controller and its farm, and names a remedy for each problem."""

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from phonefarm_common.clock import Clock

from phonefarm_controller.agents.offers import agents_elsewhere, offers_here, stored_offers
from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.alarms import REMEDIES, AlarmName, Alarms, DiskAlarm, Finding
from phonefarm_controller.callbacks.gateway_calls import GatewayCalls
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.fleet.phone_status import read_phone_status
from phonefarm_controller.model.errors import DatabaseBusyError
from phonefarm_controller.model.states import Health
from phonefarm_controller.monitoring.findings import counted, fail, ok, warn
from phonefarm_controller.monitoring.host_findings import (
    finding_of_certificates,
    findings_of_agents,
    findings_of_gateways,
    findings_of_hosts,
)
from phonefarm_controller.monitoring.phone_findings import findings_of_phones
from phonefarm_controller.monitoring.work_findings import (
    MOST_QUEUED,
    finding_of_alerts,
    finding_of_queue,
    finding_of_schedules,
    findings_of_pauses,
    findings_of_receivers,
)
from phonefarm_controller.scheduler.claim import Claim
from phonefarm_controller.scheduler.explain import read_farm
from phonefarm_controller.scheduler.explanation import blockers_of
from phonefarm_controller.store import (
    agents,
    alert_events,
    certificates,
    deliveries,
    hosts,
    leases,
    pauses,
    phone_reports,
    phones,
    queue_position,
    schedules,
)
from phonefarm_controller.store.database import Database, Transaction

CLOCK_SECONDS: Final = 2.0
"""This host's clock may differ this much from the database's; people read times from both."""
LAST_SHARE: Final = 0.25
"""With less of its lifetime left, a certificate's renewal has failed: it is due at half."""
SAMPLE: Final = 100
"""The reasons of this many waiting items are read: those with the earliest deadlines."""


@dataclass(frozen=True, kw_only=True)
class Examination:
    """The findings, in a fixed order of checks; `summary` describes the farm in one line.

    It is not `complete` while the database does not answer.
    """

    findings: tuple[Finding, ...]
    summary: str
    complete: bool = True


class Doctor:
    """Runs all checks; a check that fails itself is a finding too."""

    def __init__(
        self,
        *,
        database: Database,
        sessions: Sessions,
        claim: Claim,
        gateway_calls: GatewayCalls,
        alarms: Alarms,
        disk_alarm: DiskAlarm,
        clock: Clock,
        version: str,
        certificate_life: timedelta,
        alone: bool,
        alert_receiver: str = "",
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._claim = claim
        self._gateway_calls = gateway_calls
        self._alarms = alarms
        self._disk_alarm = disk_alarm
        self._clock = clock
        self._version = version
        self._certificate_life = certificate_life
        self._alone = alone
        self._alert_receiver = alert_receiver
        self._since = time.monotonic()

    async def examine(self) -> Examination:
        """Return what is found; a database that does not answer is a finding."""
        found = [self._controller(), *self._loops()]
        summary, complete = "", True
        try:
            in_database, summary = await self._in_database()
            found += in_database
        except DatabaseBusyError as error:
            _, remedy = REMEDIES[AlarmName.DATABASE_AWAY]
            found.append(fail("database", f"it does not answer: {error}", remedy))
            complete = False
        found += [
            self._of(
                AlarmName.SCHEDULER_STUCK,
                "scheduler",
                "every item that can be claimed is claimed in time",
            ),
            self._of(AlarmName.DIRTY_OLD, "dirty phones", "no phone has been dirty for long"),
            self._of(AlarmName.CALLBACKS_LATE, "callbacks", "no callback has waited for long"),
            *findings_of_gateways(
                self._gateway_calls.calling(), self._gateway_calls.refused(), alone=self._alone
            ),
            self._disk(),
            self._of(AlarmName.EVIDENCE_AWAY, "evidence", "the evidence backend answers"),
            self._notifier(),
        ]
        return Examination(findings=tuple(found), summary=summary, complete=complete)

    def _controller(self) -> Finding:
        hours = (time.monotonic() - self._since) / 3600
        lag = self._alarms.reading(AlarmName.LOOP_LAG)
        text = (
            f"version {self._version}, up {hours:.1f} h, the event loop lags by {1000 * lag:.0f} ms"
        )
        return self._of(AlarmName.LOOP_LAG, "controller", text)

    def _loops(self) -> list[Finding]:
        verdict, remedy = REMEDIES[AlarmName.LOOP_SILENT]
        silent = [
            Finding(check="loops", verdict=verdict, text=alarm.text, remedy=remedy)
            for alarm in self._alarms.active()
            if alarm.name is AlarmName.LOOP_SILENT
        ]
        return silent or [ok("loops", f"all {len(self._alarms.silences())} loops make progress")]

    def _of(self, name: AlarmName, check: str, well: str) -> Finding:
        for alarm in self._alarms.active():
            if alarm.name is name:
                verdict, remedy = REMEDIES[name]
                return Finding(check=check, verdict=verdict, text=alarm.text, remedy=remedy)
        return ok(check, well)

    def _disk(self) -> Finding:
        if not self._disk_alarm.shortage:
            return ok("disk", "the disk has space for new work")
        remedy = (
            "free some space on the disk that holds --data; until then, the controller refuses "
            "new work"
        )
        return fail("disk", self._disk_alarm.shortage, remedy)

    def _notifier(self) -> Finding:
        if self._alone:
            return ok("controllers", "no other controller uses this database")
        return self._of(
            AlarmName.NOTIFIER_SILENT, "controllers", "notifications to the other controllers work"
        )

    @uninterrupted
    async def _in_database(self) -> tuple[list[Finding], str]:
        begun = time.monotonic()
        async with self._database.reading() as tx:
            took = time.monotonic() - begun
            off = (self._clock.now() - tx.now).total_seconds()
            known = await agents.all_of(tx)
            ends = await certificates.last_ends(tx, role="agent")
            soon = tx.now + LAST_SHARE * self._certificate_life
            of_phones, line = await self._phones(tx)
            found = [
                ok("database", f"the database answers within {1000 * took:.0f} ms"),
                _clock(off),
                *findings_of_pauses(await pauses.all_of(tx)),
                *of_phones,
                *findings_of_agents(known, version=self._version),
                *findings_of_hosts(
                    known,
                    await hosts.get(tx, [agent.agent_id for agent in known]),
                    await hosts.open_of(tx),
                ),
                finding_of_certificates(known, ends, soon=soon),
                await self._queue(tx),
                finding_of_schedules(await schedules.in_trouble(tx)),
                *findings_of_receivers(await deliveries.failing_receivers(tx)),
                finding_of_alerts(
                    self._alert_receiver, await alert_events.newest(tx, limit=1), now=tx.now
                ),
            ]
        here = sum(agent.connected for agent in known)
        return found, f"{line}; {here} of {counted(len(known), 'host')} connected"

    async def _phones(self, tx: Transaction) -> tuple[list[Finding], str]:
        known = [phone for phone in await phones.all_of(tx) if phone.health is not Health.RETIRED]
        held = await leases.of_phones(tx, [phone.phone_id for phone in known])
        seen = await read_phone_status(tx, self._sessions, known, held)
        unidentified = await phone_reports.unidentified_devices(tx)
        return findings_of_phones(seen.phones.values(), unidentified)

    async def _queue(self, tx: Transaction) -> Finding:
        count = await queue_position.count_waiting(tx, most=MOST_QUEUED)
        sample = await queue_position.most_urgent(tx, most=SAMPLE)
        offers = offers_here(self._sessions) + stored_offers(
            await agents_elsewhere(tx, self._sessions)
        )
        seen = await self._claim.match(tx, offers if sample else [])
        chosen = {pair.item_id for pair in seen.pairs}
        farm = await read_farm(
            tx,
            self._sessions,
            sample,
            shortage=self._disk_alarm.shortage,
            start_seconds=self._claim.start_seconds,
        )
        blockers = [
            (item, blockers_of(item, farm, chosen=chosen, ahead=0, now=tx.now)) for item in sample
        ]
        offering = len(self._sessions.offers())
        return finding_of_queue(count, blockers, farm, offering=offering)


def _clock(off: float) -> Finding:
    if abs(off) <= CLOCK_SECONDS:
        return ok("clock", "the controller's clock is equal to the database's clock")
    text = f"{abs(off):.1f} s {'ahead of' if off > 0 else 'behind'} the database's clock"
    return warn("clock", text, "synchronise the clocks of both hosts (chrony, systemd-timesyncd)")
