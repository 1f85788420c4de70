"""Drafts: processes with their items and first delivery, made but not yet committed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from phonefarm_controller.model.items import Item
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
    """Work that somebody asked for, whichever way. `ready_at` is not in the past."""

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
    actor: str | None = None  # who asked, where that is not the transaction's actor


@dataclass(frozen=True, kw_only=True)
class NewProcess:
    """One process, whole."""

    process: Process
    items: list[Item]
    plan: str
    actor: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


def new_process(
    order: ProcessSpec,
    plan: Plan,
    places: Sequence[tuple[Slot, str]],
    *,
    now: datetime,
    max_wait: float,
    ids: Callable[[], str],
) -> NewProcess:
    """Return the process with one item per place; a place is a slot and its profile's version.

    *max_wait* is in seconds, from the moment the work is due: without a deadline it ends then.
    """
    process_id = ids()
    made = [
        Item(
            item_id=ids(),
            process_id=process_id,
            ordinal=ordinal,
            capability=order.process_type,
            app=slot.app,
            state=ItemState.SCHEDULED if order.ready_at > now else ItemState.QUEUED,
            priority=order.priority,
            created_at=now,
            ready_at=order.ready_at,
            deadline_at=order.deadline or order.ready_at + timedelta(seconds=max_wait),
            deadline_given=order.deadline is not None,
            want_phone_id=slot.phone_id,
            want_account_id=slot.account_id,
            want_phone_group=slot.phone_group,
            actions_total=len(plan.actions),
            once_actions=plan.once_actions,
            cap_seconds=plan.cap_seconds,
            profile_version=version,
        )
        for ordinal, (slot, version) in enumerate(places)
    ]
    process = Process(
        process_id=process_id,
        process_type=order.process_type,
        request_id=order.request_id,
        system=order.system,
        user=order.user,
        requested_by_metadata=order.requested_by_metadata,
        callback_url=order.callback_url,
        callback_metadata=order.callback_metadata,
        created_at=now,
        single_target=len(made) == 1,
        sequence=0 if order.callback_url is None else 1,
    )
    details = {
        "mode": order.mode,
        "digest": order.digest,
        "target": order.target_json,
        "inputs": order.inputs_json,
        "verification": order.verification,
    }
    return NewProcess(
        process=process, items=made, plan=plan.to_json(), actor=order.actor, details=details
    )


async def insert_processes(tx: Transaction, drafts: Sequence[NewProcess]) -> set[str]:
    """Insert those whose key is free, with the deliveries that say so; return their process ids."""
    inserted = await processes.insert_if_new(
        tx,
        [draft.process for draft in drafts],
        {draft.process.process_id: draft.details for draft in drafts},
        actors={d.process.process_id: d.actor for d in drafts if d.actor is not None},
    )
    fresh = [draft for draft in drafts if draft.process.process_id in inserted]
    new = [item for draft in fresh for item in draft.items]
    texts = {item.item_id: draft.plan for draft in fresh for item in draft.items}
    if new:
        await items.insert(tx, new, texts)
    told = [draft for draft in fresh if draft.process.callback_url is not None]
    accepted = [
        delivery_of(draft.process, "accepted", [line_of(i) for i in draft.items], now=tx.now)
        for draft in told
    ]
    await deliveries.insert(tx, accepted)
    return inserted


async def read_facts(tx: Transaction, targets: Sequence[Target]) -> TargetFacts:
    """Read what the targets name, and what hangs on it."""
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
