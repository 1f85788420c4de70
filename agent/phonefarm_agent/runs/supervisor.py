"""Supervises all runs of this host: passes messages to them and reads what to send."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import assert_never

import structlog
from phonefarm_common.reasons import FailureCode
from phonefarm_common.wire_enums import RunOutcome

from phonefarm_agent.model import messages
from phonefarm_agent.model.evidence import EvidenceFile
from phonefarm_agent.model.host import HostReport
from phonefarm_agent.model.phone import PhoneReport
from phonefarm_agent.model.records import Body, PhoneReleased, Record, RunEnded, RunRefused
from phonefarm_agent.model.run import (
    LIVE,
    Assignment,
    HeldRun,
    Phase,
    RunRef,
    RunStarted,
    RunState,
    StopOrder,
)
from phonefarm_agent.runs.journal import JournalFailedError
from phonefarm_agent.runs.journal_schema import FORGOTTEN_KEPT, add_run, drop_records, put_record
from phonefarm_agent.runs.lifecycle import lead_run
from phonefarm_agent.runs.outcome import Cause, broken
from phonefarm_agent.runs.run import Run, RunContext

log = structlog.get_logger()


class Supervisor:
    """The table of runs and their tasks; implements `model.messages.Host`."""

    def __init__(
        self,
        *,
        context: RunContext,
        tasks: asyncio.TaskGroup,
        withheld: Callable[[], str],
        condition: Callable[[], HostReport],
        farm: Callable[[str], None],
    ) -> None:
        """Run the runs in *tasks*; *withheld* says why none may begin, empty when they may.

        *farm* is told the farm's id at every Welcome.
        """
        self._farm = farm
        self._context = context
        self._tasks = tasks
        self._withheld = withheld
        self._condition = condition
        self._runs: dict[str, Run] = {}
        self._owners: dict[asyncio.Task[None], Run] = {}
        self._forgotten: dict[str, RunState] = {}
        self._renewed_at = -float("inf")
        self._reconciled = asyncio.Event()
        self._removed: frozenset[str] = frozenset()

    # What is read.

    def phones(self) -> tuple[PhoneReport, ...]:
        """Return the report of every phone."""
        return self._context.phones.reports()

    def condition(self) -> HostReport:
        """Return the host's incidents, recovery steps and why it withholds its phones."""
        return self._condition()

    def is_free(self, serialno: str, adb_serial: str) -> bool:
        """Tell whether it is certain that no run of this host uses the phone.

        A phone that has not said yet who it is goes by its *adb_serial* alone.
        """
        adb_serials = {
            run.state.adb_serial for run in self._runs.values() if run.state.phase in LIVE
        }
        return (
            self._reconciled.is_set()
            and serialno not in self._busy()
            and adb_serial not in adb_serials
        )

    def offered(self) -> tuple[str, ...]:
        """Return the phones that are fit and free, once the earlier runs are reconciled."""
        if self._withheld() or self._context.journal.failing or not self._reconciled.is_set():
            return ()
        busy = self._busy()
        return tuple(s for s in self._context.phones.fit() if s not in busy)

    def held(self) -> tuple[HeldRun, ...]:
        """Return every run not yet forgotten."""
        return tuple(
            HeldRun(
                ref=run.ref,
                going=run.state.went,
                ended=run.state.phase in {Phase.ENDED, Phase.RELEASED},
            )
            for run in self._runs.values()
        )

    def live(self) -> tuple[RunRef, ...]:
        """Return the runs not yet released."""
        return tuple(run.ref for run in self._runs.values() if run.state.phase in LIVE)

    def started(self) -> tuple[RunStarted, ...]:
        """Return the runs that wait at the start gate."""
        now = self._context.clock.monotonic()
        return tuple(
            RunStarted(ref=run.ref, container=run.state.handle_name, asked_at=now)
            for run in self._runs.values()
            if run.state.phase is Phase.READY
            and run.ready
            and not run.verdict_go
            and run.state.stop is None
        )

    def take_records(self, limit: int) -> list[Record]:
        """Return at most *limit* records that were not sent since the last `rewind`."""
        return self._context.record_queue.take(limit)

    def rewind(self) -> None:
        """Mark every unacknowledged record to be sent again."""
        self._context.record_queue.rewind()

    def unacknowledged(self) -> int:
        """Return how many records wait for acknowledgement."""
        return len(self._context.record_queue)

    def renewed_at(self) -> float:
        """Return when the last answered message was sent, -inf before the first."""
        return self._renewed_at

    def evidence(self) -> tuple[EvidenceFile, ...]:
        """Return the stored files that wait for upload."""
        return self._context.spool.waiting()

    def evidence_received(self, file: EvidenceFile, *, missing: str = "") -> None:
        """Remove *file* from the spool; *missing* says why it was never uploaded."""
        self._context.spool.remove(file, missing=missing)

    def runs(self) -> tuple[Run, ...]:
        """Return every run not yet forgotten."""
        return tuple(self._runs.values())

    # What is heard.

    def connected(self, sent_at: float, welcome: messages.Welcome) -> None:
        """Apply the controller's Welcome to the Hello that was sent at *sent_at*."""
        self._farm(welcome.farm_id)
        self._renewed_at = max(self._renewed_at, sent_at)
        for ref in welcome.going_on:
            if run := self._find(ref):
                run.on_continue()
        self._stop_each(welcome.stops)
        self.receive(messages.PhoneNames(phones=welcome.phones))

    def renewed(self, sent_at: float, runs: Sequence[RunRef], lost: Sequence[RunRef]) -> None:
        """Renew the leases of *runs* by the heartbeat sent at *sent_at*; end the *lost* runs."""
        self._renewed_at = max(self._renewed_at, sent_at)
        for ref in set(runs) - set(lost):
            if run := self._find(ref):
                run.on_renewal(sent_at)
        for ref in lost:
            if run := self._find(ref):
                run.end(broken(FailureCode.AGENT_FENCED, "the controller ended the lease"))

    def receive(self, message: messages.ControllerMessage) -> None:
        """Apply a message of the controller; a repetition changes nothing."""
        match message:
            case messages.Assignments(assignments=assignments):
                self._assign_each(assignments)
            case messages.StartVerdicts(go=go, stops=stops):
                for each in go:
                    if run := self._find(each.ref):
                        run.on_go(each.until)
                self._stop_each(order for order in stops if not self._is_outrun(order))
            case messages.RecordAcks(acks=acks):
                self._acknowledge_each(acks)
            case messages.Stops(stops=stops):
                self._stop_each(stops)
            case messages.DesiredState(claimed=claimed, stops=stops):
                # Stops first: an assignment that is also to be stopped must not begin.
                self._stop_each(stops)
                self._assign_each(claimed)
            case messages.PhoneNames(phones=phones):
                for phone in phones:
                    if phone.refused:
                        log.warning(
                            "phone.refused_by_controller",
                            serialno=phone.serialno,
                            reason=phone.refused,
                        )
            case messages.Welcome() | messages.HeartbeatAck() | messages.Superseded():
                pass  # Told by `connected`, `renewed` and the end of the session.
            case _:
                assert_never(message)

    # What the previous process left.

    def restore(self, states: Iterable[RunState]) -> list[Run]:
        """Take back the runs in the journal; `resume` starts each of them."""
        runs: list[Run] = []
        for state in states:
            if state.phase is Phase.FORGOTTEN:
                self._forget(state)
                continue
            now = self._context.clock.monotonic()
            run = Run(state=state, context=self._context, renewed_at=now, adopted=True)
            # The executor may not have been told by the life that heard it.
            known = self._context.record_queue.acknowledged(state.ref.run_id, state.last_sequence)
            run.on_acknowledged(known)
            self._runs[state.ref.run_id] = run
            runs.append(run)
        return runs

    def resume(self, run: Run) -> None:
        """Start the task of a run that was taken back."""
        self._start(run, self._drive(run))

    def unknown_among(self, run_ids: Iterable[str]) -> frozenset[str]:
        """Return those of *run_ids* that belong to no run of this agent."""
        return frozenset(run_ids) - {
            run.ref.run_id for run in self._runs.values() if run.adopted or run.state.phase in LIVE
        }

    def reconciled(self, removed: frozenset[str]) -> None:
        """Record that the unknown runs *removed* are gone, so that new work may begin."""
        self._removed = removed
        self._reconciled.set()
        self._context.changed.set()

    def end_all(self, cause: Cause) -> None:
        """End every run that still has a container."""
        for run in self._runs.values():
            if run.state.phase in LIVE - {Phase.ENDED}:
                run.end(cause)

    async def acknowledged(self, seconds: float) -> None:
        """Wait until the controller has every record, at most *seconds*."""
        if self._owners:
            await asyncio.wait(self._owners, timeout=seconds)

    # How.

    def _find(self, ref: RunRef) -> Run | None:
        run = self._runs.get(ref.run_id)
        return run if run is not None and run.ref == ref else None

    def _is_outrun(self, order: StopOrder) -> bool:
        """Tell whether the order answers a repeated question, after `go` was already given."""
        run = self._find(order.ref)
        return order.reason == FailureCode.DEADLINE_PASSED and run is not None and run.verdict_go

    def _busy(self) -> set[str]:
        return {
            run.state.assignment.serialno for run in self._runs.values() if run.state.phase in LIVE
        }

    def _assign_each(self, assignments: Iterable[Assignment]) -> None:
        for assignment in assignments:
            self._assign(assignment)

    def _assign(self, assignment: Assignment) -> None:
        run_id = assignment.ref.run_id
        if run_id in self._runs or run_id in self._forgotten:
            return  # A repetition.
        if not self._reconciled.is_set():
            return  # It comes again; an earlier run may still be at work on the phone.
        refusal = self._withheld()
        if assignment.serialno in self._busy():
            refusal = "phone_busy"
        state = RunState(assignment=assignment)
        if refusal:
            log.warning("run.refused", run_id=run_id, reason=refusal)
            self._add(state, (RunRefused(reason=refusal), PhoneReleased(clean=True)))
            return
        self._add(state, ())

    def _add(
        self, state: RunState, bodies: tuple[Body, ...], *, after_reconciliation: bool = False
    ) -> None:
        """Add a run and start its task, which writes its journal entry first.

        With *bodies* its whole story is told by them.
        """
        if bodies:
            state = RunState(
                assignment=state.assignment,
                phase=Phase.RELEASED,
                last_sequence=state.last_sequence + len(bodies),
                unclean=state.unclean,
            )
        run = Run(state=state, context=self._context, renewed_at=self._renewed_at)
        self._runs[state.ref.run_id] = run
        self._context.changed.set()
        self._start(run, self._drive_new(run, bodies, after_reconciliation=after_reconciliation))

    def _start(self, run: Run, life: Coroutine[None, None, None]) -> None:
        task = self._tasks.create_task(life, name=f"run-{run.ref.run_id}")
        self._owners[task] = run
        task.add_done_callback(self._owners.pop)

    async def _drive_new(
        self, run: Run, bodies: tuple[Body, ...], *, after_reconciliation: bool
    ) -> None:
        if after_reconciliation:
            # Nobody may hear that it has ended while a container of it may be alive.
            await self._reconciled.wait()
            if run.ref.run_id in self._removed:
                run.state = replace(run.state, unclean="journal_lost")
            if run.state.unclean:
                bodies = (bodies[0], PhoneReleased(clean=False, reason=run.state.unclean))
        first = run.state.last_sequence - len(bodies) + 1
        at = self._context.clock.now()
        records = [
            Record(ref=run.ref, sequence=first + number, at=at, body=body)
            for number, body in enumerate(bodies)
        ]
        try:
            await self._context.journal.try_write(
                add_run(run.state), *(put_record(record) for record in records)
            )
        except JournalFailedError as error:
            # Nothing was promised: the controller sends it again, or takes it back.
            log.warning("run.not_journalled", run_id=run.ref.run_id, error=str(error))
            del self._runs[run.ref.run_id]
            self._context.changed.set()
            return
        self._context.record_queue.put(records)
        self._context.changed.set()
        await self._drive(run)

    async def _drive(self, run: Run) -> None:
        await lead_run(run)
        del self._runs[run.ref.run_id]
        self._forget(run.state)

    def _forget(self, state: RunState) -> None:
        self._forgotten[state.ref.run_id] = state
        while len(self._forgotten) > FORGOTTEN_KEPT:
            del self._forgotten[next(iter(self._forgotten))]

    def _acknowledge_each(self, acks: Iterable[messages.RecordAck]) -> None:
        for ack in acks:
            self._context.record_queue.acknowledge(ack.run_id, ack.epoch, ack.sequence)
            self._context.journal.write_later(drop_records(ack.run_id, ack.epoch, ack.sequence))
            run = self._runs.get(ack.run_id)
            if run is not None and run.ref.epoch == ack.epoch:
                run.on_acknowledged(ack.sequence)

    def _stop_each(self, orders: Iterable[StopOrder]) -> None:
        for order in orders:
            run = self._runs.get(order.ref.run_id)
            if run is None:
                self._answer_unknown(order)
            elif run.ref == order.ref:
                run.on_stop(order)
            else:
                log.warning("stop.mismatch_ignored", run_id=order.ref.run_id, ref=str(order.ref))

    def _answer_unknown(self, order: StopOrder) -> None:
        """Report the end of a run that is unknown here, so that the controller can finish it.

        A phone that was left unclean is reported so again: it has not been cleaned since.
        """
        bodies: tuple[Body, ...] = (
            RunEnded(outcome=RunOutcome.STOPPED),
            PhoneReleased(clean=True, reason="run_unknown"),
        )
        log.warning("stop.unknown_run_answered", run_id=order.ref.run_id)
        known = self._forgotten.pop(order.ref.run_id, None)
        if known is None or known.ref != order.ref:
            # It had none of it, as far as is known here.
            known = RunState(
                assignment=Assignment(
                    ref=order.ref,
                    process_id="",
                    phone_id="",
                    serialno="",
                    account_id="",
                    capability="",
                    plan_json="",
                    cap_seconds=0.0,
                )
            )
        self._add(known, bodies, after_reconciliation=True)
