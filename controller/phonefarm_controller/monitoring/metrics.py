"""The controller in numbers for Prometheus; a thread serves them, also when the loop stands."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import structlog
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.alarms import Sign, Vitals
from phonefarm_controller.housekeeping.retention import Removed

log = structlog.get_logger()

_READINGS = (
    (Sign.LOOP_LAG, "event_loop_lag_seconds", "Seconds the event loop was last blocked"),
    (Sign.DATABASE_AWAY, "database_silence_seconds", "Seconds since the database last answered"),
    (Sign.SCHEDULER_STUCK, "claim_delay_seconds", "Seconds the oldest claimable item waits"),
    (Sign.DIRTY_OLD, "unclean_phone_seconds", "Seconds the oldest dirty phone is dirty"),
    (Sign.CALLBACKS_LATE, "undelivered_callback_seconds", "Seconds the oldest callback waits"),
    (Sign.HERALD_DEAF, "herald_silence_seconds", "Seconds since its own notification came back"),
)


class _Reading:
    """A collector of prometheus_client; called in its thread, so it reads what threads may."""

    def __init__(self, vitals: Vitals, sessions: Sessions, retired: Removed) -> None:
        self._vitals = vitals
        self._sessions = sessions
        self._retired = retired

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it is now."""
        wrong = GaugeMetricFamily(
            "phonefarm_controller_trouble", "1 while it is wrong", labels=["sign", "of"]
        )
        now = {(trouble.sign, trouble.of) for trouble in self._vitals.troubles()}
        for key in sorted(now | {(sign, "") for sign in Sign if sign is not Sign.LOOP_SILENT}):
            wrong.add_metric([str(key[0]), key[1]], float(key in now))
        yield wrong
        silent = GaugeMetricFamily(
            "phonefarm_controller_loop_silence_seconds",
            "Since a loop came round; 0 while it waits for work",
            labels=["loop"],
        )
        for loop, (age, _) in self._vitals.silences().items():
            silent.add_metric([loop], age)
        yield silent
        for sign, name, about in _READINGS:
            yield GaugeMetricFamily(
                f"phonefarm_controller_{name}", about, value=self._vitals.reading(sign)
            )
        yield GaugeMetricFamily(
            "phonefarm_controller_sessions",
            "Agents that are connected here",
            value=len(self._sessions.all()),
        )
        yield from self._of_retention()

    def _of_retention(self) -> Iterator[Metric]:
        files = CounterMetricFamily(
            "phonefarm_controller_evidence_removed", "Files, by retention", labels=["of"]
        )
        sizes = CounterMetricFamily(
            "phonefarm_controller_evidence_removed_bytes", "Their bytes", labels=["of"]
        )
        for of, count in tuple(self._retired.files.items()):
            files.add_metric([str(of)], count)
            sizes.add_metric([str(of)], self._retired.bytes[of])
        yield files
        yield sizes
        yield CounterMetricFamily(
            "phonefarm_controller_processes_removed",
            "Processes, by retention",
            value=self._retired.processes,
        )


@asynccontextmanager
async def serving_metrics(
    address: tuple[str, int] | None, *, vitals: Vitals, sessions: Sessions, retired: Removed
) -> AsyncIterator[int]:
    """Serve GET /metrics at *address*, if there is one, while the block runs; yield the port."""
    if address is None:
        yield 0
        return
    registry = CollectorRegistry()
    registry.register(_Reading(vitals, sessions, retired))
    host, port = address
    server, thread = start_http_server(port, host, registry)
    try:
        log.info("metrics.served", host=host, port=server.server_port)
        yield server.server_port
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        await asyncio.to_thread(thread.join)
