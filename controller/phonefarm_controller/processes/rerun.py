"""Rerun: a new process from the request of one that has ended."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from phonefarm_common.ids import new_id
from phonefarm_common.reasons import FailureCode

from phonefarm_controller.alarms import DiskAlarm
from phonefarm_controller.capabilities.catalog import CAPABILITIES
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.model.app_profiles import Profile, version_of
from phonefarm_controller.model.errors import check_reason, conflict, unknown_process
from phonefarm_controller.model.items import Item
from phonefarm_controller.model.plans import Plan
from phonefarm_controller.model.processes import Process
from phonefarm_controller.model.retry_policy import RetryPolicy
from phonefarm_controller.model.states import PROCESS_TERMINAL, ItemState
from phonefarm_controller.model.transitions import by_operator
from phonefarm_controller.processes.content import check_account
from phonefarm_controller.processes.creation import (
    NewProcess,
    ProcessSpec,
    insert_processes,
    new_process,
)
from phonefarm_controller.processes.targets import Slot
from phonefarm_controller.store import accounts, audit, contents, items, processes
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.processes import StoredRequest

LONGEST_BASE: Final = 240
"""A request id is cut to this many characters, to leave room for the number after it."""
_NUMBERED: Final = re.compile(r"(.*)~([1-9][0-9]{0,3})", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class RerunRequest:
    """A process and its items to repeat; `not_posted`: somebody checked that they did not post."""

    process_id: str
    failed_only: bool
    not_posted: bool
    reason: str
    caller: str
    traceparent: str | None = None  # the span in which it came


@dataclass(frozen=True, kw_only=True)
class RerunResult:
    """The process that repeats the request; `already`: an earlier rerun created it."""

    process_id: str
    request_id: str
    items: int
    already: bool


class RerunProcess:
    """Repeats requests, each only once: a second rerun returns the same new process."""

    def __init__(
        self,
        *,
        database: Database,
        profiles: Mapping[str, Profile],
        policy: RetryPolicy,
        wakeups: WakeUps,
        disk_alarm: DiskAlarm,
        ids: Callable[[], str] = new_id,
    ) -> None:
        self._database = database
        self._profiles = profiles
        self._policy = policy
        self._wakeups = wakeups
        self._disk_alarm = disk_alarm
        self._ids = ids

    @uninterrupted
    async def __call__(self, request: RerunRequest) -> RerunResult:
        """Commit the new process, under a request id made from the old one.

        It has the plan, target and callback of the old one, the app profiles of today, and no
        deadline. What was posted is never posted again by this. FarmError `unknown_process`, or
        `state_conflict:` the state it is in, made_by_hand, nothing_failed, already_posted,
        outcome_unknown.
        """
        check_reason(request.reason)
        async with self._database.writing(actor=by_operator(request.caller)) as tx:
            locked = await processes.lock(tx, {request.process_id})
            before = locked.get(request.process_id)
            if before is None:
                raise unknown_process(request.process_id)
            known = await items.lock_of_processes(tx, {request.process_id})
            asked = await processes.stored_request(tx, request.process_id)
            if asked.rerun_as is not None:
                return await _again(tx, asked.rerun_as)
            chosen = _chosen(before, list(known.values()), asked, request)
            self._disk_alarm.check()
            new = await self._new_process(tx, request, before, asked, chosen)
            await insert_processes(tx, [new])
            await processes.note_rerun(tx, before, new.process)
            for old, copy in zip(chosen, new.items, strict=True):
                await contents.reassign(
                    tx, item_id=old.item_id, by_process=copy.process_id, by_item=copy.item_id
                )
            word = f"as {new.process.process_id}: {request.reason}"
            await audit.note(
                tx,
                audit_id=new_id(),
                actor=request.caller,
                verb="rerun, not posted" if request.not_posted else "rerun",
                subject=request.process_id,
                reason=word,
            )
        self._wakeups.work_made()
        self._wakeups.deliveries()
        return RerunResult(
            process_id=new.process.process_id,
            request_id=new.process.request_id or "",
            items=len(new.items),
            already=False,
        )

    async def _new_process(
        self,
        tx: Transaction,
        request: RerunRequest,
        before: Process,
        asked: StoredRequest,
        chosen: Sequence[Item],
    ) -> NewProcess:
        wanted = {item.want_account_id for item in chosen if item.want_account_id is not None}
        there = {each.account_id: each for each in await accounts.named_or_on(tx, wanted, ())}
        slots = []
        for item in chosen:
            phone_id = item.want_phone_id
            if item.want_account_id is not None:
                # It may have moved since.
                phone_id = check_account(item.want_account_id, there).phone_id or phone_id
            slot = Slot(
                app=item.app,
                phone_id=phone_id,
                account_id=item.want_account_id,
                phone_group=item.want_phone_group,
            )
            slots.append((slot, version_of(self._profiles, item.app)))
        # All items of a process have one plan.
        parts = (await items.plans(tx, [chosen[0].item_id]))[chosen[0].item_id]
        spec = ProcessSpec(
            process_type=before.process_type,
            request_id=await _request_id(tx, before),
            system=before.system,
            user=before.user,
            requested_by_metadata=before.requested_by_metadata,
            callback_url=before.callback_url,
            callback_metadata=before.callback_metadata,
            digest=asked.digest,
            target_json=asked.target,
            inputs_json=asked.inputs,
            priority=chosen[0].priority,
            ready_at=tx.now,
            traceparent=request.traceparent,
        )
        return new_process(
            spec,
            Plan.of_json(parts.plan),
            slots,
            now=tx.now,
            max_wait=self._policy.max_wait,
            ids=self._ids,
        )


def _chosen(
    before: Process, known: list[Item], asked: StoredRequest, request: RerunRequest
) -> list[Item]:
    """Return the items to repeat, in their order; FarmError says why there are none."""
    if before.state not in PROCESS_TERMINAL:
        cancel = f"`phonefarm processes cancel {before.process_id} --reason TEXT`"
        remedy = f"wait until it ends, or cancel it: {cancel}"
        raise conflict(
            "process_id",
            str(before.state),
            f"the process has not ended; it is {before.status}: {remedy}",
        )
    if asked.verification or before.process_type not in CAPABILITIES:
        message = "an operator's command created the process: use that command again"
        raise conflict("process_id", "made_by_hand", message)
    chosen = sorted(known, key=lambda item: item.ordinal)
    if request.failed_only:
        chosen = [item for item in chosen if item.state is not ItemState.DONE]
    if not chosen:
        raise conflict("process_id", "nothing_failed", "all items of the process are completed")
    posted = [item for item in chosen if item.once_done]
    if posted:
        some = (
            "" if len(posted) == len(chosen) or request.failed_only else ", or give --failed-only"
        )
        message = f"{_items(posted)} already posted: to post again, send a new request{some}"
        raise conflict("process_id", "already_posted", message)
    unknown = [item for item in chosen if _is_unknown(item)]
    if unknown and not request.not_posted:
        message = (
            f"nobody knows whether {_items(unknown)} posted: check the account; if "
            "the post is not there, give --yes-it-was-not-posted"
        )
        raise conflict("process_id", "outcome_unknown", message)
    return chosen


def _is_unknown(item: Item) -> bool:
    failure = item.failure
    said = failure is not None and failure.code.startswith(FailureCode.OUTCOME_UNKNOWN)
    return said or item.once_started is not None


def _items(some: Sequence[Item]) -> str:
    more = f" and {len(some) - 1} more" if len(some) > 1 else ""
    return f"the item {some[0].item_id}{more}"


async def _request_id(tx: Transaction, before: Process) -> str | None:
    """Return the first free of ID~2, ID~3, ...; None for what has none."""
    if before.request_id is None:
        return None
    match = _NUMBERED.fullmatch(before.request_id)
    base, number = (match[1], int(match[2])) if match else (before.request_id, 1)
    for count in range(number + 1, number + 100):
        name = f"{base[:LONGEST_BASE]}~{count}"
        key = (before.process_type, before.system, name)
        if not await processes.originals_of(tx, [key]):
            return name
    raise conflict(
        "process_id",
        "no_request_id",
        "the caller already uses every request id that the rerun could have",
    )


async def _again(tx: Transaction, process_id: str) -> RerunResult:
    known = (await processes.lock(tx, {process_id}))[process_id]
    count = len(await items.lock_of_processes(tx, {process_id}))
    return RerunResult(
        process_id=process_id, request_id=known.request_id or "", items=count, already=True
    )
