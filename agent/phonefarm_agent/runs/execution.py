"""Executes a run: prepares it, starts the container and waits for its end."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

import structlog
from phonefarm_common.reasons import FailureClass, FailureCode

from phonefarm_agent.judge.verdict import Verdict, undecided
from phonefarm_agent.model.phone import PhoneFailedError, PhoneNotFitError
from phonefarm_agent.model.records import Failure, RunEnded, RunRefused
from phonefarm_agent.model.run import Phase
from phonefarm_agent.phones.interface import RunAccess
from phonefarm_agent.runs.asset_requests import AssetRequests
from phonefarm_agent.runs.control_socket import ControlSocket, EvidenceFrame
from phonefarm_agent.runs.enforcement import Enforcement
from phonefarm_agent.runs.event_relay import EventRelay
from phonefarm_agent.runs.outcome import Broken, Stopped, broken, decide_ending
from phonefarm_agent.runs.plan import BadPlanError, Plan, build_plan
from phonefarm_agent.runs.run import Run
from phonefarm_agent.runtimes.interface import Exit, Handle, RunSpec, RuntimeFailedError

log = structlog.get_logger()

LOG_DRAIN_SECONDS = 20.0
"""After a run has ended, the rest of its log may take this long to arrive."""
CONTROL_DRAIN_SECONDS = 5.0
"""After a run has ended, storing the evidence that it sent may take this long."""


class RunRefusedError(Exception):
    """The run is refused; the text is the reason."""


class EndedEarlyError(Exception):
    """The run ends before its container started; `run.cause` says why."""


async def execute(run: Run) -> RunEnded | RunRefused:
    """Execute *run* until its container is gone, and return how it ended.

    Works also for a run that the agent's previous process has started. Cancelled, it leaves the
    container alone.
    """
    try:
        async with AsyncExitStack() as stack:
            stack.callback(run.gate.close, "the run is over")
            if run.handle is None:
                plan = await _prepare(run)
                control = await _open(run, plan, stack)
                handle = await _start(run, plan)
            else:
                handle, plan = run.handle, _plan(run, run.state.adb_serial)
                await asyncio.to_thread(run.directory.make)
                control = await _open(run, plan, stack)
            await _begin(run, handle)
            return await _follow_run(run, handle, plan, control)
    except RunRefusedError as error:
        log.warning("run.refused", reason=str(error))
        return RunRefused(reason=str(error))
    except EndedEarlyError:
        return decide_ending(
            finished=None,
            output_read=True,
            exit_code=None,
            exit_detail="",
            cause=run.cause,
            stop_ordered=run.state.stop is not None,
            failed_action=None,
        )


async def _prepare(run: Run) -> Plan:
    """Check the phone, write the lease file on it, make the run directory."""
    assignment = run.state.assignment
    phones = run.context.phones
    run.change(run.state.move(Phase.PREPARING))
    _stop_here(run)
    try:
        located = await phones.check_fit(assignment.serialno)
        if located.epoch > run.ref.epoch:
            raise RunRefusedError(f"{FailureCode.EPOCH_TOO_OLD}:{located.epoch}")
        # A container that is found again must find a journal that knows how to lead it.
        await run.keep(replace(run.state, adb_serial=located.adb_serial))
        plan = _plan(run, located.adb_serial)
        await phones.write_lease(assignment.serialno, epoch=run.ref.epoch, run_id=run.ref.run_id)
    except PhoneNotFitError as error:
        raise RunRefusedError(str(error)) from error
    except PhoneFailedError as error:
        raise RunRefusedError(f"phone_failed:{error}") from error
    try:
        await asyncio.to_thread(run.directory.make, plan.document)
    except OSError as error:
        raise RunRefusedError(f"host_storage:{error.strerror}") from error
    _stop_here(run)
    return plan


def _plan(run: Run, adb_serial: str) -> Plan:
    try:
        plan = build_plan(run.state.assignment, adb_serial=adb_serial)
    except BadPlanError as error:
        failure = Failure(
            code=FailureCode.PLAN_INVALID.value,
            message=str(error),
            failure_class=FailureClass.WORK,
            final=True,
        )
        run.end(Broken(failure=failure))
        raise EndedEarlyError from error
    if plan.trace_id is not None:
        structlog.contextvars.bind_contextvars(trace_id=plan.trace_id)
    return plan


async def _open(run: Run, plan: Plan, stack: AsyncExitStack) -> ControlSocket:
    """Open the run's control socket and its adb proxy."""

    async def store_evidence(frame: EvidenceFrame) -> None:
        if frame.kind == "screenshot":
            run.picture = (frame.data, run.context.clock.now())
        await run.context.spool.put(run.ref, frame)

    requests = AssetRequests(
        run_id=run.ref.run_id, directory=run.directory, wanted=plan.assets, store=run.context.assets
    )
    access: list[RunAccess] = []

    async def switch_ui_server(up: bool) -> str:
        if up:
            # After a restart of the agent the phone is open to a run once the controller says so.
            await run.gate.until_going()
            return await access[0].start()
        for opened in access:
            await opened.stop()
        return ""

    async def judge(action: int, texts: Sequence[str]) -> Verdict:
        wish = plan.wishes.get(action)
        if wish is None:
            return undecided(f"action {action} of the plan has no judge_prompt")
        return await run.context.judge.judge(wish, texts)

    control = ControlSocket(
        path=run.directory.control_socket,
        run_id=run.ref.run_id,
        on_ready=run.on_ready,
        on_line=run.on_output,
        on_evidence=store_evidence,
        fetch_asset=requests.fetch,
        on_ui_server=switch_ui_server,
        judge=judge,
    )
    try:
        await control.open()
        stack.push_async_callback(control.close)
        if run.is_hold:
            hold_proxy = run.context.phones.serve_hold(
                adb_serial=run.state.adb_serial, gate=run.gate, log_line=run.run_log.write
            )
            run.address = await stack.enter_async_context(hold_proxy)
            return control
        run_proxy = run.context.phones.serve_run(
            path=run.directory.adb_socket,
            adb_serial=run.state.adb_serial,
            run_id=run.ref.run_id,
            resources=plan.resources,
            gate=run.gate,
        )
        access.append(await stack.enter_async_context(run_proxy))
    except OSError as error:
        run.end(
            broken(
                FailureCode.RUNTIME_FAILED,
                f"the agent cannot open the run's sockets: {error}",
            )
        )
        raise EndedEarlyError from error
    return control


async def _start(run: Run, plan: Plan) -> Handle:
    """Start the container and journal its name."""
    _stop_here(run)
    run.admit()
    spec = RunSpec(
        run_id=run.ref.run_id,
        epoch=run.ref.epoch,
        directory=run.directory.path,
        cap_seconds=run.state.assignment.cap_seconds,
        plan=plan.document,
    )
    try:
        handle = await run.runtime().start(spec)
    except RuntimeFailedError as error:
        run.end(broken(FailureCode.RUNTIME_FAILED, str(error)))
        raise EndedEarlyError from error
    # What the controller is told of a hold is where its adb is.
    name = run.address or handle.name
    await run.keep(replace(run.state, handle_name=name, handle_token=handle.token))
    log.info("run.started", container=name)
    await run.run_log.write(f"container {name} started, epoch {run.ref.epoch}")
    return handle


async def _begin(run: Run, handle: Handle) -> None:
    """Let the executor read its plan, once the journal knows the container."""
    try:
        await run.context.runtime().begin(handle, run.directory.path)
    except RuntimeFailedError as error:
        run.end(broken(FailureCode.RUNTIME_FAILED, str(error)))


def _stop_here(run: Run) -> None:
    """Raise EndedEarlyError if the run was ordered to stop meanwhile."""
    if run.cause is None and run.state.stop is not None:
        run.end(Stopped(reason=run.state.stop.reason))
    if run.cause is not None:
        raise EndedEarlyError


async def _follow_run(run: Run, handle: Handle, plan: Plan, control: ControlSocket) -> RunEnded:
    """Relay the run's events and enforce its limits until the container is gone."""
    run.on_output()
    relay = EventRelay(run=run, actions=plan.actions)
    enforcement = Enforcement(
        run=run, handle=handle, control=control, longest_limit=plan.longest_limit
    )
    relaying = asyncio.create_task(relay.follow(run.runtime().lines(handle)), name="relay")
    enforcing = asyncio.create_task(enforcement.enforce(), name="watch")
    ending = asyncio.create_task(_wait(run, handle), name="wait")
    try:
        await asyncio.wait({ending, enforcing}, return_when=asyncio.FIRST_COMPLETED)
        if enforcing.done():
            enforcing.result()  # It ends only by a fault in the agent.
        exit_ = await ending
        run.gate.close("the run is over")
        await asyncio.wait({relaying}, timeout=LOG_DRAIN_SECONDS)
        output_read = relaying.done() and relaying.exception() is None
        if not relaying.done():
            log.warning("run.output_incomplete", waited=LOG_DRAIN_SECONDS)
        await control.drain(within=CONTROL_DRAIN_SECONDS)
    finally:
        for task in (relaying, enforcing, ending):
            task.cancel()
        results = await asyncio.gather(relaying, enforcing, ending, return_exceptions=True)
    if isinstance(results[0], Exception):
        log.warning("run.output_failed", error=str(results[0]))
    return decide_ending(
        finished=relay.finished,
        output_read=output_read,
        exit_code=exit_.code,
        exit_detail=exit_.detail,
        cause=run.cause,
        stop_ordered=run.state.stop is not None,
        failed_action=run.state.failed_action or run.state.open_action,
    )


async def _wait(run: Run, handle: Handle) -> Exit:
    """Return how the container ended; retry while the runtime is unavailable."""
    while True:
        try:
            return await run.runtime().wait(handle)
        except RuntimeFailedError as error:
            log.warning("runtime.unavailable", error=str(error))
            await asyncio.sleep(0.5)
