"""Examine: how this controller and its farm are, each part with what helps."""

import time
from collections import Counter
from datetime import datetime, timedelta

from phonefarm_common.clock import Clock

from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.alarms import REMEDIES, AlarmName, Alarms, DiskAlarm, Finding, Severity
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.model.errors import DatabaseBusyError
from phonefarm_controller.store import agents, certificates, queue_position
from phonefarm_controller.store.agents import Agent
from phonefarm_controller.store.database import Database, Transaction

MOST_NAMES = 5
CLOCK_SECONDS = 2.0
"""How far this host's clock may be from the database's: times that people read come from both."""
LAST_SHARE = 0.25
"""A certificate is renewed at half its life: with a quarter left something keeps it from it."""


class Doctor:
    """Checks everything; what cannot be checked is a finding too."""

    def __init__(
        self,
        *,
        database: Database,
        sessions: Sessions,
        alarms: Alarms,
        disk_alarm: DiskAlarm,
        clock: Clock,
        version: str,
        certificate_life: timedelta,
        alone: bool,
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._alarms = alarms
        self._disk_alarm = disk_alarm
        self._clock = clock
        self._version = version
        self._certificate_life = certificate_life
        self._alone = alone
        self._since = time.monotonic()

    async def examine(self) -> list[Finding]:
        """Return the findings, in a fixed order of checks."""
        found = [self._controller(), *self._loops()]
        try:
            found += await self._in_database()
        except DatabaseBusyError as error:
            _, remedy = REMEDIES[AlarmName.DATABASE_AWAY]
            found.append(_fail("database", f"it does not answer: {error}", remedy))
        found += [
            self._of(
                AlarmName.SCHEDULER_STUCK, "scheduler", "every claimable item is claimed in time"
            ),
            self._of(AlarmName.DIRTY_OLD, "dirty phones", "no phone has been dirty for long"),
            self._of(AlarmName.CALLBACKS_LATE, "callbacks", "no callback has waited for long"),
            self._disk(),
            self._of(AlarmName.EVIDENCE_AWAY, "evidence", "the evidence backend answers"),
            self._notifier(),
        ]
        return found

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
        return silent or [_ok("loops", f"all {len(self._alarms.silences())} make progress")]

    def _of(self, name: AlarmName, check: str, well: str) -> Finding:
        for alarm in self._alarms.active():
            if alarm.name is name:
                verdict, remedy = REMEDIES[name]
                return Finding(check=check, verdict=verdict, text=alarm.text, remedy=remedy)
        return _ok(check, well)

    def _disk(self) -> Finding:
        if not self._disk_alarm.shortage:
            return _ok("disk", "the disk has space for new work")
        remedy = "free space on the disk of --data; the controller refuses new work until then"
        return _fail("disk", self._disk_alarm.shortage, remedy)

    def _notifier(self) -> Finding:
        if self._alone:
            return _ok("controllers", "no other controller uses this database")
        return self._of(
            AlarmName.NOTIFIER_SILENT, "controllers", "notifications to the other controllers work"
        )

    @uninterrupted
    async def _in_database(self) -> list[Finding]:
        begun = time.monotonic()
        async with self._database.reading() as tx:
            took = time.monotonic() - begun
            off = (self._clock.now() - tx.now).total_seconds()
            known = await agents.all_of(tx)
            ends = await certificates.last_ends(tx, role="agent")
            queued = await queue_position.count_waiting(tx, most=MOST_QUEUED)
            return [
                _ok("database", f"it answers within {1000 * took:.0f} ms"),
                _clock(off),
                _queue(queued, len(self._sessions.offers())),
                *self._agents(known),
                *self._certificates(tx, known, ends),
            ]

    def _agents(self, known: list[Agent]) -> list[Finding]:
        here = [agent for agent in known if agent.connected]
        away = sorted(agent.agent_id for agent in known if not agent.connected)
        if not known:
            remedy = "run phonefarm agents invite, then phonefarm-agent join on a phone host"
            return [_warn("agents", "no agent has ever connected", remedy)]
        counted = Counter(agent.version for agent in here)
        versions = ", ".join(f"{count} of {version}" for version, count in sorted(counted.items()))
        found = [_ok("agents", f"{len(here)} of {len(known)} connected: {versions or 'none'}")]
        if away:
            remedy = (
                "run phonefarm-agent doctor on these hosts; revoke a host that will "
                "not come back with phonefarm agents revoke"
            )
            tell = _warn if here else _fail
            found = [tell("agents", f"not connected: {_some(away)}", remedy)]
        others = sorted(agent.agent_id for agent in here if agent.version != self._version)
        if others:
            text = (
                f"these agents do not have this controller's version {self._version}: "
                f"{_some(others)}"
            )
            found.append(
                _warn(
                    "versions",
                    text,
                    "upgrade these hosts, or finish the upgrade of this controller",
                )
            )
        return found

    def _certificates(
        self, tx: Transaction, known: list[Agent], ends: dict[str, datetime]
    ) -> list[Finding]:
        soon = tx.now + LAST_SHARE * self._certificate_life
        near = sorted(
            agent.agent_id
            for agent in known
            if agent.agent_id in ends and ends[agent.agent_id] < soon
        )
        if not ends:
            return [_ok("certificates", "no host has one")]
        if near:
            remedy = (
                "read the agent's log; a host whose certificate has expired needs a new "
                "invitation (phonefarm agents invite)"
            )
            return [_warn("certificates", f"expired or about to expire: {_some(near)}", remedy)]
        return [_ok("certificates", f"the certificates of {len(ends)} hosts are renewed in time")]


MOST_QUEUED = 1000


def _clock(off: float) -> Finding:
    if abs(off) <= CLOCK_SECONDS:
        return _ok("clock", "equal to the database's clock")
    text = f"{abs(off):.1f} s {'ahead of' if off > 0 else 'behind'} the database's clock"
    return _warn("clock", text, "synchronise the clocks of both hosts (chrony, systemd-timesyncd)")


def _queue(queued: int, offering: int) -> Finding:
    many = f"{queued} items wait" if queued < MOST_QUEUED else f"{queued} items or more wait"
    if queued and not offering:
        remedy = "run phonefarm phones list or phonefarm processes explain PROCESS to see why"
        return _warn("queue", f"{many}, and no agent here offers a phone", remedy)
    return _ok("queue", f"{many}, {offering} agents here offer phones")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"{', '.join(names[:MOST_NAMES])}{more}"


def _ok(check: str, text: str) -> Finding:
    return Finding(check=check, verdict=Severity.OK, text=text)


def _warn(check: str, text: str, remedy: str) -> Finding:
    return Finding(check=check, verdict=Severity.WARN, text=text, remedy=remedy)


def _fail(check: str, text: str, remedy: str) -> Finding:
    return Finding(check=check, verdict=Severity.FAIL, text=text, remedy=remedy)
