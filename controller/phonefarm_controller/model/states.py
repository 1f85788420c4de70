"""Every state and every allowed move, as data; CHECKs and docs/states.md come from here."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class ProcessState(StrEnum):
    """The internal state of a process, derived from its items."""

    QUEUED = "QUEUED"
    PLANNED = "PLANNED"
    CLAIMED = "CLAIMED"
    EXECUTING = "EXECUTING"
    RETRYABLE = "RETRYABLE"
    DONE = "DONE"
    PARTIAL = "PARTIAL"
    DEAD_LETTER = "DEAD_LETTER"
    CANCELLED = "CANCELLED"


class PublicStatus(StrEnum):
    """What a caller sees."""

    QUEUED = "queued"
    EXECUTING = "executing"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED_TERMINAL = "failed_terminal"
    CANCELLED = "cancelled"


class ItemState(StrEnum):
    """The state of a queue item."""

    QUEUED = "QUEUED"
    SCHEDULED = "SCHEDULED"
    CLAIMED = "CLAIMED"
    EXECUTING = "EXECUTING"
    RETRYABLE = "RETRYABLE"
    DONE = "DONE"
    DEAD_LETTER = "DEAD_LETTER"
    CANCELLED = "CANCELLED"


class RunState(StrEnum):
    """The state of one attempt."""

    CLAIMED = "CLAIMED"
    EXECUTING = "EXECUTING"
    ENDED = "ENDED"
    VOIDED = "VOIDED"


class LeaseState(StrEnum):
    """The state of the right to drive a phone."""

    LIVE = "live"
    RELEASING = "releasing"
    DIRTY = "dirty"
    ENDED = "ended"


class DeliveryState(StrEnum):
    """The state of one callback to send."""

    PENDING = "pending"
    LEASED = "leased"
    DELIVERED = "delivered"
    DEAD = "dead"
    STOPPED = "stopped"


class Health(StrEnum):
    """What the controller thinks of a phone."""

    GOOD = "good"
    SUSPECT = "suspect"
    QUARANTINED = "quarantined"
    RETIRED = "retired"


class Intent(StrEnum):
    """What the operator wants of a phone."""

    NEW = "new"
    IN_SERVICE = "in_service"
    MAINTENANCE = "maintenance"
    DRAINING = "draining"


class Condition(StrEnum):
    """Whether an account can work."""

    OK = "ok"
    NEEDS_ATTENTION = "needs_attention"


_P, _I, _R, _L, _D = ProcessState, ItemState, RunState, LeaseState, DeliveryState
_H = Health

_PROCESS_ENDS: Final = frozenset({_P.DONE, _P.PARTIAL, _P.DEAD_LETTER, _P.CANCELLED})

PROCESS_MOVES: Final[Mapping[ProcessState, frozenset[ProcessState]]] = {
    _P.QUEUED: frozenset({_P.PLANNED}),
    _P.PLANNED: frozenset({_P.CLAIMED, _P.EXECUTING}) | _PROCESS_ENDS,
    # Back to PLANNED when the claim is voided.
    _P.CLAIMED: frozenset({_P.PLANNED, _P.EXECUTING}) | _PROCESS_ENDS,
    _P.EXECUTING: frozenset({_P.RETRYABLE}) | _PROCESS_ENDS,
    _P.RETRYABLE: frozenset({_P.EXECUTING}) | _PROCESS_ENDS,
    _P.DONE: frozenset(),
    _P.PARTIAL: frozenset(),
    _P.DEAD_LETTER: frozenset(),
    _P.CANCELLED: frozenset(),
}

_ITEM_GIVEN_UP: Final = frozenset({_I.CANCELLED, _I.DEAD_LETTER})

ITEM_MOVES: Final[Mapping[ItemState, frozenset[ItemState]]] = {
    _I.QUEUED: frozenset({_I.CLAIMED}) | _ITEM_GIVEN_UP,
    _I.SCHEDULED: frozenset({_I.CLAIMED}) | _ITEM_GIVEN_UP,
    _I.CLAIMED: frozenset({_I.QUEUED, _I.EXECUTING}) | _ITEM_GIVEN_UP,
    _I.EXECUTING: frozenset({_I.DONE, _I.RETRYABLE}) | _ITEM_GIVEN_UP,
    _I.RETRYABLE: frozenset({_I.QUEUED}) | _ITEM_GIVEN_UP,
    _I.DONE: frozenset(),
    _I.DEAD_LETTER: frozenset(),
    _I.CANCELLED: frozenset(),
}

RUN_MOVES: Final[Mapping[RunState, frozenset[RunState]]] = {
    _R.CLAIMED: frozenset({_R.EXECUTING, _R.ENDED, _R.VOIDED}),
    _R.EXECUTING: frozenset({_R.ENDED}),
    _R.ENDED: frozenset(),
    _R.VOIDED: frozenset(),
}

LEASE_MOVES: Final[Mapping[LeaseState, frozenset[LeaseState]]] = {
    _L.LIVE: frozenset({_L.RELEASING, _L.DIRTY, _L.ENDED}),
    _L.RELEASING: frozenset({_L.DIRTY, _L.ENDED}),
    _L.DIRTY: frozenset({_L.ENDED}),
    _L.ENDED: frozenset(),
}

DELIVERY_MOVES: Final[Mapping[DeliveryState, frozenset[DeliveryState]]] = {
    _D.PENDING: frozenset({_D.LEASED, _D.STOPPED}),
    _D.LEASED: frozenset({_D.PENDING, _D.LEASED, _D.DELIVERED, _D.DEAD, _D.STOPPED}),
    _D.DELIVERED: frozenset(),
    _D.DEAD: frozenset(),
    _D.STOPPED: frozenset(),
}

HEALTH_MOVES: Final[Mapping[Health, frozenset[Health]]] = {
    _H.GOOD: frozenset({_H.SUSPECT, _H.QUARANTINED, _H.RETIRED}),
    _H.SUSPECT: frozenset({_H.GOOD, _H.SUSPECT, _H.QUARANTINED, _H.RETIRED}),
    # A quarantine by failures may become one by dirt, and back.
    _H.QUARANTINED: frozenset({_H.GOOD, _H.SUSPECT, _H.QUARANTINED, _H.RETIRED}),
    # By an operator's `return` alone.
    _H.RETIRED: frozenset({_H.GOOD, _H.RETIRED}),
}

PROCESS_TERMINAL: Final = frozenset(s for s, to in PROCESS_MOVES.items() if not to)
ITEM_TERMINAL: Final = frozenset(s for s, to in ITEM_MOVES.items() if not to)
DELIVERY_SETTLED: Final = frozenset(s for s, to in DELIVERY_MOVES.items() if not to)
"""Only an operator's replay makes one of these pending again."""

ITEM_WAITING: Final = frozenset({_I.QUEUED, _I.SCHEDULED, _I.RETRYABLE})
ITEM_CLAIMABLE: Final = frozenset({_I.QUEUED, _I.SCHEDULED})
ITEM_ACTIVE: Final = frozenset({_I.CLAIMED, _I.EXECUTING})

PUBLIC: Final[Mapping[ProcessState, PublicStatus]] = {
    _P.QUEUED: PublicStatus.QUEUED,
    _P.PLANNED: PublicStatus.QUEUED,
    _P.CLAIMED: PublicStatus.QUEUED,
    _P.EXECUTING: PublicStatus.EXECUTING,
    _P.RETRYABLE: PublicStatus.RETRYING,
    _P.DONE: PublicStatus.COMPLETED,
    _P.PARTIAL: PublicStatus.FAILED_TERMINAL,
    _P.DEAD_LETTER: PublicStatus.FAILED_TERMINAL,
    _P.CANCELLED: PublicStatus.CANCELLED,
}


class IllegalMoveError(Exception):
    """A move that the table does not allow; the text names both states."""

    def __init__(self, before: StrEnum, after: StrEnum) -> None:
        super().__init__(f"{type(before).__name__} cannot move from {before} to {after}")
        self.before, self.after = before, after


def check_item_move(before: ItemState, after: ItemState) -> None:
    """Raise IllegalMoveError unless the table allows the move."""
    if after not in ITEM_MOVES[before]:
        raise IllegalMoveError(before, after)


def check_health_move(before: Health, after: Health) -> None:
    """Raise IllegalMoveError unless the table allows the move."""
    if after not in HEALTH_MOVES[before]:
        raise IllegalMoveError(before, after)
