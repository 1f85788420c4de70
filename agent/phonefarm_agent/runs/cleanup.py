"""Cleans up after a run: container, phone and run directory."""

import asyncio

import structlog
from phonefarm_common.wire_enums import EVERY_CLEANUP_STEP

from phonefarm_agent.model.phone import PhoneFailedError
from phonefarm_agent.model.records import PhoneReleased
from phonefarm_agent.phones.interface import CleanupRequest, RunResources
from phonefarm_agent.runs.control_socket import EvidenceFrame
from phonefarm_agent.runs.plan import BadPlanError, build_plan
from phonefarm_agent.runs.run import Run
from phonefarm_agent.runtimes.interface import RuntimeFailedError

log = structlog.get_logger()

RETRY_SECONDS = 1.0
REASON_CHARACTERS = 200
"""The reason, for people, lists leftovers up to this length; the report contains all of them."""


async def clean_up_run(run: Run) -> PhoneReleased:
    """Clean up after *run* and return whether the phone is clean."""
    await remove_container(run)
    run.context.assets.release(run.ref.run_id)
    released = await _clean_phone(run) if run.state.went else PhoneReleased(clean=True)
    await _store_logs(run, released)
    await asyncio.to_thread(run.directory.remove)
    return released


async def _store_logs(run: Run, released: PhoneReleased) -> None:
    """Put the run's logs into the spool and close its manifest."""
    clean = "clean" if released.clean else f"not clean: {released.reason}"
    await run.run_log.write(f"the phone is released, {clean}")
    spool = run.context.spool
    for file in await run.run_log.finish():
        if file.missing:
            await spool.miss(run.ref, name=file.name, kind=file.kind, why=file.missing)
            continue
        frame = EvidenceFrame(name=file.name, kind=file.kind, action=-1, data=file.data)
        await spool.put(run.ref, frame, truncated=file.truncated)
    await spool.close(run.ref, {"phone_clean": released.clean, "cause": str(run.cause or "")})
    await run.run_log.discard()


async def remove_container(run: Run) -> None:
    """Remove the run's container; retry while the runtime is unavailable."""
    handle = run.handle
    while handle is not None:
        try:
            await run.runtime().remove(handle)
        except RuntimeFailedError as error:
            log.warning("runtime.unavailable", error=str(error))
            await asyncio.sleep(RETRY_SECONDS * run.context.scale)
        else:
            return


async def _clean_phone(run: Run) -> PhoneReleased:
    request = _cleanup_request(run)
    last = "the agent did not try to clean it"
    residue: tuple[str, ...] = ()
    try:
        async with asyncio.timeout(run.context.timers.clean_up):
            while True:
                try:
                    residue = await run.context.phones.clean_up(request)
                    if not residue:
                        return PhoneReleased(clean=True)
                    last = f"left: {'; '.join(residue)}"[:REASON_CHARACTERS]
                except PhoneFailedError as error:
                    last = str(error)
                await asyncio.sleep(RETRY_SECONDS * run.context.scale)
    except TimeoutError:
        log.warning("phone.not_cleaned", reason=last, residue=residue)
        return PhoneReleased(clean=False, reason=f"clean_up_failed: {last}", residue=residue)


async def is_clean_now(run: Run) -> bool:
    """Try once more to clean the phone that the run left unclean; False when something stays."""
    try:
        async with asyncio.timeout(run.context.timers.clean_up):
            return not await run.context.phones.clean_up(_cleanup_request(run))
    except (PhoneFailedError, TimeoutError):
        return False


def _cleanup_request(run: Run) -> CleanupRequest:
    try:
        plan = build_plan(run.state.assignment, adb_serial=run.state.adb_serial)
        resources, steps = plan.resources, plan.clean_up
    except BadPlanError:  # A run that went had a plan; a journal from another version may not.
        resources, steps = (
            RunResources(phone_folder="", media_folder="", package=""),
            EVERY_CLEANUP_STEP,
        )
    return CleanupRequest(
        run_id=run.ref.run_id,
        epoch=run.ref.epoch,
        serialno=run.state.assignment.serialno,
        resources=resources,
        steps=steps,
    )
