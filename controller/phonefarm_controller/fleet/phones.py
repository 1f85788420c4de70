"""What operators do to phones: list, admit, return, maintain, retire; each change is audited."""

from dataclasses import dataclass, replace
from datetime import datetime

from phonefarm_common.ids import new_id

from phonefarm_controller.agents.offers import agents_elsewhere, stored_offers
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
from phonefarm_controller.model.phone_reports import StoredPhoneReport
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
    queue,
)
from phonefarm_controller.store.agents import Agent
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.phones import Phone


@dataclass(frozen=True, kw_only=True)
class PhoneView:
    """A phone on all its axes, as of now."""

    phone: Phone
    lease: Lease | None
    offered: bool
    agent_drain: str = ""
    # Where it was asked for; `whys` is everything that keeps work from it, `warnings` what nobody
    # else in service can do when it is withheld.
    report: StoredPhoneReport | None = None
    blockers: tuple[Blocker, ...] = ()
    warnings: tuple[str, ...] = ()


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
            known = await phones.all_of(tx)
            held = await leases.of_phones(tx, [phone.phone_id for phone in known])
            seen = await read_phone_status(tx, self._sessions, known, held)
        return [self._seen(phone, held.get(phone.phone_id), seen) for phone in known]

    @uninterrupted
    async def admit(self, phone_id: str, *, actor: str, reason: str = "") -> PhoneView:
        """Take a new phone into service; FarmError `unknown_phone`."""
        async with self._database.writing(actor=by_operator(actor)) as tx:
            phone = await locked_phone(tx, phone_id)
            after = replace(phone, intent=Intent.IN_SERVICE)
            await phones.save(tx, [after])
            held = await leases.of_phones(tx, [phone_id])
            await _note(tx, actor, "admit", phone_id, reason.strip())
            there = await self._elsewhere(tx)
        self._wakeups.fleet_changed()
        return self._view(after, held.get(phone_id), there, tx.now)

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
            if lease is not None and lease.state in {LeaseState.DIRTY, LeaseState.ENDED}:
                lease = None
            await _note(tx, actor, "return", phone_id, reason)
            there = await self._elsewhere(tx)
        self._wakeups.fleet_changed()
        return self._view(after, lease, there, tx.now)

    @uninterrupted
    async def maintain(self, phone_id: str, *, actor: str, reason: str) -> PhoneView:
        """Give a phone no more work until it is admitted again; what runs on it goes on."""
        check_reason(reason)
        async with self._database.writing(actor=by_operator(actor)) as tx:
            phone = await locked_phone(tx, phone_id)
            after = replace(phone, intent=Intent.MAINTENANCE)
            warnings = await warnings_of(tx, phone_id) if phone.in_service else ()
            await phones.save(tx, [after])
            held = await leases.of_phones(tx, [phone_id])
            await _note(tx, actor, "maintain", phone_id, reason)
            there = await self._elsewhere(tx)
        self._wakeups.fleet_changed()
        return replace(self._view(after, held.get(phone_id), there, tx.now), warnings=warnings)

    @uninterrupted
    async def retire(self, phone_id: str, *, actor: str, reason: str) -> PhoneView:
        """Take a phone out of the farm; what waits for it alone ends, what runs on it goes on."""
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
            held = await leases.of_phones(tx, [phone_id])
            await _note(tx, actor, "retire", phone_id, reason)
            there = await self._elsewhere(tx)
        self._wakeups.fleet_changed()
        self._wakeups.deliveries()
        return replace(self._view(after, held.get(phone_id), there, tx.now), warnings=warnings)

    @uninterrupted
    async def agents(self) -> list[tuple[Agent, int]]:
        """Return every agent with the number of its phones, by id."""
        async with self._database.reading() as tx:
            known = await agents.all_of(tx)
            owners = [phone.agent_id for phone in await phones.all_of(tx)]
        return [(agent, owners.count(agent.agent_id)) for agent in known]

    async def _elsewhere(self, tx: Transaction) -> frozenset[tuple[str, str]]:
        """Return agent and phone of what is offered to other controllers."""
        offers = stored_offers(await agents_elsewhere(tx, self._sessions))
        return frozenset((offer.agent_id, offer.phone_id) for offer in offers)

    def _seen(self, phone: Phone, lease: Lease | None, seen: PhoneStatuses) -> PhoneView:
        farm = seen.phones[phone.phone_id]
        blockers = tuple(blockers_of_phone(farm))
        return PhoneView(
            phone=phone,
            lease=lease,
            offered=not blockers,
            agent_drain=farm.agent_drain,
            report=seen.reports.get(phone.phone_id),
            blockers=blockers,
        )

    def _view(
        self,
        phone: Phone,
        lease: Lease | None,
        there: frozenset[tuple[str, str]],
        now: datetime,
    ) -> PhoneView:
        offered = (
            lease is None
            and phone.may_work(now)
            and (
                self._sessions.is_offered(phone.agent_id, phone.phone_id)
                or (phone.agent_id, phone.phone_id) in there
            )
        )
        return PhoneView(phone=phone, lease=lease, offered=offered)


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
