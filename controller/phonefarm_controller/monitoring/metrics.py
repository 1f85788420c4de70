"""The controller's metrics for Prometheus; a thread serves them, also when the loop is stuck."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import structlog
from phonefarm_common.lifecycle import check_address_free
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.alarms import AlarmName, Alarms
from phonefarm_controller.housekeeping.retention import RemovedTotals

log = structlog.get_logger()

_READINGS = (
    (AlarmName.LOOP_LAG, "event_loop_lag_seconds", "Seconds the event loop was last blocked"),
    (
        AlarmName.DATABASE_AWAY,
        "database_silence_seconds",
        "Seconds since the database last answered",
    ),
    (
        AlarmName.SCHEDULER_STUCK,
        "claim_delay_seconds",
        "Seconds that the oldest claimable item has waited",
    ),
    (
        AlarmName.DIRTY_OLD,
        "unclean_phone_seconds",
        "Seconds that the longest dirty phone has been dirty",
    ),
    (
        AlarmName.CALLBACKS_LATE,
        "undelivered_callback_seconds",
        "Seconds that the oldest callback has waited",
    ),
    (
        AlarmName.NOTIFIER_SILENT,
        "notifier_silence_seconds",
        "Seconds since this controller last received its own notification",
    ),
)


class _Reading:
    """A collector of prometheus_client; called in its thread, so it reads what threads may."""

    def __init__(self, alarms: Alarms, sessions: Sessions, removed: RemovedTotals) -> None:
        self._alarms = alarms
        self._sessions = sessions
        self._removed = removed

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
    address: tuple[str, int] | None, *, alarms: Alarms, sessions: Sessions, removed: RemovedTotals
) -> AsyncIterator[int]:
    """Serve GET /metrics at *address*, if there is one, while the block runs; yield the port."""
    if address is None:
        yield 0
        return
    registry = CollectorRegistry()
    registry.register(_Reading(alarms, sessions, removed))
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
