"""Enforces a run's limits while its container lives: start, stop, cap, silence, fence."""

import asyncio

import structlog
from phonefarm_common.reasons import FailureCode

from phonefarm_agent.model.phone import PhoneFailedError, PhoneNotFitError
from phonefarm_agent.model.run import Phase, StopStrategy
from phonefarm_agent.runs.control_socket import ControlSocket
from phonefarm_agent.runs.outcome import Broken, Stopped, broken
from phonefarm_agent.runs.run import Run
from phonefarm_agent.runtimes.interface import Handle, RuntimeFailedError

log = structlog.get_logger()

SILENCE_SECONDS = 30.0
HARD_GRACE_SECONDS = 2.0
RETRY_SECONDS = 0.5


class Enforcement:
    """Checks all rules of one run at every event and every deadline."""

    def __init__(
        self, *, run: Run, handle: Handle, control: ControlSocket, longest_limit: float
    ) -> None:
        self._run = run
        self._handle = handle
        self._control = control
        self._clock = run.context.clock
        self._scale = run.context.scale
        self._began_at = self._clock.monotonic()
        self._went_at: float | None = None
        self._stop_at: float | None = None
        self._told_stop = ""
        self._told_acknowledged = 0
        self._silence = longest_limit + SILENCE_SECONDS * self._scale

    async def enforce(self) -> None:
        """Check the rules until cancelled."""
        run = self._run
        if run.state.phase is Phase.GOING:
            # The agent's previous process saw `go`; the lease opens only after `continue`.
            self._went_at = self._began_at
            self._control.go()
        async with asyncio.TaskGroup() as tasks:
            if run.adopted:
                tasks.create_task(self._reopen(), name="reopen")
            while True:
                run.news.clear()
                await self._round()
                await self._pause()

    async def _round(self) -> None:
        run = self._run
        now = self._clock.monotonic()
        if now >= run.fence_at:
            run.gate.close("fenced")
            run.end(
                broken(FailureCode.AGENT_FENCED, "the controller has not renewed the lease in time")
            )
        if self._went_at is not None and now >= self._went_at + run.state.assignment.cap_seconds:
            run.end(broken(FailureCode.RUN_TIMEOUT, "the run reached its time limit"))
        if now >= self._silent_at():
            run.end(broken(FailureCode.RUN_SILENT, "the executor has sent nothing for too long"))
        if run.cause is None and run.state.stop is not None:
            await self._follow_stop(now)
        match run.cause:
            case Broken():
                run.gate.close("the agent is stopping the run by force")
                await self._kill(0.0)
            case Stopped():
                run.gate.close("the agent is stopping the run")
                await self._kill(HARD_GRACE_SECONDS * self._scale)
            case None:
                await self._pass_gate()
        self._acknowledge()

    async def _follow_stop(self, now: float) -> None:
        """Apply the stop order as its strategy demands now."""
        run = self._run
        order = run.state.stop
        if order is None:
            return
        if self._stop_at is None:
            self._stop_at = now
        if self._told_stop != "stop":
            self._told_stop = "stop"
            self._control.stop(order.reason)
        window = order.force_after_seconds
        forced = order.strategy is StopStrategy.HARD or (
            order.strategy is StopStrategy.SOFT_THEN_FORCE and now >= self._stop_at + window
        )
        # Before `go` nothing was done: there is nothing to finish softly.
        if forced or self._went_at is None:
            run.end(Stopped(reason=order.reason))

    async def _pass_gate(self) -> None:
        run = self._run
        if run.state.stop is not None:
            return
        if run.ready and run.state.phase is Phase.PREPARING:
            run.change(run.state.move(Phase.READY))
        if run.verdict_go and run.state.phase is Phase.READY:
            if self._clock.monotonic() >= run.go_until:
                # It came too late to begin before the deadline; asked again, the controller tells.
                log.warning("run.go_expired", run_id=run.ref.run_id)
                run.verdict_go = False
                return
            await run.move(Phase.GOING)
            self._went_at = self._clock.monotonic()
            run.on_output()
            run.gate.going = True
            self._control.go()
            log.info("run.go_received")

    def _acknowledge(self) -> None:
        # A `once` action begins with this word, and must not find its phone out of reach.
        if self._run.gate.closed_reason is not None:
            return
        if self._run.acknowledged > self._told_acknowledged:
            self._told_acknowledged = self._run.acknowledged
            self._control.acknowledge(self._told_acknowledged)

    async def _kill(self, grace: float) -> None:
        """Stop the run's container; retry while the runtime is unavailable."""
        while True:
            try:
                await self._run.runtime().stop(self._handle, grace=grace)
            except RuntimeFailedError as error:
                log.warning("runtime.unavailable", error=str(error))
                await asyncio.sleep(RETRY_SECONDS)
            else:
                await asyncio.Event().wait()  # The one who waits for the run cancels this.

    async def _reopen(self) -> None:
        """Open the gate of an adopted run once the controller has confirmed it.

        Only when adb still calls the same phone by the name the proxy was made for, and after a
        heartbeat of this process was acknowledged: before that the lease's age is unknown.
        """
        run = self._run
        await run.confirmed.wait()
        await run.renewed.wait()
        while True:
            try:
                located = await run.context.phones.locate(run.state.assignment.serialno)
            except (PhoneNotFitError, PhoneFailedError) as error:
                log.info("run.phone_awaited", error=str(error))
                await asyncio.sleep(RETRY_SECONDS * self._scale)
                continue
            if located.epoch > run.ref.epoch:
                message = f"the phone has already seen epoch {located.epoch}"
                run.end(broken(FailureCode.EPOCH_TOO_OLD, message))
            elif located.adb_serial != run.state.adb_serial:
                run.end(
                    broken(FailureCode.PHONE_LOST, "adb now lists the phone under another serial")
                )
            else:
                run.gate.going = self._went_at is not None
                run.admit()
                run.news.set()
                log.info("run.phone_reopened")
            return

    def _silent_at(self) -> float:
        if self._went_at is not None:
            return self._run.heard_at + self._silence
        if self._run.ready:
            return float("inf")  # It waits for the controller; the fence is its limit.
        return self._began_at + 2 * self._run.context.timers.start

    async def _pause(self) -> None:
        """Wait for an event or the next deadline."""
        run = self._run
        times = [run.fence_at, self._silent_at()]
        if self._went_at is not None:
            times.append(self._went_at + run.state.assignment.cap_seconds)
        order = run.state.stop
        forced = order is not None and order.strategy is StopStrategy.SOFT_THEN_FORCE
        if order is not None and forced and self._stop_at is not None:
            times.append(self._stop_at + order.force_after_seconds)
        # Sleeping does not count suspended time; looking up now and then does.
        seconds = min(min(times) - self._clock.monotonic(), 5.0 * self._scale)
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await run.news.wait()
        except TimeoutError:
            return
