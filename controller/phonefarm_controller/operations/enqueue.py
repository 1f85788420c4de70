"""Accept work: plan it, and commit the process, its items and its first delivery together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from phonefarm_common.identity import new_id
from phonefarm_common.reasons import FarmError, FieldProblem, Reason

from phonefarm_controller.domain.capabilities import (
    CAPABILITIES,
    Planned,
    needs_verification,
    not_verified,
    planned,
)
from phonefarm_controller.domain.failures import Policy
from phonefarm_controller.domain.inputs import invalid_field
from phonefarm_controller.domain.items import Item
from phonefarm_controller.domain.processes import Process
from phonefarm_controller.domain.profiles import Profile
from phonefarm_controller.domain.records import line_of
from phonefarm_controller.domain.requests import AccountFact, Facts, PhoneFact, Routing, Submission
from phonefarm_controller.domain.states import Health, ItemState
from phonefarm_controller.domain.targets import Slot, resolve
from phonefarm_controller.operations.sync import delivery_of
from phonefarm_controller.operations.whole import whole
from phonefarm_controller.sessions.hints import Hints
from phonefarm_controller.store import (
    accounts,
    deliveries,
    items,
    phones,
    processes,
    verifications,
)
from phonefarm_controller.store.database import Database, Transaction


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The answer to an enqueue."""

    process_id: str
    request_id: str
    process_type: str
    status: str
    duplicate: bool = False
    request_differs: bool = False
    items_planned: int = 0


@dataclass(frozen=True, kw_only=True)
class _Draft:
    process: Process
    items: list[Item]
    plan: str
    details: Mapping[str, Any] = field(default_factory=dict)


class Enqueue:
    """Accepts submissions in batches."""

    def __init__(
        self,
        *,
        database: Database,
        profiles: Mapping[str, Profile],
        policy: Policy,
        hints: Hints,
        dummy_allowed: bool,
        ids: Callable[[], str] = new_id,
    ) -> None:
        self._database = database
        self._profiles = profiles
        self._policy = policy
        self._hints = hints
        self._dummy_allowed = dummy_allowed
        self._ids = ids

    @whole
    async def __call__(self, batch: Sequence[Submission]) -> list[Accepted | Exception]:
        """Return an Accepted or a FarmError for each submission, in order; one transaction."""
        answers: list[Accepted | Exception | None] = [None] * len(batch)
        plans: dict[int, Planned] = {}
        for place, submission in enumerate(batch):
            try:
                plans[place] = planned(submission, dummy_allowed=self._dummy_allowed)
            except FarmError as error:
                answers[place] = error
        async with self._database.writing() as tx:
            await self._accept(tx, batch, plans, answers)
        self._hints.work.give()
        if any(submission.not_before is not None for submission in batch):
            self._hints.clockwork.give()
        self._hints.deliveries()
        return [answer for answer in answers if answer is not None]

    async def _accept(
        self,
        tx: Transaction,
        batch: Sequence[Submission],
        plans: Mapping[int, Planned],
        answers: list[Accepted | Exception | None],
    ) -> None:
        # A repeat is answered as one even if it could no longer be planned today.
        first = await processes.first_of(tx, [submission.key for submission in batch])
        facts = await _facts(tx, batch)
        drafts: dict[tuple[str, str, str], _Draft] = {}
        places: dict[int, tuple[str, str, str]] = {}
        for place, submission in enumerate(batch):
            if submission.key in first:
                answers[place] = _duplicate(submission, first[submission.key])
                continue
            if place not in plans:
                continue
            try:
                draft = await self._draft(tx, submission, plans[place], facts)
            except FarmError as error:
                answers[place] = error
                continue
            if submission.dry_run:
                answers[place] = Accepted(
                    process_id="",
                    request_id=submission.request_id,
                    process_type=submission.capability,
                    status="queued",
                    items_planned=len(draft.items),
                )
                continue
            drafts.setdefault(submission.key, draft)
            places[place] = submission.key
        # In one order, or two controllers could each wait for a key of the other.
        inserted = await self._insert(tx, [drafts[key] for key in sorted(drafts)])
        again = [key for key, draft in drafts.items() if draft.process.process_id not in inserted]
        first = await processes.first_of(tx, again)
        for place, key in places.items():
            if key in first:
                answers[place] = _duplicate(batch[place], first[key])
            else:
                answers[place] = _accepted(batch[place], drafts[key])
                first[key] = processes.First(
                    process=drafts[key].process, digest=batch[place].digest
                )

    async def _draft(
        self, tx: Transaction, submission: Submission, planned: Planned, facts: Facts
    ) -> _Draft:
        if planned.app is not None:
            self._profile(planned.app)
        slots = resolve(submission.target, app=planned.app, facts=facts)
        if needs_verification(submission):
            await self._check_verified(tx, submission, slots)
        ready_at = max(submission.not_before or tx.now, tx.now)
        if submission.deadline is not None and submission.deadline <= ready_at:
            wrong = "is in the past" if submission.deadline <= tx.now else "is before not_before"
            raise invalid_field("deadline", wrong)
        process_id = self._ids()
        made = [
            Item(
                item_id=self._ids(),
                process_id=process_id,
                ordinal=ordinal,
                capability=submission.capability,
                app=slot.app,
                state=ItemState.SCHEDULED if ready_at > tx.now else ItemState.QUEUED,
                priority=submission.priority,
                created_at=tx.now,
                ready_at=ready_at,
                deadline_at=submission.deadline
                or ready_at + timedelta(seconds=self._policy.max_wait),
                deadline_given=submission.deadline is not None,
                want_phone_id=slot.phone_id,
                want_account_id=slot.account_id,
                want_phone_group=slot.phone_group,
                actions_total=len(planned.plan.actions),
                once_actions=planned.plan.once_actions,
                cap_seconds=planned.plan.cap_seconds,
                profile_version=self._profile(slot.app).version,
            )
            for ordinal, slot in enumerate(slots)
        ]
        process = Process(
            process_id=process_id,
            process_type=submission.capability,
            request_id=submission.request_id,
            system=submission.system,
            user=submission.user,
            requested_by_metadata=submission.requested_by_metadata,
            callback_url=submission.callback_url,
            callback_metadata=submission.callback_metadata,
            created_at=tx.now,
            single_target=len(made) == 1,
            sequence=0 if submission.callback_url is None else 1,
        )
        details = _details(submission)
        return _Draft(process=process, items=made, plan=planned.plan.to_json(), details=details)

    async def _insert(self, tx: Transaction, drafts: Sequence[_Draft]) -> set[str]:
        inserted = await processes.insert_if_new(
            tx,
            [draft.process for draft in drafts],
            {draft.process.process_id: draft.details for draft in drafts},
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

    async def _check_verified(
        self, tx: Transaction, submission: Submission, slots: Sequence[Slot]
    ) -> None:
        if not CAPABILITIES[submission.capability].can_be_verified:
            raise not_verified(submission.capability)
        for app in {slot.app for slot in slots}:
            if not await verifications.is_recorded(
                tx, submission.capability, self._profile(app).version
            ):
                raise not_verified(submission.capability)

    def _profile(self, app: str) -> Profile:
        profile = self._profiles.get(app)
        if profile is None:
            known = ", ".join(sorted(self._profiles))
            problem = FieldProblem(field="inputs.app", message=f"must be one of: {known}")
            message = f"there is no app profile {app!r}; known: {known}"
            raise FarmError(Reason.UNKNOWN_APP, message, detail=app[:64], problems=(problem,))
        return profile


async def _facts(tx: Transaction, batch: Sequence[Submission]) -> Facts:
    """Read what the targets name, and what hangs on it."""
    targets = [submission.target for submission in batch]
    phone_groups = await phones.members_of(
        tx, "phone", {t.phone_group for t in targets if t.phone_group is not None}
    )
    account_groups = await phones.members_of(
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
    return Facts(
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


def _details(submission: Submission) -> Mapping[str, Any]:
    return {
        "mode": submission.mode,
        "digest": submission.digest,
        "target": submission.target_json,
        "inputs": submission.inputs_json,
    }


def _accepted(submission: Submission, draft: _Draft) -> Accepted:
    return Accepted(
        process_id=draft.process.process_id,
        request_id=submission.request_id,
        process_type=submission.capability,
        status=draft.process.status,
        items_planned=len(draft.items),
    )


def _duplicate(submission: Submission, first: processes.First) -> Accepted:
    return Accepted(
        process_id=first.process.process_id,
        request_id=submission.request_id,
        process_type=first.process.process_type,
        status=first.process.status,
        duplicate=True,
        request_differs=first.digest != submission.digest,
    )
