"""The controller's metrics for Prometheus; a thread serves them, also when the loop is stuck."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import structlog
from phonefarm_common.lifecycle import check_address_free
from phonefarm_common.tracing import DROPPED, SENT
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.alarms import AlarmName, Alarms
from phonefarm_controller.housekeeping.retention import RemovedTotals
from phonefarm_controller.monitoring.farm_counts import FarmCounter
from phonefarm_controller.monitoring.span_totals import SpanTotals
from phonefarm_controller.runs.totals import BUCKETS, RunTotals

log = structlog.get_logger()

_READINGS = (
    (
        AlarmName.LOOP_LAG,
        "event_loop_lag_seconds",
        "Seconds for which the event loop was blocked most recently",
    ),
    (
        AlarmName.DATABASE_AWAY,
        "database_silence_seconds",
        "Seconds since the database last answered",
    ),
    (
        AlarmName.SCHEDULER_STUCK,
        "claim_delay_seconds",
        "Seconds for which the oldest claimable item has waited",
    ),
    (
        AlarmName.DIRTY_OLD,
        "unclean_phone_seconds",
        "Seconds since a phone became dirty; the largest value of all dirty phones",
    ),
    (
        AlarmName.CALLBACKS_LATE,
        "undelivered_callback_seconds",
        "Seconds for which the oldest callback has waited",
    ),
    (
        AlarmName.NOTIFIER_SILENT,
        "notifier_silence_seconds",
        "Seconds since this controller last received its own notification",
    ),
)


class ControllerMetrics:
    """A collector for prometheus_client. It runs in another thread, and reads only safe values."""

    def __init__(
        self,
        *,
        alarms: Alarms,
        sessions: Sessions,
        removed: RemovedTotals,
        farm: FarmCounter,
        runs: RunTotals,
        spans: SpanTotals,
    ) -> None:
        self._alarms = alarms
        self._sessions = sessions
        self._removed = removed
        self._farm = farm
        self._runs = runs
        self._spans = spans

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it is now."""
        wrong = GaugeMetricFamily(
            "phonefarm_controller_alarm", "1 while the alarm is on", labels=["name", "of"]
        )
        now = {(alarm.name, alarm.of) for alarm in self._alarms.active()}
        for key in sorted(
            now | {(alarm, "") for alarm in AlarmName if alarm is not AlarmName.LOOP_SILENT}
        ):
            wrong.add_metric([str(key[0]), key[1]], float(key in now))
        yield wrong
        silent = GaugeMetricFamily(
            "phonefarm_controller_loop_silence_seconds",
            "Seconds since the loop last completed an iteration; 0 while it waits for work",
            labels=["loop"],
        )
        for loop, (age, _) in self._alarms.silences().items():
            silent.add_metric([loop], age)
        yield silent
        for alarm, name, about in _READINGS:
            yield GaugeMetricFamily(
                f"phonefarm_controller_{name}", about, value=self._alarms.reading(alarm)
            )
        yield GaugeMetricFamily(
            "phonefarm_controller_sessions",
            "Agents that are connected to this controller",
            value=len(self._sessions.all()),
        )
        yield from self._of_retention()
        yield from self._of_farm()
        yield from self._of_runs()
        yield self._of_spans()

    def _of_spans(self) -> Metric:
        spans = CounterMetricFamily(
            "phonefarm_controller_spans",
            "Spans of traces, by whether the collector has taken them; dropped means that the "
            "queue was full or the collector did not answer",
            labels=["outcome"],
        )
        for outcome in (SENT, DROPPED):
            spans.add_metric([outcome], self._spans.count(outcome))
        return spans

    def _of_farm(self) -> Iterator[Metric]:
        now = self._farm.now
        phones = GaugeMetricFamily(
            "phonefarm_controller_phones",
            "The farm's phones except retired ones, by state: free, busy, or the first reason why "
            "the phone gets no work; every controller reports all of them",
            labels=["state"],
        )
        for state, count in sorted(now.phones.items()):
            phones.add_metric([state], count)
        yield phones
        items = GaugeMetricFamily(
            "phonefarm_controller_items",
            "Items that have not ended; every controller reports all of them",
            labels=["app", "capability", "state"],
        )
        for labels, count in sorted(now.items.items()):
            items.add_metric(labels, count)
        yield items
        oldest = GaugeMetricFamily(
            "phonefarm_controller_oldest_item_seconds",
            "Seconds since the item that has waited the longest became ready",
            labels=["app", "capability"],
        )
        for of, seconds in sorted(now.oldest_seconds.items()):
            oldest.add_metric(of, seconds)
        yield oldest
        deliveries = GaugeMetricFamily(
            "phonefarm_controller_callbacks_owed",
            "Callbacks that the farm still has to send; every controller reports all of them",
            labels=["state"],
        )
        for state, count in sorted(now.deliveries.items()):
            deliveries.add_metric([state], count)
        yield deliveries

    def _of_runs(self) -> Iterator[Metric]:
        ended = CounterMetricFamily(
            "phonefarm_controller_runs_ended",
            "Runs whose end an agent reported to this controller, by outcome and failure code",
            labels=["capability", "outcome", "code"],
        )
        for labels, count in sorted(self._runs.ended.copy().items()):
            ended.add_metric(labels, count)
        yield ended
        seconds = HistogramMetricFamily(
            "phonefarm_controller_run_seconds",
            "Seconds from a run's first action to its end, as its agent reported them",
            labels=["capability"],
        )
        for capability, durations in sorted(self._runs.durations.copy().items()):
            upto = itertools.accumulate(durations.buckets)
            bounds = [*map(str, BUCKETS), "+Inf"]
            buckets = list(zip(bounds, upto, strict=True))
            seconds.add_metric([capability], buckets, durations.seconds)
        yield seconds

    def _of_retention(self) -> Iterator[Metric]:
        files = CounterMetricFamily(
            "phonefarm_controller_evidence_removed",
            "Evidence files that retention has removed",
            labels=["of"],
        )
        sizes = CounterMetricFamily(
            "phonefarm_controller_evidence_removed_bytes",
            "Bytes of the evidence files that retention has removed",
            labels=["of"],
        )
        for of, count in tuple(self._removed.files.items()):
            files.add_metric([str(of)], count)
            sizes.add_metric([str(of)], self._removed.bytes[of])
        yield files
        yield sizes
        yield CounterMetricFamily(
            "phonefarm_controller_processes_removed",
            "Processes that retention has removed",
            value=self._removed.processes,
        )


@asynccontextmanager
async def serving_metrics(
    address: tuple[str, int] | None, metrics: ControllerMetrics
) -> AsyncIterator[int]:
    """Serve GET /metrics at *address*, if there is one, while the block runs; yield the port."""
    if address is None:
        yield 0
        return
    registry = CollectorRegistry()
    registry.register(metrics)
    host, port = address
    check_address_free(host, port)
    server, thread = start_http_server(port, host, registry)
    try:
        log.info("metrics.served", host=host, port=server.server_port)
        yield server.server_port
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        await asyncio.to_thread(thread.join)
