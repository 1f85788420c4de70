"""Create processes with their items and first delivery, as one transaction inserts them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from phonefarm_controller.model.items import NO_DEADLINE, Item
from phonefarm_controller.model.plans import Plan
from phonefarm_controller.model.processes import Process
from phonefarm_controller.model.records import line_of
from phonefarm_controller.model.requests import (
    AccountFact,
    Mode,
    PhoneFact,
    Routing,
    Target,
    TargetFacts,
)
from phonefarm_controller.model.states import Health, ItemState
from phonefarm_controller.processes.status import delivery_of
from phonefarm_controller.processes.targets import Slot
from phonefarm_controller.store import accounts, deliveries, groups, items, phones, processes
from phonefarm_controller.store.database import Transaction


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """Work that was requested in any way. `ready_at` is not in the past."""

    process_type: str
    request_id: str | None
    system: str
    ready_at: datetime
    user: str | None = None
    requested_by_metadata: str = "{}"
    callback_url: str | None = None
    callback_metadata: str = "{}"
    mode: Mode = Mode.MANUAL
    digest: str = ""
    target_json: str = "{}"
    inputs_json: str = "{}"
    verification: bool = False
    priority: int = 5
    deadline: datetime | None = None
    traceparent: str | None = None  # the span in which it was asked for
    actor: str | None = None  # who asked, where that is not the transaction's actor


@dataclass(frozen=True, kw_only=True)
class NewProcess:
    """A process with its items and plan, built but not yet inserted."""

    process: Process
    items: list[Item]
    plan: str
    actor: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


def new_process(
    spec: ProcessSpec,
    plan: Plan,
    slots: Sequence[tuple[Slot, str]],
    *,
    now: datetime,
    max_wait: float | None,
    ids: Callable[[], str],
) -> NewProcess:
    """Build the process with one item per slot, each given with its app profile's version.

    *max_wait* is in seconds, from the moment the work is due: without a deadline it ends then. None
    is for ever.
    """
    process_id = ids()
    made = [
        Item(
            item_id=ids(),
            process_id=process_id,
            ordinal=ordinal,
            capability=spec.process_type,
            app=slot.app,
            state=ItemState.SCHEDULED if spec.ready_at > now else ItemState.QUEUED,
            priority=spec.priority,
            created_at=now,
            ready_at=spec.ready_at,
            deadline_at=spec.deadline or _limit(spec.ready_at, max_wait),
            deadline_given=spec.deadline is not None,
            want_phone_id=slot.phone_id,
            want_account_id=slot.account_id,
            want_phone_group=slot.phone_group,
            actions_total=len(plan.actions),
            once_actions=plan.once_actions,
            cap_seconds=plan.cap_seconds,
            profile_version=version,
        )
        for ordinal, (slot, version) in enumerate(slots)
    ]
    process = Process(
        process_id=process_id,
        process_type=spec.process_type,
        request_id=spec.request_id,
        system=spec.system,
        user=spec.user,
        requested_by_metadata=spec.requested_by_metadata,
        callback_url=spec.callback_url,
        callback_metadata=spec.callback_metadata,
        created_at=now,
        single_target=len(made) == 1,
        traceparent=spec.traceparent,
        sequence=0 if spec.callback_url is None else 1,
    )
    details = {
        "mode": spec.mode,
        "digest": spec.digest,
        "target": spec.target_json,
        "inputs": spec.inputs_json,
        "verification": spec.verification,
    }
    return NewProcess(
        process=process, items=made, plan=plan.to_json(), actor=spec.actor, details=details
    )


def _limit(ready_at: datetime, max_wait: float | None) -> datetime:
    if max_wait is None or max_wait >= (NO_DEADLINE - ready_at).total_seconds():
        return NO_DEADLINE
    return ready_at + timedelta(seconds=max_wait)


async def insert_processes(tx: Transaction, new: Sequence[NewProcess]) -> set[str]:
    """Insert those whose key is free, with their first deliveries; return their process ids."""
    inserted = await processes.insert_if_new(
        tx,
        [each.process for each in new],
        {each.process.process_id: each.details for each in new},
        actors={d.process.process_id: d.actor for d in new if d.actor is not None},
    )
    fresh = [each for each in new if each.process.process_id in inserted]
    new_items = [item for each in fresh for item in each.items]
    texts = {item.item_id: each.plan for each in fresh for item in each.items}
    if new_items:
        await items.insert(tx, new_items, texts)
    announced = [each for each in fresh if each.process.callback_url is not None]
    accepted = [
        delivery_of(each.process, "accepted", [line_of(i) for i in each.items], now=tx.now)
        for each in announced
    ]
    await deliveries.insert(tx, accepted)
    return inserted


async def read_facts(tx: Transaction, targets: Sequence[Target]) -> TargetFacts:
    """Read the phones, accounts and groups that the targets name, and what depends on them."""
    phone_groups = await groups.members_of(
        tx, "phone", {t.phone_group for t in targets if t.phone_group is not None}
    )
    account_groups = await groups.members_of(
        tx, "account", {t.account_group for t in targets if t.account_group is not None}
    )
    phone_ids = {p for t in targets for p in (*t.phone_ids, t.phone_id) if p is not None}
    phone_ids |= {member for members in phone_groups.values() for member in members}
    account_ids = {a for t in targets for a in (*t.account_ids, t.account_id) if a is not None}
    account_ids |= {member for members in account_groups.values() for member in members}
    hang = bool(account_ids or phone_ids)
    named = await accounts.named_or_on(tx, account_ids, phone_ids) if hang else []
    phone_ids |= {account.phone_id for account in named if account.phone_id is not None}
    known = await phones.get(tx, phone_ids) if phone_ids else {}
    anywhere = any(t.routing is Routing.QUEUE and t.account_id is None for t in targets)
    return TargetFacts(
        phones={
            phone.phone_id: PhoneFact(
                phone_id=phone.phone_id, retired=phone.health is Health.RETIRED
            )
            for phone in known.values()
        },
        accounts={
            account.account_id: AccountFact(
                account_id=account.account_id,
                phone_id=account.phone_id,
                app=account.app,
                active=account.active,
            )
            for account in named
        },
        phone_groups=phone_groups,
        account_groups=account_groups,
        apps_in_use=await accounts.apps_in_use(tx) if anywhere else frozenset(),
    )
