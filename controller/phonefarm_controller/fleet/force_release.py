"""Release: an operator takes a phone from the run that drives it."""

import random
from collections.abc import Callable

import structlog
from phonefarm_common.ids import new_id
from phonefarm_common.reasons import FailureCode

from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.fleet.phones import PhoneView, known_phone, view_phone
from phonefarm_controller.model.errors import check_reason, conflict
from phonefarm_controller.model.items import voided
from phonefarm_controller.model.leases import Lease, revoked
from phonefarm_controller.model.replace import replaced
from phonefarm_controller.model.retry_policy import RetryPolicy
from phonefarm_controller.model.states import ItemState, LeaseState, RunState
from phonefarm_controller.model.transitions import by_operator
from phonefarm_controller.runs.endings import end_unreported, hard_stop, lost_run
from phonefarm_controller.runs.unit_of_work import UnitOfWork, open_unit_of_work
from phonefarm_controller.store import audit, leases
from phonefarm_controller.store.database import Database

log = structlog.get_logger()


class ForceRelease:
    """Takes phones from runs, by compare-and-set of the epoch."""

    def __init__(
        self,
        *,
        database: Database,
        policy: RetryPolicy,
        sessions: Sessions,
        wakeups: WakeUps,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._policy = policy
        self._sessions = sessions
        self._wakeups = wakeups
        self._chance = chance

    @uninterrupted
    async def __call__(self, phone_id: str, *, epoch: int, actor: str, reason: str) -> PhoneView:
        """End the attempt whose lease has *epoch*, and tell its agent to stop.

        The item goes on at once: uncharged when it had not begun, else as after any fault of the
        host. Phone and account wait for the agent's word, or for the time it has to fence itself.
        FarmError `unknown_phone`, `state_conflict:` free, releasing, dirty or epoch_N.
        """
        check_reason(reason)
        async with self._database.writing(actor=by_operator(actor)) as tx:
            phone = await known_phone(tx, phone_id)
            held = await leases.of_phones(tx, [phone_id])
            work, locked = await open_unit_of_work(tx, {lease.lease_id for lease in held.values()})
            lease = _checked(phone_id, next(iter(work.leases.values()), None), epoch)
            self._end(work, lease, actor, reason)
            after = revoked(lease, reason=f"released by {actor}: {reason}"[:500])
            work.leases[lease.lease_id] = after
            await work.save(locked)
            await audit.note(
                tx,
                audit_id=new_id(),
                actor=actor,
                verb="release",
                subject=phone_id,
                reason=f"epoch {epoch}, process {lease.process_id}: {reason}",
            )
            stop = hard_stop(work, lease, "an operator released the phone")
            view = await view_phone(tx, self._sessions, phone)
        log.warning("phone.released_by_operator", phone_id=phone_id, epoch=epoch, actor=actor)
        self._wakeups.orders_made(self._sessions.send([stop]))
        self._wakeups.fleet_changed()
        self._wakeups.due_times_changed()
        self._wakeups.deliveries()
        return view

    def _end(self, work: UnitOfWork, lease: Lease, actor: str, reason: str) -> None:
        item, run = work.items[lease.item_id], work.runs[lease.run_id]
        if item.state is ItemState.CLAIMED and item.lease_id == lease.lease_id:
            work.items[item.item_id] = voided(item, because="lease_released", now=work.tx.now)
            work.runs[run.run_id] = replaced(
                run, state=RunState.VOIDED, ended_at=work.tx.now, outcome="lease released"
            )
            return
        body = lost_run(FailureCode.LEASE_RELEASED, f"{actor} released the phone: {reason}"[:500])
        end_unreported(work, lease, body, policy=self._policy, chance=self._chance)


def _checked(phone_id: str, lease: Lease | None, epoch: int) -> Lease:
    """Return the live lease of this epoch; FarmError says why there is none."""
    if lease is None or lease.state is LeaseState.ENDED:
        raise conflict("phone_id", "free", f"no run holds {phone_id}: there is nothing to release")
    if lease.epoch != epoch:
        told = f"the process {lease.process_id} now has the lease on {phone_id}, with the epoch"
        remedy = f"{told} {lease.epoch}, not {epoch}: to end that lease, give --epoch {lease.epoch}"
        raise conflict("epoch", f"epoch_{lease.epoch}", remedy)
    if lease.state is LeaseState.DIRTY:
        remedy = (
            "its run has ended: check the phone, then run "
            f"`phonefarm phones return {phone_id} --reason TEXT`"
        )
        raise conflict("phone_id", "dirty", remedy)
    if lease.state is LeaseState.RELEASING:
        remedy = (
            "its run has ended and the agent is cleaning the phone: wait; if the agent does not "
            "report that the phone is clean, the controller quarantines the phone"
        )
        raise conflict("phone_id", "releasing", remedy)
    return lease
