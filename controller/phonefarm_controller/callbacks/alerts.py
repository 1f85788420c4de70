"""Alert events: make one when the alerts have changed, send one again, list them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from phonefarm_common.ids import new_id
from phonefarm_common.reasons import FarmError, Reason

from phonefarm_controller.alarms import Finding, Severity
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.model.errors import conflict, invalid_field
from phonefarm_controller.model.receivers import receiver_of
from phonefarm_controller.model.states import DELIVERY_SETTLED, DeliveryState
from phonefarm_controller.model.times import moment_text
from phonefarm_controller.store import alert_events, audit
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.deliveries import Delivery
from phonefarm_controller.store.loop_leases import Tenure, owning

log = structlog.get_logger()

CHANGED: Final = "alerts.changed"
TEST: Final = "alerts.test"
REPEAT: Final = timedelta(hours=24)
"""While an alert is on, the farm sends an event with all alerts at least this often."""
MOST_TEXT: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Alert:
    """A check of doctor that is not ok, with the problems that doctor found last."""

    severity: Severity
    problems: tuple[Finding, ...]


class AlertEvents:
    """Makes, lists and replays the events for the alert URL; without a URL it makes none."""

    def __init__(
        self, *, database: Database, wakeups: WakeUps, url: str | None, farm_id: str
    ) -> None:
        self._database = database
        self._wakeups = wakeups
        self._url = url
        self._farm_id = farm_id

    @property
    def receiver(self) -> str:
        """Return `scheme://host:port` of the alert URL; empty without one."""
        return "" if self._url is None else receiver_of(self._url)

    @uninterrupted
    async def last_made(self) -> dict[str, Alert]:
        """Return, by check, the alerts of the newest event that reports a change to this URL."""
        async with self._database.reading() as tx:
            made = await alert_events.newest(tx)
        changes = (e for e in made if e.milestone == CHANGED and e.url == self._url)
        newest = next(changes, None)
        return {} if newest is None else _alerts_of(newest.record)

    @uninterrupted
    async def report(self, alerts: Mapping[str, Alert], *, tenure: Tenure | None = None) -> bool:
        """Make an event if *alerts*, by check, are not those that the receiver knows.

        Return whether one was made. None is made while another is unsettled, or after a receiver
        has answered 410; REPEAT after the last delivery it is made without a change.
        """
        if self._url is None:
            return False
        async with owning(self._database, tenure) as tx:
            last = await alert_events.lock_newest(tx)
            if last is not None and not await self._may_follow(tx, last):
                return False
            known = await alert_events.last_delivered(tx, CHANGED, url=self._url)
            before = known.record["alerts"] if known else []
            event = self._changed(tx, before, alerts)
            if not _is_change(event) and not _is_repeat(tx, known, alerts):
                return False
            made = self._event(tx, last, CHANGED, event)
            await alert_events.insert(tx, made)
        log.info("alerts.reported", sequence=made.sequence, text=made.record["text"])
        self._wakeups.deliveries()
        return True

    @uninterrupted
    async def test(self, *, actor: str) -> Delivery:
        """Make an event that reports no change.

        FarmError `state_conflict` without an alert URL, or while another event is unsettled.
        """
        async with self._database.writing() as tx:
            last = await alert_events.lock_newest(tx)
            url = self._free_url(last)
            known = await alert_events.last_delivered(tx, CHANGED, url=url)
            alerts = known.record["alerts"] if known else []
            text = (
                f"Phonefarm {self._farm_id}: this is a test; alerts that are on: {_names(alerts)}"
            )
            event = {
                "text": text,
                "turned_on": [],
                "turned_off": [],
                "severity_changed": [],
                "alerts": alerts,
            }
            made = self._event(tx, last, TEST, event)
            await alert_events.insert(tx, made)
            await _note(tx, actor, "send test alert", made.sequence)
        self._wakeups.deliveries()
        return made

    @uninterrupted
    async def replay(self, sequence: int, *, actor: str) -> Delivery:
        """Make a settled event due again, for another day; FarmError as `test`.

        FarmError names the sequence if no such event is kept, or if it was for another URL.
        """
        async with self._database.writing() as tx:
            kept = await alert_events.newest(tx)
            url = self._free_url(await alert_events.lock_newest(tx))
            chosen = next((event for event in kept if event.sequence == sequence), None)
            if chosen is None or chosen.url != url:
                raise invalid_field(
                    "sequence",
                    "must be the sequence of an event for the present alert URL; `phonefarm alerts "
                    "list` shows the events",
                )
            again = replace(
                chosen,
                state=DeliveryState.PENDING,
                due_at=tx.now,
                attempts_before=chosen.attempts,
                first_attempt_at=None,
                settled_at=None,
            )
            await alert_events.save(tx, {chosen.delivery_id: chosen}, [again])
            await _note(tx, actor, "replay alert event", sequence)
        self._wakeups.deliveries()
        return again

    @uninterrupted
    async def log(self) -> list[Delivery]:
        """Return the newest events, the newest first."""
        async with self._database.reading() as tx:
            return await alert_events.newest(tx)

    async def _may_follow(self, tx: Transaction, last: Delivery) -> bool:
        """Tell whether an event may be made after *last*; end one that is for another URL."""
        if last.url == self._url:
            return last.state in DELIVERY_SETTLED - {DeliveryState.STOPPED}
        if last.state is DeliveryState.PENDING:
            ended = replace(
                last,
                state=DeliveryState.DEAD,
                settled_at=tx.now,
                last_error="the alert URL has changed",
            )
            await alert_events.save(tx, {last.delivery_id: last}, [ended])
        return last.state is not DeliveryState.LEASED

    def _free_url(self, last: Delivery | None) -> str:
        if self._url is None:
            raise conflict(
                "alerts",
                "no_alert_url",
                "the farm sends no alerts: set PHONEFARM_ALERT_URL(_FILE) for every controller",
            )
        if last is not None and last.state not in DELIVERY_SETTLED:
            raise FarmError(
                Reason.STATE_CONFLICT,
                f"the event {last.sequence} is {last.state}, so the farm will still send it; "
                "`phonefarm alerts list` shows why it has not arrived",
                detail="unsettled",
            )
        return self._url

    def _event(
        self, tx: Transaction, last: Delivery | None, event_type: str, event: Mapping[str, Any]
    ) -> Delivery:
        sequence = 1 if last is None else last.sequence + 1
        record = {
            "event_type": event_type,
            "emitted_at": moment_text(tx.now),
            "sequence": sequence,
            "farm": self._farm_id,
            **event,
        }
        return Delivery(
            delivery_id=f"msg_{new_id()}",
            process_id="",
            sequence=sequence,
            milestone=event_type,
            emitted_at=tx.now,
            url=self._url or "",
            record=record,
            due_at=tx.now,
        )

    def _changed(
        self, tx: Transaction, known: list[Any], alerts: Mapping[str, Alert]
    ) -> dict[str, Any]:
        before = {each["check"]: each for each in known}
        turned_on = sorted(alerts.keys() - before.keys())
        turned_off = sorted(before.keys() - alerts.keys())
        changed = sorted(
            check
            for check in alerts.keys() & before.keys()
            if alerts[check].severity != before[check]["severity"]
        )
        now_on = [
            _alert_json(check, alert, since=before.get(check, {}).get("since"), now=tx.now)
            for check, alert in sorted(alerts.items())
        ]
        said = [_said(check, alerts[check]) for check in (*turned_on, *changed)]
        said += [f"{check} is ok again" for check in turned_off]
        text = "; ".join(said) or f"still on: {_names(now_on)}"
        return {
            "text": f"Phonefarm {self._farm_id}: {text}"[:MOST_TEXT],
            "turned_on": turned_on,
            "turned_off": turned_off,
            "severity_changed": changed,
            "alerts": now_on,
        }


def _is_change(event: Mapping[str, Any]) -> bool:
    return bool(event["turned_on"] or event["turned_off"] or event["severity_changed"])


def _is_repeat(tx: Transaction, known: Delivery | None, alerts: Mapping[str, Alert]) -> bool:
    return bool(alerts) and known is not None and tx.now - known.emitted_at >= REPEAT


def _said(check: str, alert: Alert) -> str:
    problems = ", ".join(finding.text for finding in alert.problems)
    return f"{check} ({alert.severity}): {problems}"


def _names(alerts: list[Any]) -> str:
    return ", ".join(each["check"] for each in alerts) or "none"


def _alert_json(check: str, alert: Alert, *, since: str | None, now: datetime) -> dict[str, Any]:
    return {
        "check": check,
        "severity": str(alert.severity),
        "since": since or moment_text(now),
        "problems": [{"text": each.text, "remedy": each.remedy} for each in alert.problems],
    }


def _alerts_of(record: Mapping[str, Any]) -> dict[str, Alert]:
    return {
        each["check"]: Alert(
            severity=Severity(each["severity"]),
            problems=tuple(
                Finding(
                    check=each["check"],
                    verdict=Severity(each["severity"]),
                    text=problem["text"],
                    remedy=problem["remedy"],
                )
                for problem in each["problems"]
            ),
        )
        for each in record["alerts"]
    }


async def _note(tx: Transaction, actor: str, verb: str, sequence: int) -> None:
    subject = f"alert event {sequence}"
    await audit.note(tx, audit_id=new_id(), actor=actor, verb=verb, subject=subject, reason="")
