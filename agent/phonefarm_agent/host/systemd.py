"""Reports the agent's status to systemd: ready, status line, watchdog, stopping."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

from phonefarm_agent.app.status import AgentStatus, StatusReporter, no_reporter
from phonefarm_agent.host.sd_notify import SystemdNotifier, systemd_notifier, watchdog_seconds
from phonefarm_agent.host.watchdog import watchdog

READY_WITHIN_SECONDS = 10.0
LOOK_SECONDS = 1.0


def systemd_reporter() -> StatusReporter:
    """Return the reporter to systemd, if systemd started this process."""
    notifier = systemd_notifier()
    if notifier is None:
        return no_reporter
    return lambda status: reporting_to_systemd(status, notifier, period=watchdog_seconds())


@asynccontextmanager
async def reporting_to_systemd(
    status: AgentStatus, notifier: SystemdNotifier, *, period: float | None
) -> AsyncIterator[None]:
    """Report *status* to *notifier* until the block ends; *period*: the watchdog's timeout."""
    feeding = (
        nullcontext()
        if period is None
        else watchdog(proof=status.check_liveness, keep_alive=notifier.keep_alive, period=period)
    )
    telling = asyncio.create_task(_tell(status, notifier), name="systemd")
    try:
        with feeding:
            yield
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        notifier.stopping()


async def _tell(status: AgentStatus, notifier: SystemdNotifier) -> None:
    """Send the status line, then that the start is over, then the line when it changes.

    The start is over once the controller was reached or is known not to be: `systemctl start` comes
    back with the answer, and an agent without a controller is up, because it keeps its runs.
    """
    notifier.status(told := status.summary())
    try:
        async with asyncio.timeout(READY_WITHIN_SECONDS):
            await status.controller_tried.wait()
    except TimeoutError:
        pass
    notifier.status(told := status.summary())
    notifier.ready()
    stopping = False
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if status.stopping and not stopping:
            stopping = True
            notifier.stopping()
        if told != (now := status.summary()):
            notifier.status(told := now)
