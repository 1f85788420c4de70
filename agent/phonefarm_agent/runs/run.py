"""One run: its journalled state, and the events that the agent has received for it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import structlog
from phonefarm_common.clock import Clock
from phonefarm_common.timers import Timers

from phonefarm_agent.assets.store import AssetStore
from phonefarm_agent.judge.judge import Judge
from phonefarm_agent.model.records import (
    ActionDone,
    ActionFailed,
    ActionStarted,
    Body,
    PhoneReleased,
    Record,
)
from phonefarm_agent.model.run import HOLD, Phase, RunRef, RunState, StopOrder
from phonefarm_agent.phones.interface import Phones
from phonefarm_agent.phones.proxy.gate import Gate
from phonefarm_agent.runs.evidence_spool import EvidenceSpool
from phonefarm_agent.runs.journal import Journal
from phonefarm_agent.runs.journal_schema import Statement, put_record, put_state
from phonefarm_agent.runs.outcome import Cause
from phonefarm_agent.runs.record_queue import RecordQueue
from phonefarm_agent.runs.run_directory import RunDirectory
from phonefarm_agent.runs.run_log import RunLog
from phonefarm_agent.runtimes.interface import Handle, Runtime

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """What all runs of the agent share."""

    journal: Journal
    record_queue: RecordQueue
    spool: EvidenceSpool
    assets: AssetStore
    judge: Judge
    phones: Phones
    runtime: Callable[[], Runtime]  # known since the first Welcome, which names the farm
    hold_runtime: Runtime  # where holds live: no executor, only their time passes
    runs_folder: Path
    run_logs: Path
    timers: Timers
    scale: float
    clock: Clock
    changed: asyncio.Event


class Run:
    """One run's state and events; `execution` and `cleanup` drive it."""

    def __init__(
        self, *, state: RunState, context: RunContext, renewed_at: float, adopted: bool = False
    ) -> None:
        """Start with the lease as renewed by a message sent at *renewed_at*.

        The proxy of an *adopted* run, started by the agent's previous process, stays closed until
        the controller says `continue`.
        """
        self.state = state
        self.context = context
        self.renewed_at = renewed_at
        self.adopted = adopted
        self.run_log = RunLog(
            context.run_logs / state.ref.run_id, clock=context.clock, scale=context.scale
        )
        self.directory = RunDirectory(context.runs_folder, state.ref.run_id)
        self.gate = Gate(deadline=-float("inf"), clock=context.clock)
        self.news = asyncio.Event()
        self.ready = False
        self.verdict_go = False
        self.go_until = -float("inf")  # by when it must act on it
        self.confirmed = asyncio.Event()
        self.renewed = asyncio.Event()
        self.released = asyncio.Event()
        self.stop_heard = asyncio.Event()
        self.cause: Cause | None = None
        self.picture: tuple[bytes, datetime] | None = None  # the newest of its evidence
        self.address = ""  # of a hold's adb
        self.heard_at = context.clock.monotonic()
        self.acknowledged = 0
        self._admitted = False

    @property
    def ref(self) -> RunRef:
        """Return the reference of the run."""
        return self.state.ref

    @property
    def is_hold(self) -> bool:
        """Tell whether a person drives the phone."""
        return self.state.assignment.capability == HOLD

    def runtime(self) -> Runtime:
        """Return the runtime of the run."""
        return self.context.hold_runtime if self.is_hold else self.context.runtime()

    @property
    def handle(self) -> Handle | None:
        """Return the run's handle in the runtime, once it was started."""
        if not self.state.handle_name:
            return None
        return Handle(
            run_id=self.ref.run_id, name=self.state.handle_name, token=self.state.handle_token
        )

    @property
    def fence_at(self) -> float:
        """The moment from which the lease must be assumed lost."""
        return self.renewed_at + self.context.timers.self_fence

    # What the controller says.

    def on_go(self, until: float) -> None:
        """Record `go`; it counts once the executor is ready, if before *until*."""
        self.verdict_go = True
        self.go_until = until
        self.news.set()

    def on_stop(self, order: StopOrder) -> None:
        """Record a stop order; a repeated one changes nothing."""
        state = self.state.order_stop(order)
        if state != self.state:
            log.info("run.stop_ordered", run_id=self.ref.run_id, reason=order.reason)
            self.change(state)
        self.stop_heard.set()
        self.news.set()

    def on_renewal(self, sent_at: float) -> None:
        """Renew the lease by a message that was sent at *sent_at*."""
        self.renewed_at = max(self.renewed_at, sent_at)
        self.renewed.set()
        if self._admitted:
            self.gate.renew(self.fence_at)
        self.news.set()

    def on_continue(self) -> None:
        """Record that the controller confirms this run; that renews no lease."""
        self.confirmed.set()

    def on_acknowledged(self, sequence: int) -> None:
        """Record that the controller has every record up to *sequence*."""
        self.acknowledged = max(self.acknowledged, sequence)
        self.news.set()

    # What the executor says.

    def on_ready(self) -> None:
        """Record that the executor waits at the start gate."""
        self.ready = True
        self.news.set()

    def on_output(self) -> None:
        """Record that the executor has just sent something."""
        self.heard_at = self.context.clock.monotonic()

    # What the agent decides.

    def adopt(self, handle: Handle | None) -> None:
        """Take the run's handle from the runtime; None when the runtime has no such run."""
        name, token = (handle.name, handle.token) if handle else ("", "")
        self.state = replace(self.state, handle_name=name, handle_token=token)

    def admit(self) -> None:
        """Open the gate of the proxy for as long as the lease lives."""
        self._admitted = True
        self.gate.renew(self.fence_at)

    def end(self, cause: Cause) -> None:
        """End the run at once; the first cause counts."""
        if self.cause is None:
            self.cause = cause
            log.warning("run.ended_early", run_id=self.ref.run_id, cause=str(cause))
        self.news.set()

    def change(self, state: RunState) -> None:
        """Set *state* and journal it soon."""
        self.state = state
        self.context.journal.write_later(put_state(state))
        self.context.changed.set()

    async def keep(self, state: RunState) -> None:
        """Set *state* and return once it is on the disk."""
        await self._keep(state, ())

    async def move(self, to: Phase, *bodies: Body) -> None:
        """Move to phase *to* and record *bodies*; return once both are on the disk."""
        await self._keep(self.state.move(to), bodies)

    async def record(self, *bodies: Body) -> None:
        """Record *bodies* under the next numbers; return once they are on the disk."""
        await self._keep(self.state, bodies)

    async def _keep(self, state: RunState, bodies: Sequence[Body]) -> None:
        records: list[Record] = []
        for body in bodies:
            state = _advanced(state, body)
            records.append(
                Record(
                    ref=state.ref,
                    sequence=state.last_sequence,
                    at=self.context.clock.now(),
                    body=body,
                )
            )
        # The numbers are taken before the wait: nobody else can take them.
        self.state = state
        statements: list[Statement] = [put_record(record) for record in records]
        await self.context.journal.write(*statements, put_state(state))
        self.context.record_queue.put(records)
        self.context.changed.set()


def _advanced(state: RunState, body: Body) -> RunState:
    """Return *state* after the record *body*."""
    state = replace(state, last_sequence=state.last_sequence + 1)
    match body:
        case ActionStarted(index=index, kind=kind):
            return replace(state, open_action=(index, kind))
        case ActionDone():
            return replace(state, open_action=None)
        case ActionFailed(index=index, kind=kind):
            return replace(state, open_action=None, failed_action=(index, kind))
        case PhoneReleased(clean=False, reason=reason):
            return replace(state, unclean=reason or "clean_up_failed")
        case PhoneReleased():
            return replace(state, unclean="")
        case _:
            return state
