"""Content ingest: each content of an account becomes one post_video item, even if sent twice."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from phonefarm_common.ids import new_id
from phonefarm_common.reasons import FarmError, FieldProblem, Reason

from phonefarm_controller.alarms import DiskAlarm
from phonefarm_controller.capabilities.catalog import Planned, known_capability, planned_inputs
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.model import failures
from phonefarm_controller.model.app_profiles import Profile, profile_of
from phonefarm_controller.model.items import cancelled
from phonefarm_controller.model.requests import Routing, Target
from phonefarm_controller.model.retry_policy import RetryPolicy
from phonefarm_controller.model.states import ITEM_WAITING
from phonefarm_controller.model.transitions import by_caller
from phonefarm_controller.processes.creation import (
    NewProcess,
    ProcessSpec,
    insert_processes,
    new_process,
    read_facts,
)
from phonefarm_controller.processes.status import roll_up_status
from phonefarm_controller.processes.targets import resolve
from phonefarm_controller.store import accounts, contents, items, processes
from phonefarm_controller.store.contents import Content
from phonefarm_controller.store.database import Database, Transaction

CAPABILITY: Final = "post_video"
SYSTEM: Final = "ingest"
"""The `requested_by.system` of ingested content."""


@dataclass(frozen=True, kw_only=True)
class IngestRequest:
    """A video to post. `inputs` are those of post_video; `metadata` is a JSON object."""

    content_id: str
    account_id: str
    inputs: Mapping[str, Any]
    callback_url: str | None
    not_before: datetime | None
    metadata: str
    digest: str
    caller: str = ""  # the name of the key it came with
    traceparent: str | None = None  # the span in which it came


@dataclass(frozen=True, kw_only=True)
class Ingested:
    """The work for a content; the state of its item is the current one."""

    process_id: str
    item_id: str
    state: str
    duplicate: bool


@dataclass(frozen=True, kw_only=True)
class CancelledContent:
    """The item that was cancelled, and the state it was in."""

    item_id: str
    previous: str


class ContentIngest:
    """Creates processes from contents, finds them again, and cancels those that wait."""

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
    async def find(self, account_id: str, content_id: str) -> Ingested | None:
        """Return what the content became, None when it is new; FarmError for the account."""
        async with self._database.reading() as tx:
            known = await accounts.named_or_on(tx, [account_id], [])
            check_account(account_id, {account.account_id: account for account in known})
            return await _known(tx, account_id, content_id)

    @uninterrupted
    async def ingest(self, request: IngestRequest) -> Ingested:
        """Commit the process with its item, or return what the content became before."""
        capability = known_capability(CAPABILITY)
        planned = planned_inputs(capability, request.inputs, dummy_allowed=False, path="")
        async with self._database.writing(actor=by_caller(request.caller)) as tx:
            # Whoever else takes in this content waits for this account, and then finds it.
            check_account(request.account_id, await accounts.lock(tx, {request.account_id}))
            known = await _known(tx, request.account_id, request.content_id)
            if known is not None:
                return known
            self._disk_alarm.check()
            new = await self._new_process(tx, request, planned)
            await insert_processes(tx, [new])
            (item,) = new.items
            content = Content(
                account_id=request.account_id,
                content_id=request.content_id,
                process_id=item.process_id,
                item_id=item.item_id,
            )
            await contents.insert_new(tx, content)
        self._wakeups.work_made()
        if request.not_before is not None:
            self._wakeups.due_times_changed()
        self._wakeups.deliveries()
        return Ingested(
            process_id=item.process_id,
            item_id=item.item_id,
            state=str(item.state),
            duplicate=False,
        )

    @uninterrupted
    async def cancel(
        self, account_id: str, content_id: str, *, reason: str, requested_by: str
    ) -> CancelledContent:
        """Cancel the waiting item; FarmError `unknown_content`, `state_conflict:<state>`."""
        async with self._database.writing(actor=by_caller(requested_by)) as tx:
            content = await contents.get(tx, account_id, content_id)
            if content is None:
                problem = FieldProblem(
                    field="content_id", message="this account has no content with this id"
                )
                message = f"the account {account_id[:128]} has no content {content_id[:256]}"
                raise FarmError(Reason.UNKNOWN_CONTENT, message, problems=(problem,))
            locked = await processes.lock(tx, {content.process_id})
            before = await items.lock(tx, {content.item_id})
            item = before[content.item_id]
            if item.state not in ITEM_WAITING:
                raise FarmError(
                    Reason.STATE_CONFLICT,
                    (
                        f"the content is {item.state}; this call cancels only waiting content: to "
                        f"cancel a run, use POST /processes/{content.process_id}/cancel"
                    ),
                    detail=str(item.state),
                )
            failure = failures.cancelled(reason)
            over = cancelled(item, failure=failure, because=reason, now=tx.now)
            await items.save(tx, before, [over])
            await processes.note_cancel(tx, content.process_id, requested_by=requested_by)
            await roll_up_status(tx, locked, cancel_requested=set(locked))
        self._wakeups.deliveries()
        return CancelledContent(item_id=item.item_id, previous=str(item.state))

    async def _new_process(
        self, tx: Transaction, request: IngestRequest, planned: Planned
    ) -> NewProcess:
        target = Target(routing=Routing.DIRECT, account_id=request.account_id)
        (slot,) = resolve(target, app=None, facts=await read_facts(tx, [target]))
        spec = ProcessSpec(
            process_type=CAPABILITY,
            request_id=None,
            system=SYSTEM,
            callback_url=request.callback_url,
            callback_metadata=request.metadata,
            digest=request.digest,
            target_json=json.dumps({"routing": target.routing, "account_id": request.account_id}),
            inputs_json=json.dumps(dict(request.inputs) | {"content_id": request.content_id}),
            ready_at=max(request.not_before or tx.now, tx.now),
            traceparent=request.traceparent,
        )
        return new_process(
            spec,
            planned.plan,
            [(slot, profile_of(self._profiles, slot.app).version)],
            now=tx.now,
            max_wait=self._policy.max_wait,
            ids=self._ids,
        )


def check_account(account_id: str, known: Mapping[str, accounts.Account]) -> accounts.Account:
    """Return the account; FarmError `unknown_account`, `inactive_account`."""
    account = known.get(account_id)
    if account is not None and account.active:
        return account
    reason = Reason.UNKNOWN_ACCOUNT if account is None else Reason.INACTIVE_ACCOUNT
    words = str(reason).replace("_", " ")
    problem = FieldProblem(field="account_id", message=f"names {account_id[:128]!r}: {words}")
    message = f"{words}: {account_id[:128]}"
    raise FarmError(reason, message, detail=account_id[:128], problems=(problem,))


async def _known(tx: Transaction, account_id: str, content_id: str) -> Ingested | None:
    content = await contents.get(tx, account_id, content_id)
    if content is None:
        return None
    item = (await items.get(tx, {content.item_id}))[content.item_id]
    return Ingested(
        process_id=content.process_id,
        item_id=content.item_id,
        state=str(item.state),
        duplicate=True,
    )
