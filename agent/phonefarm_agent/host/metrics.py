"""Serves the agent's metrics to Prometheus, collected at each request."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import structlog
from aiohttp import web
from phonefarm_common.lifecycle import listener_of_every_address
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from phonefarm_agent.app.status import AgentMetrics, AgentStatus, StatusReporter

log = structlog.get_logger()


def with_metrics(report_status: StatusReporter, address: tuple[str, int] | None) -> StatusReporter:
    """Return *report_status* that also serves the agent's metrics at *address*, if any."""
    if address is None:
        return report_status
    return lambda status: _with_metrics(report_status, status, address)


@asynccontextmanager
async def _with_metrics(
    report_status: StatusReporter, status: AgentStatus, address: tuple[str, int]
) -> AsyncIterator[None]:
    async with serving_metrics(status, address), report_status(status):
        yield


@asynccontextmanager
async def serving_metrics(status: AgentStatus, address: tuple[str, int]) -> AsyncIterator[int]:
    """Serve GET /metrics at *address* until the block ends; yield the port. OSError if taken."""
    registry = CollectorRegistry()
    registry.register(AgentCollector(status.metrics))

    async def page(_request: web.Request) -> web.Response:
        # In the agent's own loop: nothing changes while it is read.
        return web.Response(
            body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    app = web.Application()
    app.router.add_get("/metrics", page)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        host, port = address
        site: web.BaseSite = (
            web.SockSite(runner, listener_of_every_address(port))
            if host == "::"
            else web.TCPSite(runner, host, port)
        )
        await site.start()
        bound: int = runner.addresses[0][1]
        log.info("metrics.served", host=host, port=bound)
        yield bound
    finally:
        await runner.cleanup()


class AgentCollector:
    """Collects the agent's metrics, as *read* returns them, for prometheus_client."""

    def __init__(self, read: Callable[[], AgentMetrics]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it is now."""
        now = self._read()
        runs = GaugeMetricFamily(
            "phonefarm_agent_runs", "Runs that the agent still keeps", labels=["phase"]
        )
        for phase, count in now.runs.items():
            runs.add_metric([phase.value], count)
        yield runs
        phones = GaugeMetricFamily(
            "phonefarm_agent_phones", "Phones that the agent knows", labels=["readiness"]
        )
        for readiness, count in now.phones.items():
            phones.add_metric([readiness.value], count)
        yield phones
        incidents = GaugeMetricFamily(
            "phonefarm_agent_incidents",
            "1 while this host incident lasts",
            labels=["kind"],
        )
        for kind, lasts in now.incidents.items():
            incidents.add_metric([kind.value], lasts)
        yield incidents
        steps = CounterMetricFamily(
            "phonefarm_agent_recovery_steps",
            "Recovery steps that the agent has taken for phones that could not work",
            labels=["step"],
        )
        for step, count in sorted(now.recovery.items()):
            steps.add_metric([step], count)
        yield steps
        yield CounterMetricFamily(
            "phonefarm_agent_adb_restarts",
            "Number of times that the agent had to restart the adb server",
            value=now.adb_restarts,
        )
        judged = CounterMetricFamily(
            "phonefarm_agent_judged", "Videos that the judge has judged", labels=["by", "verdict"]
        )
        for (by, decision), count in sorted(now.judged.items()):
            judged.add_metric([by.value, decision.value], count)
        yield judged
        yield CounterMetricFamily(
            "phonefarm_agent_judge_failures",
            "Calls to the judge's model that returned no verdict",
            value=now.judge_failures,
        )
        for name, about, value in _gauges(now):
            yield GaugeMetricFamily(f"phonefarm_agent_{name}", about, value=value)


def _gauges(now: AgentMetrics) -> Iterator[tuple[str, str, float]]:
    yield "phones_offered", "Phones that the agent offers to the controller", now.offered
    yield "connected", "1 while a session with a controller is open", now.connected
    yield "phones_needing_hands", "Phones that need a person", now.needing_hands
    yield "withheld", "1 while this host starts no runs", now.withheld
    yield (
        "heartbeat_age_seconds",
        (
            "Seconds since the agent sent the last message that the controller has answered; "
            "+Inf before the first answer"
        ),
        now.heartbeat_age,
    )
    yield (
        "journal_writes_waiting",
        "Journal writes that are waiting for the disk",
        now.journal_writes,
    )
    yield (
        "journal_failing",
        "1 while the agent cannot write the journal to the disk",
        now.journal_failing,
    )
    yield "records_waiting", "Records that the controller has not acknowledged", now.records
    yield "evidence_files_waiting", "Evidence files that are not uploaded yet", now.evidence_files
    yield (
        "evidence_bytes_waiting",
        "Bytes of the evidence files that are not uploaded yet",
        now.evidence_bytes,
    )
