"""The pump: claims for offered phones the moment there may be work."""

import structlog

from phonefarm_controller.operations.claim import Claim, OfferedPhone
from phonefarm_controller.sessions.hints import Hints
from phonefarm_controller.sessions.registry import Sessions
from phonefarm_controller.store.database import DatabaseBusyError

log = structlog.get_logger()

POLL_SECONDS = 1.0
"""How late work can be noticed whose hint was lost."""
MOST_PHONES = 200
"""How many phones one transaction claims for."""


async def pump(*, claim: Claim, sessions: Sessions, hints: Hints) -> None:
    """Claim until cancelled."""
    while True:
        await hints.work.taken(within=POLL_SECONDS)
        offers = [
            OfferedPhone(agent_id=session.agent_id, term=session.term, phone_id=phone_id)
            for session, phone_ids in sessions.offers()
            for phone_id in phone_ids
        ]
        for start in range(0, len(offers), MOST_PHONES):
            try:
                assignments = await claim(offers[start : start + MOST_PHONES])
            except DatabaseBusyError as error:
                log.warning("claim.failed", error=str(error))
                break
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
