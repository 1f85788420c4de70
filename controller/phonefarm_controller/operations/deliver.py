"""Deliver: lend due callbacks to gateways and settle their attempts."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

import structlog
from phonefarm_common.backoff import backoff
from phonefarm_common.identity import new_secret

from phonefarm_controller.domain.states import DeliveryState
from phonefarm_controller.operations.whole import whole
from phonefarm_controller.sessions.hints import Hints
from phonefarm_controller.store import deliveries
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.deliveries import Delivery

log = structlog.get_logger()

LEASE_SECONDS = 60.0
GIVE_UP_SECONDS = 24 * 3600.0
FIRST_RETRY_SECONDS = 5.0
MOST_RETRY_SECONDS = 3600.0
MOST_RETRY_AFTER_SECONDS = 3600.0


class DeliveryOutcome(StrEnum):
    """How an attempt ended."""

    DELIVERED = "delivered"
    FAILED = "failed"
    GONE = "gone"


@dataclass(frozen=True, kw_only=True)
class DeliveryReport:
    """What a gateway says of one attempt."""

    delivery_id: str
    lease_token: str
    outcome: DeliveryOutcome
    http_status: int
    error: str
    retry_after_seconds: float


class Deliver:
    """Lends and settles deliveries."""

    def __init__(
        self,
        *,
        database: Database,
        hints: Hints,
        time_scale: float,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._hints = hints
        self._scale = time_scale
        self._chance = chance

    @whole
    async def lease(self, *, limit: int) -> list[Delivery]:
        """Lend at most *limit* due deliveries for 60 s each, one per process, the oldest first."""
        async with self._database.reading() as tx:
            if not await deliveries.any_due(tx):
                return []
        async with self._database.writing() as tx:
            due = await deliveries.lock_due(tx, limit=limit)
            lent = [
                replace(
                    delivery,
                    state=DeliveryState.LEASED,
                    attempts=delivery.attempts + 1,
                    first_attempt_at=delivery.first_attempt_at or tx.now,
                    due_at=tx.now + timedelta(seconds=LEASE_SECONDS),
                    lease_token=new_secret(),
                )
                for delivery in due
            ]
            before = {delivery.delivery_id: delivery for delivery in due}
            await deliveries.save(tx, before, lent)
        return lent

    @whole
    async def seconds_until_due(self) -> float | None:
        """Return how long until the next unsettled delivery is due; None when none waits."""
        async with self._database.reading() as tx:
            due = await deliveries.next_due(tx)
            return None if due is None else max(0.0, (due - tx.now).total_seconds())

    @whole
    async def settle(self, reports: Sequence[DeliveryReport]) -> list[str]:
        """Settle attempts whose lease still stands; return their ids."""
        by_id = {report.delivery_id: report for report in reports}
        tokens = {report.delivery_id: report.lease_token for report in reports}
        async with self._database.writing() as tx:
            before = await deliveries.lock_leased(tx, tokens)
            after = [self._settled(tx, d, by_id[d.delivery_id]) for d in before.values()]
            await deliveries.save(tx, before, after)
            gone = {d.process_id for d in after if d.state is DeliveryState.STOPPED}
            if gone:
                await deliveries.stop_rest(tx, gone)
        self._hints.deliveries()
        return list(before)

    def _settled(self, tx: Transaction, delivery: Delivery, report: DeliveryReport) -> Delivery:
        ended = replace(delivery, lease_token=None, settled_at=tx.now)
        match report.outcome:
            case DeliveryOutcome.DELIVERED:
                return replace(ended, state=DeliveryState.DELIVERED, last_error=None)
            case DeliveryOutcome.GONE:
                return replace(ended, state=DeliveryState.STOPPED, last_error=report.error)
            case DeliveryOutcome.FAILED:
                pass
        wait = backoff(
            delivery.attempts,
            first=FIRST_RETRY_SECONDS * self._scale,
            most=MOST_RETRY_SECONDS * self._scale,
            chance=self._chance,
        )
        wait = max(wait, min(report.retry_after_seconds, MOST_RETRY_AFTER_SECONDS))
        due_at = tx.now + timedelta(seconds=wait)
        first = delivery.first_attempt_at or tx.now
        if due_at > first + timedelta(seconds=GIVE_UP_SECONDS):
            log.error(
                "delivery.given_up",
                process_id=delivery.process_id,
                sequence=delivery.sequence,
                attempts=delivery.attempts,
                error=report.error,
            )
            return replace(ended, state=DeliveryState.DEAD, last_error=report.error)
        return replace(
            delivery,
            state=DeliveryState.PENDING,
            lease_token=None,
            due_at=due_at,
            last_error=report.error,
        )
