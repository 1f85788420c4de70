"""Hold: reserves a phone for a person, with adb access, until its time is over."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from phonefarm_common.ids import new_id
from phonefarm_common.reasons import FarmError, FieldProblem, Reason

from phonefarm_controller.alarms import DiskAlarm
from phonefarm_controller.capabilities.planners import hold
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.fleet.phones import locked_phone
from phonefarm_controller.model.app_profiles import Profile, profile_of
from phonefarm_controller.model.errors import (
    check_reason,
    conflict,
    invalid_field,
    unknown_process,
)
from phonefarm_controller.model.items import HOLD, CancelStrategy
from phonefarm_controller.model.retry_policy import RetryPolicy
from phonefarm_controller.model.states import ItemState
from phonefarm_controller.model.transitions import by_operator
from phonefarm_controller.processes.cancel import CancelProcess, CancelRequest
from phonefarm_controller.processes.creation import ProcessSpec, insert_processes, new_process
from phonefarm_controller.processes.targets import Slot
from phonefarm_controller.store import accounts, agents, audit, items, queue, runs
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.phones import Phone

SYSTEM: Final = "operator"
"""The `requested_by.system` of holds."""
PRIORITY: Final = 9
LONGEST_WAIT: Final = 24 * 3600


@dataclass(frozen=True, kw_only=True)
class HoldView:
    """A hold as it is now; `address` is that of its adb server on the phone's host."""

    process_id: str
    phone_id: str
    agent_id: str
    state: ItemState
    address: str
    until: datetime | None
    why: str  # the failure it ended with


class Hold:
    """Creates, reads and ends holds. A hold is a process with one item."""

    def __init__(
        self,
        *,
        database: Database,
        profiles: Mapping[str, Profile],
        policy: RetryPolicy,
        wakeups: WakeUps,
        disk_alarm: DiskAlarm,
        cancel: CancelProcess,
        ids: Callable[[], str] = new_id,
    ) -> None:
        self._database = database
        self._profiles = profiles
        self._policy = policy
        self._wakeups = wakeups
        self._disk_alarm = disk_alarm
        self._cancel = cancel
        self._ids = ids

    @uninterrupted
    async def hold(self, phone_id: str, *, seconds: int, wait: int, actor: str, reason: str) -> str:
        """Commit a hold of so many seconds, which begins within *wait*; return its process.

        It waits until the run on the phone has ended, and goes before all work. FarmError
        `unknown_phone`, `inactive_phone` for a retired one, `agent_too_old`, `state_conflict:held`.
        """
        check_reason(reason)
        if not hold.SHORTEST_SECONDS <= seconds <= hold.LONGEST_SECONDS:
            told = (
                f"must be {hold.SHORTEST_SECONDS} to {hold.LONGEST_SECONDS}; to hold the phone "
                "longer, hold it again"
            )
            raise invalid_field("seconds", told)
        if not 0 < wait <= LONGEST_WAIT:
            raise invalid_field("wait_seconds", f"must be 1 to {LONGEST_WAIT}")
        async with self._database.writing(actor=by_operator(actor)) as tx:
            phone = await locked_phone(tx, phone_id)
            await _check(tx, phone)
            self._disk_alarm.check()
            app = await self._app(tx, phone_id)
            order = ProcessSpec(
                process_type=HOLD,
                request_id=None,
                system=SYSTEM,
                user=actor,
                target_json=json.dumps({"routing": "direct", "phone_id": phone_id}),
                inputs_json=json.dumps({"seconds": seconds, "reason": reason[:500]}),
                priority=PRIORITY,
                ready_at=tx.now,
                deadline=tx.now + timedelta(seconds=wait),
            )
            draft = new_process(
                order,
                hold.plan(float(seconds)),
                [(Slot(app=app, phone_id=phone_id), profile_of(self._profiles, app).version)],
                now=tx.now,
                max_wait=self._policy.max_wait,
                ids=self._ids,
            )
            await insert_processes(tx, [draft])
            await _note(tx, actor, "hold", phone_id, f"{seconds} s: {reason}")
        self._wakeups.work_made()
        self._wakeups.due_times_changed()
        return draft.process.process_id

    @uninterrupted
    async def get(self, process_id: str) -> HoldView:
        """Return the hold as it is; FarmError `unknown_process`."""
        async with self._database.reading() as tx:
            lines = (await items.lines(tx, {process_id})).get(process_id, [])
            known = await items.get(tx, {line.item_id for line in lines})
            item = next(iter(known.values()), None)
            if item is None or not item.by_hand:
                raise unknown_process(process_id)
            going = item.state is ItemState.EXECUTING and item.run_id is not None
            run = (await runs.get(tx, {item.run_id or ""})).get(item.run_id or "")
        until = None
        if going and run is not None and run.started_at is not None:
            plan_seconds = item.cap_seconds - hold.plan(0).cap_seconds
            until = run.started_at + timedelta(seconds=plan_seconds)
        return HoldView(
            process_id=process_id,
            phone_id=item.want_phone_id or "",
            agent_id="" if run is None else run.agent_id,
            state=item.state,
            address=(run.container or "") if going and run is not None else "",
            until=until,
            why="" if item.failure is None else f"{item.failure.code}: {item.failure.message}",
        )

    @uninterrupted
    async def unhold(self, phone_id: str, *, actor: str, reason: str = "") -> HoldView:
        """End the phone's hold at once; FarmError `unknown_phone`, `state_conflict:not_held`."""
        async with self._database.writing(actor=by_operator(actor)) as tx:
            await locked_phone(tx, phone_id)
            process_id = await _open_hold(tx, phone_id)
            if process_id is None:
                message = f"nobody holds {phone_id}, and nobody is waiting to hold it"
                raise conflict("phone_id", "not_held", message)
            await _note(tx, actor, "unhold", phone_id, reason)
        await self._cancel(
            CancelRequest(
                process_id=process_id,
                reason=f"unhold by {actor}: {reason}".removesuffix(": ")[:500],
                requested_by=actor,
                strategy=CancelStrategy.HARD,
                force_after_seconds=0.0,
                caller=actor,
            )
        )
        return await self.get(process_id)

    async def _app(self, tx: Transaction, phone_id: str) -> str:
        """Return the app that is stopped at the end: that of the account there, if there is one."""
        apps = await accounts.apps_on(tx, [phone_id], self._profiles)
        return apps.get(phone_id, min(self._profiles))


async def _check(tx: Transaction, phone: Phone) -> None:
    if not phone.may_be_held:
        back = f"`phonefarm phones return {phone.phone_id} --reason TEXT`"
        told = f"{phone.phone_id} is retired: {back} takes it back into the farm"
        problem = FieldProblem(field="phone_id", message=told)
        raise FarmError(Reason.INACTIVE_PHONE, told, detail=phone.phone_id, problems=(problem,))
    agent = (await agents.get(tx, {phone.agent_id})).get(phone.agent_id)
    if agent is not None and not agent.runtime:
        message = (
            f"the agent {agent.agent_id} ({agent.version}) does not support holds: "
            "upgrade the agent"
        )
        raise FarmError(Reason.AGENT_TOO_OLD, message)
    process_id = await _open_hold(tx, phone.phone_id)
    if process_id is not None:
        remedy = f"`phonefarm phones unhold {phone.phone_id} --reason TEXT` ends that hold"
        raise conflict("phone_id", "held", f"the process {process_id} holds the phone: {remedy}")


async def _open_hold(tx: Transaction, phone_id: str) -> str | None:
    """Return the process of the phone's hold that has not ended."""
    found = await queue.open_phone_only(tx, [phone_id])
    return next((each.process_id for each in found if each.by_hand), None)


async def _note(tx: Transaction, actor: str, verb: str, subject: str, reason: str) -> None:
    await audit.note(tx, audit_id=new_id(), actor=actor, verb=verb, subject=subject, reason=reason)
