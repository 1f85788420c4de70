"""Writes docs/monitoring.md from the metrics that the programs declare, and from the alerts."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import yaml
from phonefarm_agent.app.status import AgentMetrics
from phonefarm_agent.host.metrics import AgentCollector
from phonefarm_common.clock import SystemClock
from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.alarms import Alarms
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.housekeeping.retention import RemovedTotals
from phonefarm_controller.monitoring.farm_counts import FarmCounter
from phonefarm_controller.monitoring.metrics import ControllerMetrics
from phonefarm_controller.monitoring.span_totals import SpanTotals
from phonefarm_controller.runs.totals import RunTotals
from phonefarm_controller.store.database import Database
from phonefarm_gateway.metrics import GAUGES, Metrics

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "monitoring.md"
ALERTS: Final = ROOT / "deploy" / "monitoring" / "alerts.yml"
_SUFFIXES: Final = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
_HEAD: Final = """\
# Monitoring a farm

For operators who run Prometheus: how Prometheus reads a farm's metrics, and which metrics and alerts there are.
`scripts/gen_monitoring.py` generates this page from the metrics that the programs declare; do not edit it by hand.

If you do not use Prometheus, run `phonefarm doctor`. It checks the same things once, and exits with code 1 if something
has stopped. To get an alert when something changes, set an alert URL.

## Alerts by webhook

Set `PHONEFARM_ALERT_URL` (or `PHONEFARM_ALERT_URL_FILE`) for every controller, and restart the controllers. The farm
then sends a POST request to this URL when a check of `phonefarm doctor` goes wrong, and when the check is ok again.
Without the URL, the farm sends nothing.

```sh
phonefarm alerts test                # sends an event that reports no change
phonefarm alerts list                # the events, and whether each has arrived
phonefarm alerts replay              # sends the newest event again
```

| field of an event | what it contains |
|---|---|
| `event_type` | `alerts.changed`, or `alerts.test` for a test |
| `text` | the event in one line, for people |
| `turned_on`, `turned_off`, `severity_changed` | the checks that have changed since the last event that was delivered |
| `alerts` | all alerts that are on: `check`, `severity` (`warn`: work continues; `fail`: work has stopped), `since`, and `problems`, each with `text` and `remedy` |
| `farm`, `sequence`, `emitted_at` | the farm's name; a number that rises with each event; the time |

- A check must be wrong for 60 s before its alert turns on, and ok for 5 minutes before its alert turns off. Therefore,
  if a check's result changes often, the check's alert stays on. A check causes at most two events in 6 minutes.
- Only one event at a time waits for delivery. The next event contains everything that has changed in the meantime. Each
  event contains all alerts that are on, so you need no earlier event. While an alert is on, the farm sends an event
  every 24 hours.
- The gateways send events in the same way as callbacks. They sign events with `PHONE_FARM_WEBHOOK_SECRET`, and try to
  deliver each event for up to 24 hours. To send events to a private network, start the gateways with
  `--allow-callback-cidr`. The check `alerts` of `doctor` reports events that do not arrive. After a 410 response, the
  farm sends no more alerts until you run `phonefarm alerts replay`.
- If there are several controllers, one of them sends the alerts. If this controller stops, another controller takes
  over. The sending controller reports on the whole farm, but does not know the alarms that other controllers raise
  about themselves, such as a silent loop. To see those alarms, use Prometheus.
- The farm cannot report that its database, all of its gateways or all of its controllers are gone. Watch these from
  outside: for example, request `/readyz` of a gateway every minute.

## Scrape the programs

| program | how it serves metrics |
|---|---|
| controller | `phonefarm-controller --metrics 127.0.0.1:9465` serves `/metrics` without a key |
| agent | `phonefarm-agent run --metrics 127.0.0.1:9464`, on each host, serves `/metrics` without a key |
| gateway | its REST API serves `/metrics` to callers whose key has the scope `read`; with `--open-metrics`, to everybody |

[deploy/monitoring](../deploy/monitoring/prometheus.yml) has a configuration for Prometheus, the alerts below
(`alerts.yml`), unit tests for the alerts (`alerts_test.yml`, for `promtool test rules`), and three dashboards for
Grafana (`grafana/`). The dashboards show which phones work, whether work gets done, and whether the programs are
running normally.

If there are several controllers, each controller reports the phones, items and callbacks of the whole farm. Therefore,
use the `max` of these values, not the sum. You can add up the metrics that each controller counts for itself, such as
`phonefarm_controller_runs_ended_total` and `phonefarm_controller_run_seconds`. The controllers count phones, items and
callbacks every 15 s.

Each label has only a few possible values. For example, a label names an app, a capability, a state, a host or a code.
No metric has a label for a phone, an account or a process. A failure code that the farm does not document counts as
`other`.
"""


@dataclass(frozen=True, kw_only=True)
class Declared:
    """One metric as a program declares it."""

    name: str
    kind: str
    about: str
    labels: tuple[str, ...]

    def series(self) -> list[str]:
        """Return the names under which Prometheus keeps it."""
        return [f"{self.name}{suffix}" for suffix in _SUFFIXES.get(self.kind, ("",))]


def declared() -> dict[str, list[Declared]]:
    """Return the metrics of each program, by name."""
    sessions = Sessions(wakeups=WakeUps(), clock=SystemClock(), offer_lapses=1.0)
    controller = ControllerMetrics(
        alarms=Alarms(),
        sessions=sessions,
        removed=RemovedTotals(),
        # It is asked for its last count only.
        farm=FarmCounter(database=cast("Database", None), sessions=sessions),
        runs=RunTotals(),
        spans=SpanTotals(),
    )
    gateway = Metrics()
    for gauge in GAUGES:
        gateway.add_gauge(gauge, lambda: 0.0)
    own = gateway.registry._collector_to_names  # noqa: SLF001 - the only list of what is declared
    return {
        "Controller": _sorted(_of_family(family) for family in controller.collect()),
        "Agent": _sorted(_of_family(family) for family in AgentCollector(_idle_agent).collect()),
        "Gateway": _sorted(_of_metric(metric) for metric in own),
    }


def _sorted(found: Iterable[Declared]) -> list[Declared]:
    return sorted(found, key=lambda each: each.name)


def _of_family(family: Any) -> Declared:
    labels = tuple(family._labelnames)  # noqa: SLF001 - a family without samples tells them nowhere
    return Declared(name=family.name, kind=family.type, about=family.documentation, labels=labels)


def _of_metric(metric: Any) -> Declared:
    (family,) = metric.describe()
    labels = tuple(metric._labelnames)  # noqa: SLF001 - likewise
    return Declared(name=family.name, kind=family.type, about=family.documentation, labels=labels)


def _idle_agent() -> AgentMetrics:
    return AgentMetrics(
        runs={},
        phones={},
        offered=0,
        connected=False,
        withheld=False,
        needing_hands=0,
        incidents={},
        recovery={},
        heartbeat_age=0.0,
        journal_writes=0,
        journal_failing=False,
        records=0,
        evidence_files=0,
        evidence_bytes=0,
        adb_restarts=0,
        judged={},
        judge_failures=0,
    )


def page() -> str:
    """Return the whole page."""
    lines = [_HEAD]
    for program, metrics in declared().items():
        lines += [f"## {program}", "", "| metric | labels | what it shows |", "|---|---|---|"]
        for each in metrics:
            labels = ", ".join(f"`{label}`" for label in each.labels)
            lines.append(f"| `{each.series()[0]}` ({each.kind}) | {labels} | {each.about} |")
        lines.append("")
    lines += ["## Alerts", "", "| alert | after | severity | message |", "|---|---|---|---|"]
    lines += _alert_rows()
    return "\n".join([*lines, ""])


def _alert_rows() -> Iterator[str]:
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            notes = rule["annotations"]
            says = f"{notes['summary']}. {notes['description']}".replace("|", "\\|")
            yield f"| `{rule['alert']}` | {rule['for']} | {rule['labels']['severity']} | {says} |"


def main() -> int:
    """Write the page, or with --check tell whether it is what the declarations make."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 on drift")
    if not parser.parse_args().check:
        PAGE.write_text(page())
        return 0
    if PAGE.exists() and PAGE.read_text() == page():
        return 0
    print("docs/monitoring.md is not what the metrics' declarations make: run `make protos`")
    return 1


if __name__ == "__main__":
    sys.exit(main())
