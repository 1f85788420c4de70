"""Replay: show the deliveries of a process, and make settled ones due again."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from phonefarm_common.ids import new_id
from phonefarm_common.reasons import FarmError, Reason

from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.model.errors import invalid_field, unknown_process
from phonefarm_controller.model.states import DELIVERY_SETTLED, DeliveryState
from phonefarm_controller.store import audit, deliveries, delivery_attempts, processes
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.deliveries import Delivery, FailingReceiver
from phonefarm_controller.store.delivery_attempts import LoggedAttempt

MOST_SEQUENCES = 1000


@dataclass(frozen=True, kw_only=True)
class LoggedDelivery:
    """A delivery and the results of its attempts, oldest first."""

    delivery: Delivery
    log: Sequence[LoggedAttempt]


class Replay:
    """Shows deliveries with their attempts, and makes settled ones due again."""

    def __init__(self, *, database: Database, wakeups: WakeUps) -> None:
        self._database = database
        self._wakeups = wakeups

    @uninterrupted
    async def log(self, process_id: str) -> list[LoggedDelivery]:
        """Return the process's deliveries in order; FarmError `unknown_process`."""
        async with self._database.reading() as tx:
            if await processes.get(tx, process_id) is None:
                raise unknown_process(process_id)
            kept = await deliveries.of_process(tx, process_id)
            logs = await delivery_attempts.of_deliveries(tx, [d.delivery_id for d in kept])
        return [LoggedDelivery(delivery=d, log=logs[d.delivery_id]) for d in kept]

    @uninterrupted
    async def failing_receivers(self) -> list[FailingReceiver]:
        """Return the receivers that do not take their callbacks, the longest waiting first."""
        async with self._database.reading() as tx:
            return await deliveries.failing_receivers(tx)

    @uninterrupted
    async def __call__(
        self, process_id: str, sequences: Collection[int], *, actor: str
    ) -> list[int]:
        """Make settled deliveries due again, in order; return their sequences.

        Without *sequences* all that were not delivered. Each has a new day, counted from its next
        attempt. A process whose receiver said 410 is told of again what is replayed, and what
        is still to come when its newest delivery is among that. FarmError `unknown_process`, and
        `state_conflict` when one is still to be sent or there is nothing to send again.
        """
        if len(sequences) > MOST_SEQUENCES:
            raise invalid_field("sequences", f"must contain at most {MOST_SEQUENCES} numbers")
        async with self._database.writing() as tx:
            # Nothing is added to the process's deliveries, or stopped, while they are looked at.
            if process_id not in await processes.lock(tx, {process_id}):
                raise unknown_process(process_id)
            kept = await deliveries.of_process(tx, process_id, locked=True)
            chosen = _named(kept, sequences) if sequences else _undelivered(kept)
            before = {delivery.delivery_id: delivery for delivery in chosen}
            await deliveries.save(tx, before, [_due_again(tx, delivery) for delivery in chosen])
            numbers = [delivery.sequence for delivery in chosen]
            await audit.note(
                tx,
                audit_id=new_id(),
                actor=actor,
                verb="replay deliveries",
                subject=process_id,
                reason=" ".join(str(number) for number in numbers),
            )
        self._wakeups.deliveries()
        return numbers


def _named(kept: Sequence[Delivery], sequences: Collection[int]) -> list[Delivery]:
    by_number = {delivery.sequence: delivery for delivery in kept}
    for number in sequences:
        if number not in by_number:
            raise invalid_field(
                "sequences",
                f"contains {number}, which is not the number of a delivery of this process",
            )
    chosen = [by_number[number] for number in sorted(set(sequences))]
    for delivery in chosen:
        if delivery.state not in DELIVERY_SETTLED:
            raise FarmError(
                Reason.STATE_CONFLICT,
                (
                    f"the delivery {delivery.sequence} is {delivery.state}, so the farm will "
                    "still send it"
                ),
                detail=str(delivery.sequence),
            )
    return chosen


def _undelivered(kept: Sequence[Delivery]) -> list[Delivery]:
    again = DELIVERY_SETTLED - {DeliveryState.DELIVERED}
    chosen = [delivery for delivery in kept if delivery.state in again]
    if not chosen:
        raise FarmError(
            Reason.STATE_CONFLICT,
            (
                "the farm has not given up or stopped any delivery of this process; to send a "
                "delivered callback again, name its sequence"
            ),
            detail="nothing_to_replay",
        )
    return chosen


def _due_again(tx: Transaction, delivery: Delivery) -> Delivery:
    return replace(
        delivery,
        state=DeliveryState.PENDING,
        due_at=tx.now,
        attempts_before=delivery.attempts,
        first_attempt_at=None,
        settled_at=None,
    )
