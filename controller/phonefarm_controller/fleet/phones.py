"""The operator's hands on phones, accounts and groups; each is audited."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from phonefarm_common.ids import is_name, new_id
from phonefarm_common.reasons import FailureClass, FarmError, FieldProblem, Reason

from phonefarm_controller.agents.offers import offers_of, others
from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.concurrency.uninterrupted import whole
from phonefarm_controller.concurrency.wakeups import Hints
from phonefarm_controller.fleet.phone_status import Sighted, sighted
from phonefarm_controller.health.last_in_service import warnings_of
from phonefarm_controller.health.policy import retired, returned
from phonefarm_controller.model import failures
from phonefarm_controller.model.app_profiles import Profile
from phonefarm_controller.model.blockers import Why, of_phone
from phonefarm_controller.model.cleanup import Step
from phonefarm_controller.model.errors import check_reason, invalid, invalid_field, unknown_phone
from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.items import Item, dead
from phonefarm_controller.model.leases import Lease, ended
from phonefarm_controller.model.phone_reports import KeptLook
from phonefarm_controller.model.states import ITEM_WAITING, Condition, Intent, LeaseState
from phonefarm_controller.model.transitions import by_operator
from phonefarm_controller.processes.status import sync
from phonefarm_controller.runs.unit_of_work import open_work
from phonefarm_controller.store import (
    accounts,
    agents,
    audit,
    groups,
    items,
    leases,
    phone_failures,
    phones,
    processes,
    queue,
)
from phonefarm_controller.store.accounts import Account
from phonefarm_controller.store.agents import Agent
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.groups import Group
from phonefarm_controller.store.phones import Phone

MOST_ACCOUNTS: Final = 1000
"""In one call."""
MOST_MEMBERS: Final = 10_000
"""Of one group; a request for more than a thousand is refused anyway."""


@dataclass(frozen=True, kw_only=True)
class PhoneView:
    """A phone on all its axes, as of now."""

    phone: Phone
    lease: Lease | None
    offered: bool
    agent_drain: str = ""
    # Where it was asked for; `whys` is everything that keeps work from it, `warnings` what nobody
    # else in service can do when it is withheld.
    look: KeptLook | None = None
    whys: tuple[Why, ...] = ()
    warnings: tuple[str, ...] = ()


class Fleet:
    """What operators do and see."""

    def __init__(
        self,
        *,
        database: Database,
        sessions: Sessions,
        hints: Hints,
        profiles: dict[str, Profile],
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._hints = hints
        self._profiles = profiles

    @whole
    async def phones(self) -> list[PhoneView]:
        """Return every phone, by id, with what keeps work from it."""
        async with self._database.reading() as tx:
            known = await phones.all_of(tx)
            held = await leases.of_phones(tx, [phone.phone_id for phone in known])
            seen = await sighted(tx, self._sessions, known, held)
        return [self._seen(phone, held.get(phone.phone_id), seen) for phone in known]

    @whole
    async def admit(self, phone_id: str, *, actor: str, reason: str = "") -> PhoneView:
        """Take a new phone into service; FarmError `unknown_phone`."""
        async with self._database.writing(actor=by_operator(actor)) as tx:
            phone = await locked_phone(tx, phone_id)
            after = replace(phone, intent=Intent.IN_SERVICE)
            await phones.save(tx, [after])
            held = await leases.of_phones(tx, [phone_id])
            await _note(tx, actor, "admit", phone_id, reason.strip())
            there = await self._elsewhere(tx)
        self._hints.fleet_changed()
        return self._view(after, held.get(phone_id), there, tx.now)

    @whole
    async def give_back(self, phone_id: str, *, actor: str, reason: str) -> PhoneView:
        """End a quarantine and a dirty state, because somebody has looked at the phone."""
        check_reason(reason)
        async with self._database.writing(actor=by_operator(actor)) as tx:
            held = await leases.of_phones(tx, [phone_id])
            # Whoever moves a lease holds its process and item; an agent may say "clean" just now.
            work, _ = await open_work(tx, {lease.lease_id for lease in held.values()})
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
        self._hints.fleet_changed()
        return self._view(after, lease, there, tx.now)

    @whole
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
        self._hints.fleet_changed()
        return replace(self._view(after, held.get(phone_id), there, tx.now), warnings=warnings)

    @whole
    async def retire(self, phone_id: str, *, actor: str, reason: str) -> PhoneView:
        """Take a phone out of the farm; what waits for it alone ends, what runs on it goes on."""
        check_reason(reason)
        async with self._database.writing(actor=by_operator(actor)) as tx:
            await _end(
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
        self._hints.fleet_changed()
        self._hints.deliveries()
        return replace(self._view(after, held.get(phone_id), there, tx.now), warnings=warnings)

    @whole
    async def clear_account(self, account_id: str, *, actor: str, reason: str) -> Account:
        """Say that an account is well again; FarmError `unknown_account`."""
        check_reason(reason)
        async with self._database.writing() as tx:
            known = await accounts.lock(tx, {account_id})
            if account_id not in known:
                problem = FieldProblem(field="account_id", message="names no account")
                message = f"there is no account {account_id}; `phonefarm accounts list` shows them"
                raise FarmError(
                    Reason.UNKNOWN_ACCOUNT, message, detail=account_id[:128], problems=(problem,)
                )
            after = replace(known[account_id], condition=Condition.OK, condition_reason="")
            await accounts.put(tx, [after])
            await _note(tx, actor, "clear account", account_id, reason)
        self._hints.fleet_changed()
        return after

    @whole
    async def put_accounts(
        self, given: Mapping[str, Account], *, actor: str, problems: Sequence[FieldProblem] = ()
    ) -> list[Account]:
        """Create or replace accounts, all or none; those made inactive end their waiting items.

        *given* maps what the caller calls each, such as `accounts[3]`, to the account; *problems*
        is what is known to be wrong with them already. FarmError names every wrong field.
        """
        if not 1 <= len(given) <= MOST_ACCOUNTS:
            raise invalid_field("accounts", f"must be 1 to {MOST_ACCOUNTS} accounts")
        found = [*problems, *_problems(given, self._profiles)]
        if found:
            raise invalid(*found)
        asked = list(given.values())
        async with self._database.writing(actor=by_operator(actor)) as tx:
            await _check_phones(tx, given)
            await _end_waiting(tx, [account.account_id for account in asked if not account.active])
            await accounts.put(tx, asked)
            for account in asked:
                await _note(tx, actor, "put account", account.account_id, "")
        self._hints.fleet_changed()
        self._hints.deliveries()
        return asked

    @whole
    async def accounts(self) -> Sequence[Account]:
        """Return every account, by id."""
        async with self._database.reading() as tx:
            return await accounts.all_of(tx)

    @whole
    async def put_group(
        self, kind: str, name: str, members: Sequence[str], *, actor: str, reason: str = ""
    ) -> tuple[str, ...]:
        """Replace the members of a group of phones or accounts; FarmError for unknown members."""
        if not is_name(name):
            raise invalid_field("group.name", "must be 1 to 128 of A-Z a-z 0-9 . _ : -")
        if len(members) > MOST_MEMBERS:
            raise invalid_field("group.member_ids", f"must be at most {MOST_MEMBERS} ids")
        async with self._database.writing() as tx:
            if kind == "phone":
                known = set(await phones.get(tx, members))
                unknown = Reason.UNKNOWN_PHONE
            else:
                known = {a.account_id for a in await accounts.named_or_on(tx, members, ())}
                unknown = Reason.UNKNOWN_ACCOUNT
            for member in members:
                if member not in known:
                    problem = FieldProblem(
                        field="group.member_ids", message=f"names {member[:128]!r}"
                    )
                    message = f"there is no {kind} {member}"
                    raise FarmError(unknown, message, detail=member[:128], problems=(problem,))
            await groups.replace(tx, kind, name, members)
            await _note(tx, actor, f"put {kind} group", name, reason.strip())
        self._hints.fleet_changed()
        return tuple(dict.fromkeys(members))

    @whole
    async def set_clean_up(
        self, group: str, steps: frozenset[Step] | None, *, actor: str, reason: str
    ) -> Group:
        """Set which steps the clean-up of a phone group's phones has, None for no policy.

        FarmError `unknown_group` when no phone is in it.
        """
        async with self._database.writing() as tx:
            known = {g.name: g for g in await groups.all_of(tx) if g.kind == "phone"}
            if group not in known:
                problem = FieldProblem(field="name", message=f"names {group[:128]!r}")
                message = f"there is no group of phones {group[:128]!r}"
                raise FarmError(
                    Reason.UNKNOWN_GROUP, message, detail=group[:128], problems=(problem,)
                )
            await groups.put_cleanup_policy(tx, group, steps)
            told = "none" if steps is None else " ".join(sorted(steps)) or "nothing"
            await _note(tx, actor, f"set clean-up to {told}", group, reason)
        self._hints.fleet_changed()
        return replace(known[group], clean_up=steps)

    @whole
    async def groups(self) -> list[Group]:
        """Return every group of phones or accounts, by kind and name."""
        async with self._database.reading() as tx:
            return await groups.all_of(tx)

    @whole
    async def agents(self) -> list[tuple[Agent, int]]:
        """Return every agent with the number of its phones, by id."""
        async with self._database.reading() as tx:
            known = await agents.all_of(tx)
            owners = [phone.agent_id for phone in await phones.all_of(tx)]
        return [(agent, owners.count(agent.agent_id)) for agent in known]

    async def _elsewhere(self, tx: Transaction) -> frozenset[tuple[str, str]]:
        """Return agent and phone of what is offered to other controllers."""
        offers = offers_of(await others(tx, self._sessions))
        return frozenset((offer.agent_id, offer.phone_id) for offer in offers)

    def _seen(self, phone: Phone, lease: Lease | None, seen: Sighted) -> PhoneView:
        sight = seen.phones[phone.phone_id]
        whys = tuple(of_phone(sight))
        return PhoneView(
            phone=phone,
            lease=lease,
            offered=not whys,
            agent_drain=sight.agent_drain,
            look=seen.looks.get(phone.phone_id),
            whys=whys,
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


def _problems(given: Mapping[str, Account], known: Mapping[str, Profile]) -> list[FieldProblem]:
    problems: list[FieldProblem] = []

    def wrong(where: str, field: str, message: str) -> None:
        problems.append(FieldProblem(field=f"{where}.{field}", message=message))

    seen: dict[str, str] = {}
    for where, account in given.items():
        if not is_name(account.account_id):
            wrong(where, "account_id", "must be 1 to 128 of A-Z a-z 0-9 . _ : -")
        elif account.account_id in seen:
            wrong(where, "account_id", f"is that of {seen[account.account_id]} too")
        seen.setdefault(account.account_id, where)
        if account.phone_id is not None and not is_name(account.phone_id):
            wrong(where, "phone_id", "must be 1 to 128 of A-Z a-z 0-9 . _ : -")
        if account.app not in known:
            wrong(where, "app", f"must be one of: {', '.join(sorted(known))}")
    return problems


async def _check_phones(tx: Transaction, given: Mapping[str, Account]) -> None:
    named = {account.phone_id for account in given.values() if account.phone_id is not None}
    unknown = named - (await phones.get(tx, named)).keys()
    problems = tuple(
        FieldProblem(field=f"{where}.phone_id", message=f"names no phone: {account.phone_id}")
        for where, account in given.items()
        if account.phone_id in unknown
    )
    if problems:
        first = min(unknown)
        message = f"there is no phone {first}; `phonefarm phones list` shows them"
        raise FarmError(Reason.UNKNOWN_PHONE, message, detail=first, problems=problems)


async def _end_waiting(tx: Transaction, account_ids: Sequence[str]) -> None:
    """End what waits for accounts that are being made inactive."""
    if not account_ids:
        return
    await _end(
        tx,
        await queue.waiting_for_accounts(tx, account_ids),
        lambda item: Failure(
            code="account_inactive",
            message=f"the account {item.want_account_id} was made inactive",
            failure_class=FailureClass.ACCOUNT,
            final=True,
        ),
    )


async def _end(
    tx: Transaction, waiting: Sequence[tuple[str, str]], why: Callable[[Item], Failure]
) -> None:
    """End these (process, item), as far as they wait."""
    locked = await processes.lock(tx, {process_id for process_id, _ in waiting})
    before = await items.lock(tx, {item_id for _, item_id in waiting})
    # Read again under lock: one may have been claimed meanwhile and goes on.
    over = [
        dead(item, failure=why(item), now=tx.now)
        for item in before.values()
        if item.state in ITEM_WAITING
    ]
    await items.save(tx, before, over)
    touched = {item.process_id for item in over}
    await sync(tx, {key: p for key, p in locked.items() if key in touched})
