"""The dispatcher: claims work for offered phones as soon as there may be some."""

import random
from collections.abc import Sequence

import structlog

from phonefarm_controller.agents.offers import OfferedPhone, offers_here
from phonefarm_controller.agents.sessions import Sessions
from phonefarm_controller.alarms import Liveness
from phonefarm_controller.concurrency.wakeups import WakeUps
from phonefarm_controller.model.errors import DatabaseBusyError
from phonefarm_controller.model.run_reports import Assignment
from phonefarm_controller.scheduler.claim import Claim

log = structlog.get_logger()

POLL_SECONDS = 1.0
"""If a wake-up is lost, its work is noticed at most this late."""
MOST_PHONES = 200
"""One transaction claims for at most this many phones."""


async def run_dispatcher(
    liveness: Liveness, *, claim: Claim, sessions: Sessions, wakeups: WakeUps
) -> None:
    """Claim until cancelled."""
    while True:
        liveness.beat()
        # Give or take a quarter: controllers on one database must not look in step.
        await wakeups.work.wait(within=POLL_SECONDS * random.uniform(0.75, 1.25))
        offers = offers_here(sessions)
        for start in range(0, len(offers), MOST_PHONES):
            try:
                await _claim(claim, sessions, offers[start : start + MOST_PHONES])
            except DatabaseBusyError as error:
                log.warning("loop.delayed", loop="dispatcher", error=str(error))
                break


async def _claim(claim: Claim, sessions: Sessions, offers: Sequence[OfferedPhone]) -> None:
    """Claim for these phones; one that cannot be claimed for spoils only itself."""
    try:
        assignments = await claim(offers)
    except DatabaseBusyError:
        raise
    except Exception:
        log.exception("loop.crashed", loop="dispatcher", phones=len(offers))
        if len(offers) == 1:
            # Tried again when its agent offers it anew, not at every turn.
            sessions.withdraw(offers[0].agent_id, offers[0].phone_id)
            return
        for offer in offers:
            await _claim(claim, sessions, [offer])
        return
    _push(assignments, sessions)


def _push(assignments: Sequence[Assignment], sessions: Sessions) -> None:
    sessions.send(assignments)
    for assignment in assignments:
        sessions.withdraw(assignment.agent_id, assignment.phone_id)
        log.info(
            "item.claimed",
            process_id=assignment.process_id,
            item_id=assignment.run.item_id,
            run_id=assignment.run.run_id,
            phone_id=assignment.phone_id,
            agent_id=assignment.agent_id,
            epoch=assignment.run.epoch,
        )
