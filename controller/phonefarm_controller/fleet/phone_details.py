"""Reads everything about a phone, the tasks for people, and the audit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from phonefarm_controller.agents.inventory import RECOVERY
from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.fleet.phone_status import read_phone_status
from phonefarm_controller.fleet.phones import PhoneView, known_phone, view_phones
from phonefarm_controller.health.last_in_service import warnings_of
from phonefarm_controller.model.leases import Lease
from phonefarm_controller.model.phone_reports import Incident, StoredPhoneReport
from phonefarm_controller.model.states import Health
from phonefarm_controller.model.transitions import CONTROLLER, by_agent
from phonefarm_controller.model.windows import WindowNow, WindowScope, seen_at
from phonefarm_controller.store import (
    accounts,
    agents,
    audit,
    groups,
    hosts,
    leases,
    phone_failures,
    phone_reports,
    phones,
    windows,
)
from phonefarm_controller.store.agents import Agent
from phonefarm_controller.store.audit import Entry
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.hosts import Host
from phonefarm_controller.store.phone_failures import PhoneFailure

SHOWN: Final = 20
"""The newest entries that are shown of each kind of history."""
RECENT: Final = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of a phone: its value, the reason, since when, and who set it."""

    axis: str
    value: str
    reason: str
    since: datetime | None
    by: str


@dataclass(frozen=True, kw_only=True)
class HostDetails:
    """A host as it is now."""

    agent: Agent | None
    host: Host
    incidents: Sequence[Incident]


@dataclass(frozen=True, kw_only=True)
class PhoneDetails:
    """Everything that is known about a phone; histories begin with the newest entry."""

    view: PhoneView
    axes: Sequence[Axis]
    report: StoredPhoneReport | None
    failures: Sequence[PhoneFailure]
    host: HostDetails
    recovery: Sequence[Entry]
    audit: Sequence[Entry]
    windows: Sequence[WindowNow]


@dataclass(frozen=True, kw_only=True)
class HandsNeeded:
    """A task for a person at a phone; `phone_id` is empty if the phone is not identified."""

    phone_id: str
    agent_id: str
    adb_serial: str
    reason: str
    since: datetime | None


class PhoneQuery:
    """Reads phones, what a person must do at them, and the audit."""

    def __init__(self, *, database: Database, sessions: Sessions) -> None:
        self._database = database
        self._sessions = sessions

    @uninterrupted
    async def phone(self, phone_id: str) -> PhoneDetails:
        """Return everything that is known of the phone; FarmError `unknown_phone`."""
        async with self._database.reading() as tx:
            phone = await known_phone(tx, phone_id)
            held = await leases.of_phones(tx, [phone_id])
            seen = await read_phone_status(tx, self._sessions, [phone], held)
            (view,) = await view_phones(tx, self._sessions, [phone], seen)
            view = replace(view, warnings=await warnings_of(tx, phone_id))
            owner = phone.agent_id
            entries = await audit.newest(tx, subjects=[phone_id], limit=2 * SHOWN)
            return PhoneDetails(
                view=view,
                axes=await _axes(tx, phone, held.get(phone_id)),
                report=seen.reports.get(phone_id),
                failures=await phone_failures.recent(tx, phone_id, limit=SHOWN),
                host=HostDetails(
                    agent=(await agents.get(tx, {owner})).get(owner),
                    host=seen.hosts.get(owner) or Host(agent_id=owner),
                    incidents=await hosts.incidents_of(tx, owner, limit=SHOWN),
                ),
                recovery=[each for each in entries if each.verb.startswith(RECOVERY)][:SHOWN],
                audit=[each for each in entries if not each.verb.startswith(RECOVERY)][:SHOWN],
                windows=await _windows(tx, phone_id),
            )

    @uninterrupted
    async def needs_hands(self) -> list[HandsNeeded]:
        """Return what a person must do, by agent and phone."""
        async with self._database.reading() as tx:
            known = [p for p in await phones.all_of(tx) if p.health is not Health.RETIRED]
            reports = await phone_reports.of_phones(tx, [phone.phone_id for phone in known])
            found = [
                HandsNeeded(
                    phone_id="",
                    agent_id=kept.agent_id,
                    adb_serial=kept.device.adb_serial,
                    reason=kept.device.needs_hands,
                    since=kept.since,
                )
                for kept in await phone_reports.unidentified_devices(tx)
                if kept.device.needs_hands
            ]
            for phone in known:
                stored = reports.get(phone.phone_id)
                if stored is not None and stored.report.needs_hands:
                    since = stored.needs_hands_since
                    found.append(_needed(phone, stored.report.needs_hands, since))
                if phone.verdict.needs_person:
                    axes = await phones.axes_of(tx, phone.phone_id)
                    back = f"`phonefarm phones return {phone.phone_id} --reason TEXT`"
                    told = f"{phone.health_reason}: check the phone, then run {back}"
                    found.append(_needed(phone, told, axes.health_since))
        return sorted(found, key=lambda each: (each.agent_id, each.phone_id, each.adb_serial))

    @uninterrupted
    async def incidents(self) -> dict[str, list[Incident]]:
        """Return, by agent, the incidents that last and those of the last hour, oldest first."""
        async with self._database.reading() as tx:
            return await hosts.recent_of(tx, ended_after=tx.now - RECENT)

    @uninterrupted
    async def audit(
        self,
        *,
        subject: str,
        since: datetime | None,
        limit: int,
        after: tuple[datetime, str] | None = None,
    ) -> tuple[list[Entry], bool]:
        """Return the newest entries (about *subject*), newest first, and whether there are more.

        *after* is moment and id of the last one of an earlier page.
        """
        async with self._database.reading() as tx:
            subjects = [subject] if subject else []
            found = await audit.newest(
                tx, subjects=subjects, since=since, after=after, limit=limit + 1
            )
        return found[:limit], len(found) > limit


def _needed(phone: phones.Phone, reason: str, since: datetime | None) -> HandsNeeded:
    return HandsNeeded(
        phone_id=phone.phone_id,
        agent_id=phone.agent_id,
        adb_serial=phone.adb_serial,
        reason=reason,
        since=since,
    )


async def _windows(tx: Transaction, phone_id: str) -> list[WindowNow]:
    found = await windows.of_work(
        tx,
        account_ids=[each.account_id for each in await accounts.named_or_on(tx, (), [phone_id])],
        phone_ids=[phone_id],
        group_names=(await groups.of_phones(tx, [phone_id])).get(phone_id, frozenset()),
    )
    return [
        seen_at(window, tx.now) for window in found if window.scope is not WindowScope.CAPABILITY
    ]


async def _axes(tx: Transaction, phone: phones.Phone, lease: Lease | None) -> tuple[Axis, ...]:
    noted = await phones.axes_of(tx, phone.phone_id)
    agent = by_agent(phone.agent_id)
    return (
        Axis(
            axis="transport",
            value=str(phone.transport),
            reason="",
            since=noted.transport_since,
            by=agent,
        ),
        Axis(
            axis="readiness",
            value=str(phone.readiness),
            reason=phone.readiness_reason,
            since=noted.readiness_since,
            by=agent,
        ),
        Axis(
            axis="health",
            value=str(phone.health),
            reason=phone.health_reason,
            since=noted.health_since,
            by=noted.health_by or "",
        ),
        Axis(
            axis="lease",
            value="free" if lease is None else str(lease.state),
            reason="" if lease is None else (lease.reason or ""),
            since=None if lease is None else lease.granted_at,
            by=CONTROLLER,
        ),
        Axis(
            axis="intent",
            value=str(phone.intent),
            reason="",
            since=noted.intent_since,
            by=noted.intent_by or "",
        ),
    )
