"""Accept work: plan it, and commit the process, its items and its first delivery together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from phonefarm_common.ids import new_id
from phonefarm_common.reasons import FarmError

from phonefarm_controller.alarms import DiskAlarm
from phonefarm_controller.capabilities.catalog import (
    CAPABILITIES,
    Planned,
    needs_verification,
    not_verified,
    planned,
)
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.model.app_profiles import Profile, profile_of, version_of
from phonefarm_controller.model.errors import invalid_field
from phonefarm_controller.model.requests import Submission, TargetFacts
from phonefarm_controller.model.retry_policy import RetryPolicy
from phonefarm_controller.model.transitions import by_caller
from phonefarm_controller.processes.creation import (
    NewProcess,
    ProcessSpec,
    insert_processes,
    new_process,
    read_facts,
)
from phonefarm_controller.processes.targets import Slot, resolve, resolve_without_account
from phonefarm_controller.store import processes, verifications
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


class Enqueue:
    """Accepts submissions in batches."""

    def __init__(
        self,
        *,
        database: Database,
        profiles: Mapping[str, Profile],
        policy: RetryPolicy,
        wakeups: WakeUps,
        disk_alarm: DiskAlarm,
        dummy_allowed: bool,
        ids: Callable[[], str] = new_id,
    ) -> None:
        self._database = database
        self._profiles = profiles
        self._policy = policy
        self._wakeups = wakeups
        self._disk_alarm = disk_alarm
        self._dummy_allowed = dummy_allowed
        self._ids = ids

    @uninterrupted
    async def __call__(self, batch: Sequence[Submission]) -> list[Accepted | Exception]:
        """Return an Accepted or a FarmError for each submission, in order; one transaction."""
        plans, refused = self._plan(batch)
        async with self._database.writing() as tx:
            answers = await self._accept(tx, batch, plans, refused)
        self.announce(batch)
        return answers

    async def within(
        self, tx: Transaction, batch: Sequence[Submission]
    ) -> list[Accepted | Exception]:
        """Do the same in the caller's transaction; the caller commits, then calls `announce`."""
        return await self._accept(tx, batch, *self._plan(batch))

    def announce(self, batch: Sequence[Submission]) -> None:
        """Wake the loops that work on what was committed."""
        self._wakeups.work_made()
        if any(submission.not_before is not None for submission in batch):
            self._wakeups.due_times_changed()
        self._wakeups.deliveries()

    def _plan(
        self, batch: Sequence[Submission]
    ) -> tuple[dict[int, Planned], dict[int, Accepted | Exception]]:
        """Return the plans, and why the others have none, by their places in the batch."""
        plans: dict[int, Planned] = {}
        refused: dict[int, Accepted | Exception] = {}
        for index, submission in enumerate(batch):
            try:
                plans[index] = planned(submission, dummy_allowed=self._dummy_allowed)
            except FarmError as error:
                refused[index] = error
        return plans, refused

    async def _accept(
        self,
        tx: Transaction,
        batch: Sequence[Submission],
        plans: Mapping[int, Planned],
        answers: dict[int, Accepted | Exception],
    ) -> list[Accepted | Exception]:
        # A repeat is answered as one even if it could no longer be planned today.
        first = await processes.originals_of(tx, [submission.key for submission in batch])
        facts = await read_facts(tx, [submission.target for submission in batch])
        new_by_key: dict[tuple[str, str, str], NewProcess] = {}
        keys: dict[int, tuple[str, str, str]] = {}
        for index, submission in enumerate(batch):
            if submission.key in first:
                answers[index] = _duplicate(submission, first[submission.key])
                continue
            if index not in plans:
                continue
            try:
                self._disk_alarm.check()
                new = await self._new_process(tx, submission, plans[index], facts)
            except FarmError as error:
                answers[index] = error
                continue
            if submission.dry_run:
                answers[index] = Accepted(
                    process_id="",
                    request_id=submission.request_id,
                    process_type=submission.capability,
                    status="queued",
                    items_planned=len(new.items),
                )
                continue
            new_by_key.setdefault(submission.key, new)
            keys[index] = submission.key
        # In one order, or two controllers could each wait for a key of the other.
        inserted = await insert_processes(tx, [new_by_key[key] for key in sorted(new_by_key)])
        again = [key for key, new in new_by_key.items() if new.process.process_id not in inserted]
        first = await processes.originals_of(tx, again)
        for index, key in keys.items():
            if key in first:
                answers[index] = _duplicate(batch[index], first[key])
            else:
                answers[index] = _accepted(batch[index], new_by_key[key])
                first[key] = processes.OriginalProcess(
                    process=new_by_key[key].process, digest=batch[index].digest
                )
        return [answers[index] for index in range(len(batch))]

    async def _new_process(
        self, tx: Transaction, submission: Submission, planned: Planned, facts: TargetFacts
    ) -> NewProcess:
        if planned.app is not None:
            self._profile(planned.app)
        if planned.needs_app:
            slots = resolve(submission.target, app=planned.app, facts=facts)
        else:
            slots = resolve_without_account(submission.target, facts=facts)
        if needs_verification(submission):
            await self._check_verified(tx, submission, slots)
        ready_at = max(submission.not_before or tx.now, tx.now)
        if submission.deadline is not None and submission.deadline <= ready_at:
            wrong = "is in the past" if submission.deadline <= tx.now else "is before not_before"
            raise invalid_field("deadline", wrong)
        spec = ProcessSpec(
            process_type=submission.capability,
            request_id=submission.request_id,
            system=submission.system,
            user=submission.user,
            requested_by_metadata=submission.requested_by_metadata,
            callback_url=submission.callback_url,
            callback_metadata=submission.callback_metadata,
            mode=submission.mode,
            digest=submission.digest,
            target_json=submission.target_json,
            inputs_json=submission.inputs_json,
            priority=submission.priority,
            ready_at=ready_at,
            deadline=submission.deadline,
            traceparent=submission.traceparent,
            actor=by_caller(submission.caller),
        )
        return new_process(
            spec,
            planned.plan,
            [(slot, version_of(self._profiles, slot.app)) for slot in slots],
            now=tx.now,
            max_wait=self._policy.max_wait,
            ids=self._ids,
        )

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
        return profile_of(self._profiles, app)


def _accepted(submission: Submission, new: NewProcess) -> Accepted:
    return Accepted(
        process_id=new.process.process_id,
        request_id=submission.request_id,
        process_type=submission.capability,
        status=new.process.status,
        items_planned=len(new.items),
    )


def _duplicate(submission: Submission, first: processes.OriginalProcess) -> Accepted:
    return Accepted(
        process_id=first.process.process_id,
        request_id=submission.request_id,
        process_type=first.process.process_type,
        status=first.process.status,
        duplicate=True,
        request_differs=first.digest != submission.digest,
    )
