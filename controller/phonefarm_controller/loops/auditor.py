"""The auditor: re-derives processes whose items have all ended; each find is a bug."""

import asyncio

import structlog

from phonefarm_controller.operations.mend import Mend
from phonefarm_controller.operations.watch import Audit
from phonefarm_controller.store.database import DatabaseBusyError

log = structlog.get_logger()

PERIOD_SECONDS = 30.0


async def auditor(*, audit: Audit, mend: Mend) -> None:
    """Look until cancelled. A process is mended only when two looks in a row find it."""
    suspects: set[str] = set()
    while True:
        await asyncio.sleep(PERIOD_SECONDS)
        try:
            found = set(await audit(limit=100))
            for process_id in sorted(found & suspects):
                log.error("process.found_unsynced", process_id=process_id)
                await mend(process_id)
            suspects = found
        except DatabaseBusyError as error:
            log.warning("auditor.failed", error=str(error))
