"""Alerts: the checks of doctor that have been wrong for long enough to report them."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from phonefarm_controller.alarms import Finding, Liveness, Severity
from phonefarm_controller.callbacks.alerts import Alert, AlertEvents
from phonefarm_controller.concurrency.loop import every
from phonefarm_controller.monitoring.doctor import Doctor, Examination
from phonefarm_controller.monitoring.work_findings import ALERTS_CHECK
from phonefarm_controller.store.loop_leases import Tenure

PERIOD_SECONDS: Final = 15.0
ON_SECONDS: Final = 60.0
"""A check must be wrong for this long before its alert turns on."""
OFF_SECONDS: Final = 300.0
"""A check must be ok for this long before its alert turns off."""

Level = tuple[str, Severity]
"""A check whose severity is at least this."""


class AlertLevels:
    """Decides after each examination which alerts are on; one that comes and goes stays on."""

    def __init__(
        self,
        on: Mapping[str, Alert],
        *,
        scale: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with the alerts that the last leader reported."""
        self._monotonic = monotonic
        self._on_seconds = ON_SECONDS * scale
        self._off_seconds = OFF_SECONDS * scale
        now = monotonic()
        self._problems = {check: alert.problems for check, alert in on.items()}
        self._on: set[Level] = set()
        for check, alert in on.items():
            self._on |= set(_levels(check, alert.severity))
        self._wrong_since: dict[Level, float] = {}
        self._last_wrong = dict.fromkeys(self._on, now)

    def observe(self, examination: Examination) -> dict[str, Alert]:
        """Return the alerts that are on now, by check.

        What an incomplete examination does not mention stays as it is.
        """
        now = self._monotonic()
        problems = _problems(examination.findings)
        self._problems |= problems
        wrong = {
            level for check, found in problems.items() for level in _levels(check, _worst(found))
        }
        examined = {finding.check for finding in examination.findings}
        for level in wrong:
            self._last_wrong[level] = now
            if now - self._wrong_since.setdefault(level, now) >= self._on_seconds:
                self._on.add(level)
        for level in self._wrong_since.keys() - wrong:
            del self._wrong_since[level]
        for level in self._on - wrong:
            if not examination.complete and level[0] not in examined:
                self._last_wrong[level] = now
            elif now - self._last_wrong[level] >= self._off_seconds:
                self._on.discard(level)
        return {
            check: Alert(
                severity=Severity.FAIL if (check, Severity.FAIL) in self._on else Severity.WARN,
                problems=self._problems[check],
            )
            for check, severity in self._on
            if severity is Severity.WARN
        }


def _problems(findings: Iterable[Finding]) -> dict[str, tuple[Finding, ...]]:
    """Return what is wrong, by check; the check of the alerts' own delivery is left out."""
    found: dict[str, tuple[Finding, ...]] = {}
    for finding in findings:
        if finding.verdict is not Severity.OK and finding.check != ALERTS_CHECK:
            found[finding.check] = (*found.get(finding.check, ()), finding)
    return found


def _worst(found: Iterable[Finding]) -> Severity:
    fails = any(finding.verdict is Severity.FAIL for finding in found)
    return Severity.FAIL if fails else Severity.WARN


def _levels(check: str, severity: Severity) -> list[Level]:
    """Return the levels that a check with this severity reaches: what fails is also a warning."""
    both = [(check, Severity.WARN), (check, Severity.FAIL)]
    return both if severity is Severity.FAIL else both[:1]


async def run_alerts(
    liveness: Liveness,
    tenure: Tenure | None,
    *,
    doctor: Doctor,
    events: AlertEvents,
    scale: float,
) -> None:
    """Examine the farm and report its alerts, until cancelled; it writes under *tenure*."""
    levels: AlertLevels | None = None

    async def check() -> None:
        nonlocal levels
        if levels is None:
            levels = AlertLevels(await events.last_made(), scale=scale)
        await events.report(levels.observe(await doctor.examine()), tenure=tenure)

    await every(PERIOD_SECONDS * scale, "alerts", check, liveness=liveness)
