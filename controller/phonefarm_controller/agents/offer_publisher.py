"""Shows the other controllers what the agents here offer; only where there may be others."""

import asyncio
from typing import Final

from phonefarm_controller.agents.offers import ShowOffers
from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.alarms.registry import Pulse
from phonefarm_controller.concurrency.loop import enduring

PERIOD_SECONDS: Final = 1.0
"""How late it is seen; what changes in between is never written."""


async def showing(*, show: ShowOffers, sessions: Sessions, pulse: Pulse) -> None:
    """Write until cancelled, in one transaction, only what has changed."""
    shown: dict[tuple[str, int], frozenset[str]] = {}
    while True:
        pulse.beat()
        await asyncio.sleep(PERIOD_SECONDS)
        now = {(each.agent_id, each.term): each for each in sessions.all()}
        changed = [each for key, each in now.items() if shown.get(key, frozenset()) != each.offered]
        with enduring("showing"):
            offered = {key: each.offered for key, each in now.items()}
            if changed:
                await show(changed)
            shown = offered
