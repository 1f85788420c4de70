"""Takes a run through its remaining phases, up to the last acknowledgement."""

import asyncio
from functools import partial

import structlog
from phonefarm_common.backoff import backoff
from phonefarm_common.reasons import FailureCode
from phonefarm_common.wire_enums import RunOutcome

from phonefarm_agent.model.records import PhoneReleased, RunEnded, RunRefused
from phonefarm_agent.model.run import LIVE, Phase
from phonefarm_agent.runs.cleanup import clean_up_run, is_clean_now, remove_container
from phonefarm_agent.runs.execution import execute
from phonefarm_agent.runs.journal_schema import trim_forgotten
from phonefarm_agent.runs.outcome import broken
from phonefarm_agent.runs.run import Run

log = structlog.get_logger()

MOST_PAUSE_SECONDS = 30.0
"""The longest pause between two attempts to clean a phone that was released unclean."""


async def lead_run(run: Run) -> None:
    """Lead *run* to its last acknowledged record; an error in the agent ends only the run."""
    assignment = run.state.assignment
    structlog.contextvars.bind_contextvars(
        process_id=assignment.process_id,
        item_id=run.ref.item_id,
        run_id=run.ref.run_id,
        phone_id=assignment.phone_id,
    )
    serialno = assignment.serialno
    following = None
    try:
        run.context.phones.busy(serialno, on=run.state.phase in LIVE)
        if run.state.phase in LIVE:
            source = partial(run.context.phones.logcat, serialno)
            following = asyncio.create_task(run.run_log.follow(source), name="logcat")
        if run.state.phase in LIVE - {Phase.ENDED}:
            await _settle(run, await _execute(run))
        if run.state.phase is Phase.ENDED:
            await _clean_up(run)
    finally:
        run.context.phones.busy(serialno, on=False)
        if following is not None:
            following.cancel()
            await asyncio.wait({following})
    run.released.set()
    await remove_container(run)
    if run.state.unclean and serialno:
        await _clean_later(run)
    await _acknowledged(run)


async def record_loss(run: Run) -> None:
    """Record that the container of an adopted *run* is gone, unless the run had ended."""
    if run.state.phase not in LIVE - {Phase.ENDED}:
        return
    message = "the run had disappeared when the agent restarted"
    if run.state.phase in {Phase.ASSIGNED, Phase.PREPARING}:
        await _settle(run, RunRefused(reason="agent_restarted"))
        return
    action = run.state.failed_action or run.state.open_action or (-1, "")
    await _settle(
        run,
        RunEnded(
            outcome=RunOutcome.FAILED,
            failure=broken(FailureCode.RUN_CRASHED, message).failure,
            failed_action_index=action[0],
            failed_action_kind=action[1],
        ),
    )


async def _execute(run: Run) -> RunEnded | RunRefused:
    try:
        return await execute(run)
    except Exception as error:
        log.exception("run.crashed_in_agent")
        # The container must be gone before anybody hears that the run has ended.
        await remove_container(run)
        return RunEnded(
            outcome=RunOutcome.FAILED,
            failure=broken(FailureCode.RUN_CRASHED, f"the agent has a fault: {error!r}").failure,
        )


async def _settle(run: Run, ending: RunEnded | RunRefused) -> None:
    """Journal and log how the run ended."""
    match ending:
        case RunRefused():
            await asyncio.to_thread(run.directory.remove)
            await run.run_log.discard()
            await run.move(Phase.RELEASED, ending, PhoneReleased(clean=True))
        case RunEnded():
            await run.move(Phase.ENDED, ending)
            failure = f": {ending.failure.code}: {ending.failure.message}" if ending.failure else ""
            await run.run_log.mark(f"run ended, {ending.outcome.value}{failure}")
            log.info(
                "run.ended",
                outcome=ending.outcome.value,
                failure=ending.failure.code if ending.failure else "",
                message=ending.failure.message if ending.failure else "",
                exit_code=ending.exit_code,
                records=run.state.last_sequence,
            )


async def _clean_up(run: Run) -> None:
    try:
        released = await clean_up_run(run)
    except Exception as error:
        log.exception("cleanup.crashed_in_agent")
        released = PhoneReleased(clean=False, reason=f"the agent has a fault: {error!r}")
    await run.move(Phase.RELEASED, released)
    log.info("phone.released", clean=released.clean, reason=released.reason)


async def _clean_later(run: Run) -> None:
    """Try again until the phone is clean or another run has it, and say that it is clean.

    A controller that stops the run meanwhile hears again that the phone is not clean.
    """
    tries = 0
    while True:
        tries += 1
        pause = backoff(
            tries, first=run.context.scale, factor=2, most=MOST_PAUSE_SECONDS * run.context.scale
        )
        run.stop_heard.clear()
        try:
            async with asyncio.timeout(pause):
                await run.stop_heard.wait()
        except TimeoutError:
            if await is_clean_now(run):
                await run.record(PhoneReleased(clean=True))
                log.info("phone.cleaned_later", tries=tries)
                return
        else:
            await run.record(PhoneReleased(clean=False, reason=run.state.unclean))


async def _acknowledged(run: Run) -> None:
    """Wait until the controller has every record, then forget the run."""
    while run.context.record_queue.waiting(run.ref.run_id):
        run.news.clear()
        if run.context.record_queue.waiting(run.ref.run_id):
            await run.news.wait()
    run.change(run.state.move(Phase.FORGOTTEN))
    run.context.journal.write_later(trim_forgotten())
