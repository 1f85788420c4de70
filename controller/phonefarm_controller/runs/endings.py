"""Ends attempts and frees phones, within a unit of work."""

from collections.abc import Callable
from dataclasses import replace

import structlog
from phonefarm_common.reasons import FailureClass, FailureCode
from phonefarm_common.wire_enums import RunOutcome

from phonefarm_controller.model import failures
from phonefarm_controller.model.health import Blame
from phonefarm_controller.model.items import (
    Item,
    cancelled,
    dead,
    done,
    failed,
    given_back,
    voided,
)
from phonefarm_controller.model.leases import Lease, dirty, ended, releasing, still_dirty
from phonefarm_controller.model.replace import replaced
from phonefarm_controller.model.retry_policy import RetryPolicy
from phonefarm_controller.model.run_reports import PhoneReleased, RunEnded, RunRef, Stop
from phonefarm_controller.model.states import ITEM_ACTIVE, ItemState, LeaseState, RunState
from phonefarm_controller.runs.unit_of_work import UnitOfWork
from phonefarm_controller.store import runs

log = structlog.get_logger()


def end_run(
    work: UnitOfWork,
    item: Item,
    lease: Lease,
    run: runs.Run,
    body: RunEnded,
    *,
    policy: RetryPolicy,
    chance: Callable[[], float],
) -> None:
    """End the attempt as *body* says; its phone waits for clean-up."""
    now = work.tx.now
    match body.outcome:
        case RunOutcome.DONE if item.state is ItemState.EXECUTING:
            moved = done(item, now=now)
            if item.golden:
                work.proved.add(lease.phone_id)
        case RunOutcome.STOPPED if item.cancel is not None and item.once_started is None:
            wish = item.cancel.reason
            moved = (
                given_back(item, now=now)
                if item.cancel.give_back
                else cancelled(item, failure=failures.cancelled(wish), because=wish, now=now)
            )
        case _:
            failure = body.failure or failures.infra(
                FailureCode.RUN_CRASHED, f"the run ended ({body.outcome}) without giving a reason"
            )
            moved = failed(item, failure, policy=policy, now=now, chance=chance)
            if failure.failure_class is FailureClass.ACCOUNT:
                work.attention[lease.account_id] = failure.code
    work.items[item.item_id] = moved
    work.leases[lease.lease_id] = releasing(lease)
    work.runs[run.run_id] = replaced(
        run, state=RunState.ENDED, ended_at=now, outcome=str(body.outcome)
    )
    log.info(
        "run.ended",
        process_id=item.process_id,
        item_id=item.item_id,
        run_id=run.run_id,
        trace_id=work.trace_ids.get(item.process_id),
        phone_id=lease.phone_id,
        outcome=str(body.outcome),
        state=str(moved.state),
        code=moved.failure.code if moved.failure else None,
    )


def end_expired(work: UnitOfWork, item: Item, lease: Lease, run: runs.Run) -> None:
    """End the item of a run whose `go` was lost until after the deadline: nothing was done."""
    now = work.tx.now
    failure = failures.expired(deadline=item.deadline_given, last=item.failure)
    work.items[item.item_id] = dead(item, failure=failure, now=now)
    work.leases[lease.lease_id] = releasing(lease)
    work.runs[run.run_id] = replaced(
        run, state=RunState.ENDED, ended_at=now, outcome=str(RunOutcome.STOPPED)
    )


def end_unreported(
    work: UnitOfWork,
    lease: Lease,
    body: RunEnded,
    *,
    policy: RetryPolicy,
    chance: Callable[[], float],
) -> None:
    """End the attempt that holds *lease* without its agent's report; skip an item that went on.

    A wish to cancel counts as carried out, unconfirmed.
    """
    item, run = work.items[lease.item_id], work.runs[lease.run_id]
    current = item.lease_id == lease.lease_id and item.epoch == lease.epoch
    if not current or item.state not in ITEM_ACTIVE:
        work.leases[lease.lease_id] = releasing(lease)
        return
    wished = item.cancel is not None and not item.cancel.give_back
    if item.cancel is not None and wished and item.once_started is None:
        failure = failures.cancel_unconfirmed(item.cancel.reason)
        work.items[item.item_id] = cancelled(
            item, failure=failure, because=failure.code, now=work.tx.now
        )
        work.leases[lease.lease_id] = releasing(lease)
        work.runs[run.run_id] = replace(
            run, state=RunState.ENDED, ended_at=work.tx.now, outcome="unconfirmed"
        )
        return
    end_run(work, item, lease, run, body, policy=policy, chance=chance)


def refuse_run(work: UnitOfWork, item: Item, lease: Lease, run: runs.Run, *, reason: str) -> None:
    """Give item and account back: the agent did not begin. A cancelled item ends.

    The phone comes back with the agent's word that it is clean, which follows every refusal.
    """
    now = work.tx.now
    work.items[item.item_id] = voided(item, because=f"refused:{reason}", now=now)
    work.leases[lease.lease_id] = releasing(lease)
    work.runs[run.run_id] = replace(run, state=RunState.VOIDED, ended_at=now, outcome=reason)


def release(work: UnitOfWork, lease: Lease, body: PhoneReleased) -> None:
    """Free the phone when it is clean, else keep it from work with the reason."""
    if lease.state not in {LeaseState.RELEASING, LeaseState.DIRTY}:
        return
    if body.clean:
        work.leases[lease.lease_id] = ended(lease, now=work.tx.now, reason="clean")
        if lease.state is LeaseState.DIRTY:
            work.cleaned.add(lease.phone_id)
        return
    reason = body.reason or "clean-up failed"
    if lease.state is LeaseState.RELEASING:
        work.leases[lease.lease_id] = dirty(lease, reason=reason)
    elif not lease.given_up:
        work.leases[lease.lease_id] = still_dirty(lease, reason=reason)
    else:
        return
    work.quarantined[lease.phone_id] = reason
    work.charge(lease, Blame.CLEAN_UP, "clean_up_failed", reason)
    log.warning("phone.left_dirty", phone_id=lease.phone_id, reason=reason)


def hard_stop(work: UnitOfWork, lease: Lease, reason: str) -> Stop:
    """Return the order that ends the lease's run now."""
    run = work.runs_before[lease.run_id]
    return Stop(
        agent_id=lease.agent_id,
        run=RunRef(
            run_id=run.run_id,
            item_id=run.item_id,
            attempt=run.attempt,
            lease_id=run.lease_id,
            epoch=run.epoch,
        ),
        reason=reason,
        strategy="hard",
        force_after_seconds=0,
    )


def lost_run(code: FailureCode, message: str) -> RunEnded:
    """Return the ending of a run that nobody can report on any more."""
    failure = failures.infra(code, message)
    return RunEnded(outcome=RunOutcome.FAILED, failure=failure, exit_code=None)
