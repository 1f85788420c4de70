"""What operators do to phones: list, admit, return, maintain, retire; each change is audited."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from phonefarm_common.ids import new_id

from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.fleet.phone_status import PhoneStatuses, read_phone_status
from phonefarm_controller.health.last_in_service import warnings_of
from phonefarm_controller.health.policy import retired, returned
from phonefarm_controller.model import failures
from phonefarm_controller.model.blockers import Blocker, blockers_of_phone
from phonefarm_controller.model.errors import check_reason, unknown_phone
from phonefarm_controller.model.leases import Lease, ended
from phonefarm_controller.model.states import Intent, LeaseState
from phonefarm_controller.model.transitions import by_operator
from phonefarm_controller.processes.cancel import end_waiting
from phonefarm_controller.runs.unit_of_work import open_unit_of_work
from phonefarm_controller.store import (
    agents,
    audit,
    leases,
    phone_failures,
    phones,
    process_moves,
    queue,
)
from phonefarm_controller.store.agents import Agent
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.phones import Phone
from phonefarm_controller.store.process_moves import ProcessSummary


@dataclass(frozen=True, kw_only=True)
class PhoneView:
    """A phone as it is now, with all reasons why it gets no work.

    `since` is when an axis changed last, `process_type` the kind of work that holds it; `warnings`
    say what nobody else in service can do while it is withheld, where that was asked for.
    """

    phone: Phone
    lease: Lease | None
    since: datetime | None
    process_type: str
    agent_connected: bool
    agent_drain: str
    needs_hands: str
    needs_hands_since: datetime | None
    blockers: tuple[Blocker, ...]
    warnings: tuple[str, ...] = ()

    @property
    def offered(self) -> bool:
        """Tell whether it gets work now."""
        return not self.blockers


async def view_phones(
    tx: Transaction, sessions: Sessions, known: Sequence[Phone], seen: PhoneStatuses | None = None
) -> list[PhoneView]:
    """Return these phones as they are now, for an operator; *seen* when it was read before."""
    ids = [phone.phone_id for phone in known]
    held = await leases.of_phones(tx, ids)
    seen = seen or await read_phone_status(tx, sessions, known, held)
    work = await process_moves.summaries(tx, {lease.process_id for lease in held.values()})
    changed = await phones.changed_at(tx, ids)
    return [
        _view(phone, seen, held.get(phone.phone_id), work, changed.get(phone.phone_id))
        for phone in known
    ]


async def view_phone(
    tx: Transaction, sessions: Sessions, phone: Phone, *, warnings: tuple[str, ...] = ()
) -> PhoneView:
    """Return this phone as it is now, for an operator."""
    (view,) = await view_phones(tx, sessions, [phone])
    return replace(view, warnings=warnings)


def _view(
    phone: Phone,
    seen: PhoneStatuses,
    lease: Lease | None,
    work: Mapping[str, ProcessSummary],
    changed: datetime | None,
) -> PhoneView:
    now = seen.phones[phone.phone_id]
    stored = seen.reports.get(phone.phone_id)
    summary = None if lease is None else work.get(lease.process_id)
    granted = None if lease is None else lease.granted_at
    moments = [moment for moment in (changed, granted) if moment is not None]
    return PhoneView(
        phone=phone,
        lease=lease,
        since=max(moments, default=None),
        process_type="" if summary is None else summary.process_type,
        agent_connected=now.connected,
        agent_drain=now.agent_drain,
        needs_hands=now.needs_hands,
        needs_hands_since=None if stored is None else stored.needs_hands_since,
        blockers=tuple(blockers_of_phone(now)),
    )


class PhoneAdmin:
    """Lists and changes phones, and lists agents."""

    def __init__(self, *, database: Database, sessions: Sessions, wakeups: WakeUps) -> None:
        self._database = database
        self._sessions = sessions
        self._wakeups = wakeups

    @uninterrupted
    async def all(self) -> list[PhoneView]:
        """Return every phone, by id, with what keeps work from it."""
        async with self._database.reading() as tx:
            return await view_phones(tx, self._sessions, await phones.all_of(tx))

    @uninterrupted
    async def admit(self, phone_id: str, *, actor: str, reason: str = "") -> PhoneView:
        """Take a new phone into service; FarmError `unknown_phone`."""
        async with self._database.writing(actor=by_operator(actor)) as tx:
            phone = await locked_phone(tx, phone_id)
            after = replace(phone, intent=Intent.IN_SERVICE)
            await phones.save(tx, [after])
            await _note(tx, actor, "admit", phone_id, reason.strip())
            view = await view_phone(tx, self._sessions, after)
        self._wakeups.fleet_changed()
        return view

    @uninterrupted
    async def give_back(self, phone_id: str, *, actor: str, reason: str) -> PhoneView:
        """End a quarantine and a dirty state, after a person has examined the phone."""
        check_reason(reason)
        async with self._database.writing(actor=by_operator(actor)) as tx:
            held = await leases.of_phones(tx, [phone_id])
            # Whoever moves a lease holds its process and item; an agent may say "clean" just now.
            work, _ = await open_unit_of_work(tx, {lease.lease_id for lease in held.values()})
            phone = await locked_phone(tx, phone_id)
            after = phone.judged(returned(phone.verdict))
            await phone_failures.forgive(tx, phone_id)
            await phones.save(tx, [after])
            lease = next(iter(work.leases.values()), None)
            if lease is not None and lease.state is LeaseState.DIRTY:
                over = ended(lease, now=tx.now, reason=f"returned: {reason}")
                await leases.save(tx, work.leases, [over])
            await _note(tx, actor, "return", phone_id, reason)
            view = await view_phone(tx, self._sessions, after)
        self._wakeups.fleet_changed()
        return view

    @uninterrupted
    async def maintain(self, phone_id: str, *, actor: str, reason: str) -> PhoneView:
        """Give a phone no more work until it is admitted again; what runs on it goes on."""
        check_reason(reason)
        async with self._database.writing(actor=by_operator(actor)) as tx:
            phone = await locked_phone(tx, phone_id)
            after = replace(phone, intent=Intent.MAINTENANCE)
            warnings = await warnings_of(tx, phone_id) if phone.in_service else ()
            await phones.save(tx, [after])
            await _note(tx, actor, "maintain", phone_id, reason)
            view = await view_phone(tx, self._sessions, after, warnings=warnings)
        self._wakeups.fleet_changed()
        return view

    @uninterrupted
    async def retire(self, phone_id: str, *, actor: str, reason: str) -> PhoneView:
        """Remove a phone from the farm: end work that can use only it, but no run in progress."""
        check_reason(reason)
        async with self._database.writing(actor=by_operator(actor)) as tx:
            await end_waiting(
                tx,
                await queue.waiting_for_phones(tx, [phone_id]),
                lambda item: failures.phone_retired(item.want_phone_id or "", reason),
            )
            phone = await locked_phone(tx, phone_id)
            after = phone.judged(retired(phone.verdict, reason[:500]))
            warnings = await warnings_of(tx, phone_id) if phone.in_service else ()
            await phones.save(tx, [after])
            await _note(tx, actor, "retire", phone_id, reason)
            view = await view_phone(tx, self._sessions, after, warnings=warnings)
        self._wakeups.fleet_changed()
        self._wakeups.deliveries()
        return view

    @uninterrupted
    async def agents(self) -> list[tuple[Agent, int]]:
        """Return every agent with the number of its phones, by id."""
        async with self._database.reading() as tx:
            known = await agents.all_of(tx)
            owners = [phone.agent_id for phone in await phones.all_of(tx)]
        return [(agent, owners.count(agent.agent_id)) for agent in known]


async def known_phone(tx: Transaction, phone_id: str) -> Phone:
    """Return the phone, not locked; FarmError `unknown_phone`."""
    found = await phones.get(tx, {phone_id})
    if phone_id not in found:
        raise unknown_phone(phone_id)
    return found[phone_id]


async def locked_phone(tx: Transaction, phone_id: str) -> Phone:
    """Return the phone, locked; FarmError `unknown_phone`."""
    found = await phones.lock(tx, {phone_id})
    if phone_id not in found:
        raise unknown_phone(phone_id)
    return found[phone_id]


async def _note(tx: Transaction, actor: str, verb: str, subject: str, reason: str) -> None:
    await audit.note(tx, audit_id=new_id(), actor=actor, verb=verb, subject=subject, reason=reason)
