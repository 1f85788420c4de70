"""Turns the executor's events into records, each number exactly once."""

from collections.abc import AsyncIterator

import structlog
from phonefarm_common.reasons import FailureCode

from phonefarm_agent.model.records import ActionDone, ActionFailed, ActionStarted
from phonefarm_agent.runs.event_parser import BadEventError, ExecutorEvent, RunFinished, parse_event
from phonefarm_agent.runs.outcome import broken
from phonefarm_agent.runs.run import Run

log = structlog.get_logger()

_LOGGED_LINES = 200
_LOGGED_CHARACTERS = 500


class EventRelay:
    """Reads one run's events; `finished` is the last one, once it was read."""

    def __init__(self, *, run: Run, actions: int) -> None:
        self.finished: RunFinished | None = None
        self._run = run
        # Each action begins once and ends once; more than that is an executor gone wild.
        self._most_records = 2 * actions
        self._logged = 0

    async def follow(self, lines: AsyncIterator[bytes]) -> None:
        """Read all lines; skip events that the agent's previous process has recorded."""
        async for line in lines:
            self._run.on_output()
            if self.finished is not None:
                continue
            try:
                event = parse_event(line)
                if event is None:
                    await self._log(line)
                else:
                    await self._take(event)
            except BadEventError as error:
                self._run.end(broken(FailureCode.RUN_CRASHED, f"the executor's events: {error}"))

    async def _take(self, line: ExecutorEvent) -> None:
        last = self._run.state.last_sequence
        body = line.body
        if isinstance(body, RunFinished):
            if line.sequence > last + 1:
                raise BadEventError(f"line {last + 1} is missing before {line.sequence}")
            self.finished = body
            return
        if line.evidence and isinstance(body, ActionFailed):
            self._run.context.spool.expect(self._run.ref, line.evidence, body.index)
        if line.sequence <= last:
            return
        if line.sequence != last + 1:
            raise BadEventError(f"line {last + 1} is missing before {line.sequence}")
        if line.sequence > self._most_records:
            raise BadEventError(f"line {line.sequence} of at most {self._most_records}")
        # First: a kill in between marks it twice, not never.
        await self._run.run_log.mark(_describe(body))
        await self._run.record(body)

    async def _log(self, line: bytes) -> None:
        self._logged += 1
        if self._logged <= _LOGGED_LINES:
            said = line[:_LOGGED_CHARACTERS].decode("utf-8", "replace")
            log.debug("run.output_read", line=said)
            await self._run.run_log.write(f"executor: {said}")


def _describe(body: ActionStarted | ActionDone | ActionFailed) -> str:
    match body:
        case ActionStarted(index=index, kind=kind):
            return f"action {index} {kind} started"
        case ActionDone(index=index, kind=kind, seconds=seconds):
            return f"action {index} {kind} done in {seconds:g} s"
        case ActionFailed(index=index, kind=kind, failure=failure):
            return f"action {index} {kind} failed: {failure.code}: {failure.message}"
