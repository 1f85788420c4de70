"""Sends the spans of each process that this controller has ended (docs/adr/0040)."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

import structlog
from phonefarm_common.trace_context import read_traceparent, span_of_process
from phonefarm_common.tracing import Tracer

from phonefarm_controller.alarms import Liveness
from phonefarm_controller.concurrency.loop import logged_errors
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.concurrency.wakeups import WakeUp
from phonefarm_controller.model.errors import DatabaseBusyError
from phonefarm_controller.model.processes import Process
from phonefarm_controller.model.states import PROCESS_TERMINAL
from phonefarm_controller.model.transitions import Transition
from phonefarm_controller.monitoring.process_spans import MOST_ITEMS, EndedProcess, span_of
from phonefarm_controller.store import items, processes, runs, transitions
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.pending_transitions import PendingTransition

POLL_SECONDS: Final = 5.0
MOST_WAITING: Final = 10_000
"""At most this many ended processes wait for their spans; beyond it, the oldest get none."""
MOST_TRANSITIONS: Final = 20_000
"""At most this many timeline entries are read; even a group of 1,000 items has fewer."""
LAST_SECONDS: Final = 3.0
"""A controller that stops continues to make spans for this long."""

log = structlog.get_logger()


class ProcessTraces:
    """Makes spans of the processes that ended here, later and one at a time."""

    def __init__(self, *, database: Database, tracer: Tracer) -> None:
        self._database = database
        self._tracer = tracer
        self._ended: deque[str] = deque(maxlen=MOST_WAITING)
        self._came = WakeUp()

    def hear(self, noted: Iterable[PendingTransition]) -> None:
        """Remember the processes that have just ended."""
        for row in noted:
            moved = row.item_id is None and row.from_state != row.to_state
            if moved and row.to_state in PROCESS_TERMINAL:
                self._ended.append(row.process_id)
                self._came.set()

    async def wait(self) -> None:
        """Wait until there may be something to send."""
        await self._came.wait(within=POLL_SECONDS)

    async def send(self) -> None:
        """Send the spans of everything that has ended; DatabaseBusyError keeps the rest."""
        while self._ended:
            process_id = self._ended.popleft()
            try:
                await self._send(process_id)
            except DatabaseBusyError:
                self._ended.appendleft(process_id)
                raise

    async def send_last(self) -> None:
        """Send what is left for LAST_SECONDS, before the controller closes its database."""
        with logged_errors("process_traces"):
            try:
                async with asyncio.timeout(LAST_SECONDS):
                    await self.send()
            except TimeoutError:
                log.warning("process_traces.stopped", processes=len(self._ended))

    @uninterrupted
    async def _send(self, process_id: str) -> None:
        async with self._database.reading() as tx:
            process = await processes.get(tx, process_id)
            requested_in = None if process is None else read_traceparent(process.traceparent)
            if process is None or requested_in is None or not requested_in.sampled:
                return
            ended = await _read(tx, process)
        self._tracer.send(
            span_of(ended),
            parent=requested_in,
            as_span=span_of_process(process_id, requested_in),
        )


async def _read(tx: Transaction, process: Process) -> EndedProcess:
    timeline = await transitions.following(tx, process.process_id, after=0, limit=MOST_TRANSITIONS)
    chosen = _first_items(timeline)
    attempts = await runs.of_items(tx, chosen)
    return EndedProcess(
        process=process,
        timeline=timeline,
        items=await items.get(tx, chosen),
        runs={(run.item_id, run.attempt): run for run in attempts},
        actions=await runs.ended_actions_of(tx, [run.run_id for run in attempts]),
    )


def _first_items(timeline: Sequence[Transition]) -> list[str]:
    found = dict.fromkeys(move.item_id for move in timeline if move.item_id is not None)
    return list(found)[:MOST_ITEMS]


async def run_process_traces(liveness: Liveness, *, traces: ProcessTraces) -> None:
    """Send the spans of ended processes until cancelled."""
    while True:
        liveness.beat()
        await traces.wait()
        with logged_errors("process_traces"):
            await traces.send()
