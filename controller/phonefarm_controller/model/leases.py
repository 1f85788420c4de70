"""A lease: the right to drive one phone for one account, with an epoch that only rises."""

from dataclasses import dataclass, replace
from datetime import datetime

from phonefarm_controller.model.replace import replaced
from phonefarm_controller.model.states import LEASE_MOVES, IllegalMoveError, LeaseState

LEASE_EXPIRED = "lease expired"
CLEAN_UP_UNCONFIRMED = "clean-up was not confirmed in time"
LEASE_OVERRUN = "its run continued beyond its time limit"


@dataclass(frozen=True, kw_only=True)
class Lease:
    """One lease; `phone_held` and `account_held`: what it still keeps from others."""

    lease_id: str
    run_id: str
    item_id: str
    process_id: str
    phone_id: str
    account_id: str
    agent_id: str
    epoch: int
    state: LeaseState
    phone_held: bool
    account_held: bool
    renewals: int
    cap_at: datetime
    granted_at: datetime
    ended_at: datetime | None = None
    reason: str | None = None
    revoked: bool = False  # taken from its run, which is not known stopped: it may still act

    @property
    def most_seconds(self) -> float:
        """Return for how long it may be kept; whoever watches counts that by its own clock."""
        return (self.cap_at - self.granted_at).total_seconds()

    @property
    def given_up(self) -> bool:
        """Tell whether the agent itself said that it could not clean the phone."""
        return given_up(self.state, self.reason)


def given_up(state: LeaseState, reason: str | None) -> bool:
    """Tell whether a lease that is so was left dirty by its agent's own report."""
    return state is LeaseState.DIRTY and reason not in {LEASE_EXPIRED, CLEAN_UP_UNCONFIRMED}


def releasing(lease: Lease) -> Lease:
    """Return the lease of a run that has ended: the phone waits for its clean-up."""
    return _moved(lease, LeaseState.RELEASING, account_held=False)


def revoked(lease: Lease, *, reason: str) -> Lease:
    """Return the live lease taken from a run that may still act.

    Nobody is given phone or account before its agent has said that the run is over, or has had the
    time to fence itself.
    """
    if lease.state is not LeaseState.LIVE:
        raise IllegalMoveError(lease.state, LeaseState.RELEASING)
    return replace(lease, state=LeaseState.RELEASING, revoked=True, reason=reason)


def stopped(lease: Lease) -> Lease:
    """Return the revoked lease of a run that is known to be over: the phone waits for clean-up."""
    return replace(lease, account_held=False, revoked=False)


def dirty(lease: Lease, *, reason: str) -> Lease:
    """Return the lease of a phone that nobody confirmed clean."""
    return _moved(lease, LeaseState.DIRTY, account_held=False, revoked=False, reason=reason)


def still_dirty(lease: Lease, *, reason: str) -> Lease:
    """Return the lease of a dirty phone whose agent, heard again, could not clean it either."""
    if lease.state is not LeaseState.DIRTY:
        raise IllegalMoveError(lease.state, LeaseState.DIRTY)
    return replace(lease, reason=reason)


def ended(lease: Lease, *, now: datetime, reason: str) -> Lease:
    """Return the lease with phone and account given back."""
    return _moved(
        lease,
        LeaseState.ENDED,
        phone_held=False,
        account_held=False,
        revoked=False,
        ended_at=now,
        reason=lease.reason or reason,
    )


def _moved(lease: Lease, to: LeaseState, **changes: object) -> Lease:
    if to not in LEASE_MOVES[lease.state]:
        raise IllegalMoveError(lease.state, to)
    return replaced(lease, state=to, **changes)
