"""Keeps systemd told: ready, the status line, the watchdog, the stop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

from phonefarm_agent.app.status import Supervise, Vitals, unsupervised
from phonefarm_agent.host.sd_notify import Notifier, take_notifier, watchdog_seconds
from phonefarm_agent.host.watchdog import watchdog

READY_WITHIN_SECONDS = 10.0
LOOK_SECONDS = 1.0


def supervision() -> Supervise:
    """Return how this process is looked after: by systemd if it was started so, else by nobody."""
    notifier = take_notifier()
    if notifier is None:
        return unsupervised
    return lambda vitals: under_systemd(vitals, notifier, period=watchdog_seconds())


@asynccontextmanager
async def under_systemd(
    vitals: Vitals, notifier: Notifier, *, period: float | None
) -> AsyncIterator[None]:
    """Tell *notifier* how the agent is until the block ends; *period* is the watchdog's time."""
    feeding = (
        nullcontext()
        if period is None
        else watchdog(proof=vitals.prove, feed=notifier.feed, period=period)
    )
    telling = asyncio.create_task(_tell(vitals, notifier), name="supervision")
    try:
        with feeding:
            yield
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        notifier.stopping()


async def _tell(vitals: Vitals, notifier: Notifier) -> None:
    """Say how it is, then that the start is over, then how it is whenever that changes.

    The start is over once the controller was reached or is known not to be: `systemctl start` comes
    back with the answer, and an agent without a controller is up, because it keeps its runs.
    """
    notifier.status(told := vitals.line())
    try:
        async with asyncio.timeout(READY_WITHIN_SECONDS):
            await vitals.settled.wait()
    except TimeoutError:
        pass
    notifier.status(told := vitals.line())
    notifier.ready()
    stopping = False
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if vitals.stopping and not stopping:
            stopping = True
            notifier.stopping()
        if told != (now := vitals.line()):
            notifier.status(told := now)
