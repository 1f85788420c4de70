"""Lease due deliveries to gateways, and settle their attempts."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import assert_never

import structlog
from phonefarm_common.backoff import backoff
from phonefarm_common.ids import new_secret
from phonefarm_common.wire_enums import DeliveryOutcome

from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.model.states import DeliveryState
from phonefarm_controller.store import (
    alert_events,
    deliveries,
    delivery_attempts,
    delivery_leases,
    processes,
)
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.deliveries import Delivery
from phonefarm_controller.store.delivery_attempts import LoggedAttempt

log = structlog.get_logger()

MOST_PER_RECEIVER = 8
LAPSED = "the gateway did not report the result in time"
GIVE_UP_SECONDS = 24 * 3600.0
FIRST_RETRY_SECONDS = 5.0
MOST_RETRY_SECONDS = 3600.0
MOST_RETRY_AFTER_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class DeliveryReport:
    """A gateway's report of one attempt."""

    delivery_id: str
    lease_token: str
    outcome: DeliveryOutcome
    http_status: int
    error: str
    retry_after_seconds: float


class CallbackDelivery:
    """Leases and settles deliveries."""

    def __init__(
        self,
        *,
        database: Database,
        wakeups: WakeUps,
        time_scale: float,
        lease_seconds: float,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._wakeups = wakeups
        self._scale = time_scale
        self._lease_seconds = lease_seconds
        self._chance = chance

    @uninterrupted
    async def lease(self, *, limit: int, gateway_id: str = "") -> list[Delivery]:
        """Lease at most *limit* due deliveries, until their leases lapse.

        One of each process, the oldest unsettled; of one receiver no more than MOST_PER_RECEIVER
        at a time, to all gateways together. An alert event goes before all callbacks.
        """
        async with self._database.reading() as tx:
            event_due = await alert_events.next_due(tx)
            if (event_due is None or event_due > tx.now) and not await deliveries.any_due(tx):
                return []
        async with self._database.writing() as tx:
            events = await alert_events.lock_due(tx)
            room = limit - len(events)
            due = await delivery_leases.lock_due(tx, limit=room, per_receiver=MOST_PER_RECEIVER)
            events_after = self._begun(tx, events, gateway_id)
            after = self._begun(tx, due, gateway_id)
            await alert_events.save(tx, _by_id(events), events_after)
            await deliveries.save(tx, _by_id(due), after)
            await delivery_attempts.keep(
                tx, [_lapsed(d) for d in due if d.state is DeliveryState.LEASED]
            )
        if any(delivery.state is DeliveryState.DEAD for delivery in after):
            self._wakeups.deliveries()  # the next of that process has its turn
        lent = [*events_after, *after]
        return [delivery for delivery in lent if delivery.state is DeliveryState.LEASED]

    @uninterrupted
    async def seconds_until_due(self) -> float | None:
        """Return how long until the next unsettled delivery is due; None when none waits."""
        async with self._database.reading() as tx:
            known = (await deliveries.next_due(tx), await alert_events.next_due(tx))
            due = min((each for each in known if each is not None), default=None)
            return None if due is None else max(0.0, (due - tx.now).total_seconds())

    @uninterrupted
    async def settle(self, reports: Sequence[DeliveryReport]) -> list[str]:
        """Settle the attempts whose lease is still valid; return their ids."""
        by_id = {report.delivery_id: report for report in reports}
        tokens = {report.delivery_id: report.lease_token for report in reports}
        unhappy = {r.delivery_id for r in reports if r.outcome is not DeliveryOutcome.DELIVERED}
        async with self._database.writing() as tx:
            if unhappy:
                # What else there is to tell of the process changes too, so nobody may add to it.
                await processes.lock(tx, await deliveries.processes_of(tx, unhappy))
            before = await deliveries.lock_leased(tx, tokens)
            after = [self._settled(tx, d, by_id[d.delivery_id]) for d in before.values()]
            await deliveries.save(tx, before, after)
            events = {}
            if len(before) < len(tokens):
                events = await alert_events.lock_leased(tx, tokens)
                events_after = [self._settled(tx, e, by_id[e.delivery_id]) for e in events.values()]
                await alert_events.save(tx, events, events_after)
            await delivery_attempts.keep(
                tx, [_told(tx, d, by_id[d.delivery_id]) for d in before.values()]
            )
            await deliveries.delay_following(
                tx, [d for d in after if d.state is DeliveryState.PENDING]
            )
            gone = {d.process_id for d in after if d.state is DeliveryState.STOPPED}
            if gone:
                await deliveries.stop_remaining(tx, gone)
        self._wakeups.deliveries()
        return [*before, *events]

    def _begun(self, tx: Transaction, due: Sequence[Delivery], gateway_id: str) -> list[Delivery]:
        return [self._given_up(tx, each) or self._lent(tx, each, gateway_id) for each in due]

    def _lent(self, tx: Transaction, delivery: Delivery, gateway_id: str) -> Delivery:
        return replace(
            delivery,
            state=DeliveryState.LEASED,
            attempts=delivery.attempts + 1,
            first_attempt_at=delivery.first_attempt_at or tx.now,
            due_at=tx.now + timedelta(seconds=self._lease_seconds),
            lease_token=new_secret(),
            gateway_id=gateway_id,
        )

    def _given_up(self, tx: Transaction, delivery: Delivery) -> Delivery | None:
        """Return the delivery dead if its lease lapsed and began when its day was over already."""
        first = delivery.first_attempt_at
        if delivery.state is not DeliveryState.LEASED or first is None:
            return None
        began = delivery.due_at - timedelta(seconds=self._lease_seconds)
        if began < first + timedelta(seconds=GIVE_UP_SECONDS):
            return None
        return _dead(tx, delivery, LAPSED)

    def _settled(self, tx: Transaction, delivery: Delivery, report: DeliveryReport) -> Delivery:
        ended = replace(delivery, lease_token=None, settled_at=tx.now)
        match report.outcome:
            case DeliveryOutcome.DELIVERED:
                return replace(ended, state=DeliveryState.DELIVERED, last_error=None)
            case DeliveryOutcome.GONE:
                return replace(ended, state=DeliveryState.STOPPED, last_error=report.error)
            case DeliveryOutcome.FAILED:
                return self._failed(tx, delivery, report)
            case unknown:
                assert_never(unknown)

    def _failed(self, tx: Transaction, delivery: Delivery, report: DeliveryReport) -> Delivery:
        wait = backoff(
            delivery.attempts - delivery.attempts_before,
            first=FIRST_RETRY_SECONDS * self._scale,
            most=MOST_RETRY_SECONDS * self._scale,
            chance=self._chance,
        )
        wait = max(wait, min(report.retry_after_seconds, MOST_RETRY_AFTER_SECONDS))
        due_at = tx.now + timedelta(seconds=wait)
        first = delivery.first_attempt_at or tx.now
        if due_at > first + timedelta(seconds=GIVE_UP_SECONDS):
            return _dead(tx, delivery, report.error)
        return replace(
            delivery,
            state=DeliveryState.PENDING,
            lease_token=None,
            due_at=due_at,
            last_error=report.error,
        )


def _by_id(due: Sequence[Delivery]) -> dict[str, Delivery]:
    return {delivery.delivery_id: delivery for delivery in due}


def _dead(tx: Transaction, delivery: Delivery, error: str) -> Delivery:
    log.error(
        "delivery.given_up",
        process_id=delivery.process_id,
        sequence=delivery.sequence,
        attempts=delivery.attempts,
        error=error,
    )
    return replace(
        delivery,
        state=DeliveryState.DEAD,
        lease_token=None,
        settled_at=tx.now,
        last_error=error,
    )


def _told(tx: Transaction, delivery: Delivery, report: DeliveryReport) -> LoggedAttempt:
    return LoggedAttempt(
        delivery_id=delivery.delivery_id,
        attempt=delivery.attempts,
        gateway_id=delivery.gateway_id or "",
        ended_at=tx.now,
        outcome=report.outcome,
        http_status=report.http_status,
        error="" if report.outcome is DeliveryOutcome.DELIVERED else report.error,
    )


def _lapsed(delivery: Delivery) -> LoggedAttempt:
    return LoggedAttempt(
        delivery_id=delivery.delivery_id,
        attempt=delivery.attempts,
        gateway_id=delivery.gateway_id or "",
        ended_at=delivery.due_at,
        outcome="lapsed",
        http_status=0,
        error=LAPSED,
    )
