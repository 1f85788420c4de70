"""The reports of an agent about a run, and the reference that names a run."""

from dataclasses import dataclass

from phonefarm_common.wire_enums import RunOutcome

from phonefarm_controller.model.failures import Failure
from phonefarm_controller.model.items import Cancellation, CancelStrategy, Item


@dataclass(frozen=True, kw_only=True)
class RunRef:
    """Names one attempt; the fence of every write of a run."""

    run_id: str
    item_id: str
    attempt: int
    lease_id: str
    epoch: int


@dataclass(frozen=True, kw_only=True)
class ActionStarted:
    """An action is about to begin."""

    index: int
    kind: str


@dataclass(frozen=True, kw_only=True)
class ActionDone:
    """An action did what it should."""

    index: int
    kind: str
    outputs: str  # a JSON object
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ActionFailed:
    """An action has failed."""

    index: int
    kind: str
    failure: Failure
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RunEnded:
    """The run container is gone."""

    outcome: RunOutcome
    failure: Failure | None
    exit_code: int | None


@dataclass(frozen=True, kw_only=True)
class RunRefused:
    """The agent did not start the run; nothing was done on the phone."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class PhoneReleased:
    """Clean-up is over."""

    clean: bool
    reason: str
    residue: tuple[str, ...]


Body = ActionStarted | ActionDone | ActionFailed | RunEnded | RunRefused | PhoneReleased


@dataclass(frozen=True, kw_only=True)
class Report:
    """One numbered record of a run, as an agent sent it; *term* is of the session it came in."""

    agent_id: str
    term: int
    run: RunRef
    sequence: int
    body: Body


@dataclass(frozen=True, kw_only=True)
class Stop:
    """An order to end a run."""

    agent_id: str
    run: RunRef
    reason: str
    strategy: str  # soft, hard or soft_then_force
    force_after_seconds: float


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """One item for one phone of one agent."""

    agent_id: str
    run: RunRef
    process_id: str
    phone_id: str
    serialno: str
    account_id: str
    capability: str
    plan: str  # JSON, see docs/seams.md
    cap_seconds: float


def stop_of(item: Item, agent_id: str) -> Stop:
    """Return the order that an active, cancelled item sends to its agent."""
    wish = item.cancel or Cancellation(
        reason="cancelled", strategy=CancelStrategy.HARD, force_after_seconds=0
    )
    return Stop(
        agent_id=agent_id,
        run=RunRef(
            run_id=item.run_id or "",
            item_id=item.item_id,
            attempt=item.attempt,
            lease_id=item.lease_id or "",
            epoch=item.epoch,
        ),
        reason=f"{'paused' if wish.give_back else 'cancelled'}: {wish.reason}",
        strategy=str(wish.strategy),
        force_after_seconds=wish.force_after_seconds,
    )
