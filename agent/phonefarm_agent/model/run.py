"""The state of a run on this host, and the allowed moves."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

HOLD = "hold"
"""The capability of a hold: a person drives the phone, and there is no container."""


@dataclass(frozen=True, kw_only=True)
class RunRef:
    """The reference of a run; every message about the run carries all five."""

    run_id: str
    item_id: str
    attempt: int
    lease_id: str
    epoch: int


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """One item for one phone; `plan_json` is the controller's part of plan.json."""

    ref: RunRef
    process_id: str
    phone_id: str
    serialno: str
    account_id: str
    capability: str
    plan_json: str
    cap_seconds: float


class StopStrategy(StrEnum):
    """How a run is stopped, from the gentlest to the hardest."""

    SOFT = "soft"
    SOFT_THEN_FORCE = "soft_then_force"
    HARD = "hard"


_FIRMNESS = {StopStrategy.SOFT: 0, StopStrategy.SOFT_THEN_FORCE: 1, StopStrategy.HARD: 2}


@dataclass(frozen=True, kw_only=True)
class StopOrder:
    """The controller's order to stop a run."""

    ref: RunRef
    reason: str
    strategy: StopStrategy = StopStrategy.HARD
    force_after_seconds: float = 0.0


def firmer(standing: StopOrder | None, order: StopOrder) -> StopOrder:
    """Return *order* when it asks for more than the *standing* one, else the standing one.

    A repeated order changes nothing, so that its window goes on from the first.
    """
    if standing is None or _FIRMNESS[order.strategy] > _FIRMNESS[standing.strategy]:
        return order
    return standing


class Phase(StrEnum):
    """The phases of a run on this host."""

    ASSIGNED = "assigned"  # journalled
    PREPARING = "preparing"  # the phone is being probed, the container made
    READY = "ready"  # waiting at the start gate
    GOING = "going"  # `go` was seen
    ENDED = "ended"  # the container is gone, RunEnded is journalled; the phone is cleaned up
    RELEASED = "released"  # PhoneReleased is journalled; records wait for acknowledgement
    FORGOTTEN = "forgotten"  # all acknowledged


MOVES: Mapping[Phase, frozenset[Phase]] = {
    # Straight to RELEASED: refused, nothing was started.
    Phase.ASSIGNED: frozenset({Phase.PREPARING, Phase.ENDED, Phase.RELEASED}),
    Phase.PREPARING: frozenset({Phase.READY, Phase.ENDED, Phase.RELEASED}),
    Phase.READY: frozenset({Phase.GOING, Phase.ENDED, Phase.RELEASED}),
    Phase.GOING: frozenset({Phase.ENDED}),
    Phase.ENDED: frozenset({Phase.RELEASED}),
    Phase.RELEASED: frozenset({Phase.FORGOTTEN}),
    Phase.FORGOTTEN: frozenset(),
}

LIVE = frozenset(
    {Phase.ASSIGNED, Phase.PREPARING, Phase.READY, Phase.GOING, Phase.ENDED},
)
"""The phases before release: the lease is renewed, and the phone is not offered."""


class IllegalMoveError(Exception):
    """A run's state does not allow the move; a bug in the agent."""


@dataclass(frozen=True, kw_only=True)
class RunState:
    """The journalled state of a run; every change returns a new value."""

    assignment: Assignment
    phase: Phase = Phase.ASSIGNED
    went: bool = False
    stop: StopOrder | None = None
    last_sequence: int = 0
    open_action: tuple[int, str] | None = None  # begun and neither done nor failed
    failed_action: tuple[int, str] | None = None
    adb_serial: str = ""
    handle_name: str = ""
    handle_token: str = ""
    unclean: str = ""  # why the phone was not clean when it was released

    @property
    def ref(self) -> RunRef:
        """Return the reference of the run."""
        return self.assignment.ref

    def move(self, to: Phase) -> Self:
        """Return the state in phase *to*; IllegalMoveError when no such move exists.

        A run that was told to stop never goes, and a run that went is never refused.
        """
        if to not in MOVES[self.phase]:
            raise IllegalMoveError(f"run {self.ref.run_id}: {self.phase} -> {to}")
        if to is Phase.GOING and self.stop is not None:
            raise IllegalMoveError(
                f"run {self.ref.run_id}: the run must stop and may not begin to act"
            )
        return replace(self, phase=to, went=self.went or to is Phase.GOING)

    def order_stop(self, order: StopOrder) -> Self:
        """Return the state with the firmer of the standing stop and *order*."""
        return replace(self, stop=firmer(self.stop, order))


@dataclass(frozen=True, kw_only=True)
class HeldRun:
    """A run that this agent holds, as its Hello reports it."""

    ref: RunRef
    going: bool
    ended: bool


@dataclass(frozen=True, kw_only=True)
class RunStarted:
    """The container waits at the start gate since `asked_at`, by the monotonic clock."""

    ref: RunRef
    container: str
    asked_at: float


@dataclass(frozen=True, kw_only=True)
class Go:
    """The start gate's answer go; valid until `until`, by the monotonic clock."""

    ref: RunRef
    until: float
