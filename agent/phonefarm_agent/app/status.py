"""The status of the agent, for systemd and for Prometheus."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass

from phonefarm_common.clock import Clock
from phonefarm_common.wire_enums import Readiness

from phonefarm_agent.judge.judge import Judge
from phonefarm_agent.judge.verdict import Decision, JudgedBy
from phonefarm_agent.model.host import IncidentKind, Incidents
from phonefarm_agent.model.phone import PhoneReport
from phonefarm_agent.model.run import Phase
from phonefarm_agent.phones.interface import Phones
from phonefarm_agent.rpc.connection import ControllerConnection
from phonefarm_agent.runs.journal import Journal, JournalFailedError
from phonefarm_agent.runs.journal_schema import Statement
from phonefarm_agent.runs.supervisor import Supervisor

EVIDENCE_BEHIND = 500
"""From this many waiting files on, the status reports that uploads are slower than the runs."""
_NO_CHANGE = Statement(sql="SELECT 1", values=())


@dataclass(frozen=True, kw_only=True)
class AgentMetrics:
    """The agent's metrics at one moment."""

    runs: Mapping[Phase, int]
    phones: Mapping[Readiness, int]
    offered: int
    connected: bool
    withheld: bool
    needing_hands: int  # phones that wait for a person
    incidents: Mapping[IncidentKind, bool]  # whether one of the kind lasts
    recovery: Mapping[str, int]  # steps taken for phones that could not work
    heartbeat_age: float  # seconds since the last message was sent that the controller answered
    journal_writes: int  # waiting for the disk
    journal_failing: bool
    records: int  # not acknowledged yet
    evidence_files: int  # not uploaded yet
    evidence_bytes: int
    adb_restarts: int
    judged: Mapping[tuple[JudgedBy, Decision], int]  # videos, by whom and how
    judge_failures: int  # calls of the model that brought no verdict


class AgentStatus:
    """Answers questions about the agent; to be used only in the agent's event loop."""

    def __init__(
        self,
        *,
        connection: ControllerConnection,
        supervisor: Supervisor,
        phones: Phones,
        journal: Journal,
        clock: Clock,
        withheld: Callable[[], str],
        incidents: Incidents,
        judge: Judge,
    ) -> None:
        self._connection = connection
        self._supervisor = supervisor
        self._phones = phones
        self._journal = journal
        self._clock = clock
        self._withheld = withheld
        self._incidents = incidents
        self._judge = judge

    @property
    def controller_tried(self) -> asyncio.Event:
        """Set once the first try to reach a controller has succeeded or failed."""
        return self._connection.controller_tried

    async def check_liveness(self) -> None:
        """Return once the event loop and the journal have both done a round of work.

        A journal whose disk refuses has taken its turn: the agent knows and says so, and a new
        start would mend nothing.
        """
        try:
            await self._journal.try_write(_NO_CHANGE)
        except JournalFailedError:
            return

    def summary(self) -> str:
        """Return the status line: phones, runs, controller and problems."""
        seen, fit = self._phones.reports(), len(self._phones.fit())
        runs = len(self._supervisor.live())
        parts = [
            f"{len(seen)} phone{'s' * (len(seen) != 1)} ({fit} fit{_waiting(seen)})",
            f"{runs} run{'s' * (runs != 1)}{self._evidence_behind()}",
            f"controller {self._connection.target} {self._connection.problem or 'connected'}",
        ]
        parts += [problem for problem in (self._withheld(), self._journal.failing) if problem]
        return "; ".join(parts)

    def _evidence_behind(self) -> str:
        waiting = len(self._supervisor.evidence())
        return f", {waiting} evidence files wait" if waiting >= EVIDENCE_BEHIND else ""

    def metrics(self) -> AgentMetrics:
        """Return the agent's metrics as they are now."""
        runs = Counter(run.state.phase for run in self._supervisor.runs())
        seen = self._phones.reports()
        phones = Counter(report.readiness for report in seen)
        evidence = self._supervisor.evidence()
        return AgentMetrics(
            runs={phase: runs[phase] for phase in Phase if phase is not Phase.FORGOTTEN},
            phones={readiness: phones[readiness] for readiness in Readiness},
            offered=len(self._supervisor.offered()),
            connected=not self._connection.problem,
            withheld=bool(self._withheld()),
            needing_hands=_needing_hands(seen),
            incidents={kind: self._incidents.lasting(kind) is not None for kind in IncidentKind},
            recovery=self._phones.recovery_counts,
            heartbeat_age=self._clock.monotonic() - self._supervisor.renewed_at(),
            journal_writes=self._journal.depth,
            journal_failing=bool(self._journal.failing),
            records=self._supervisor.unacknowledged(),
            evidence_files=len(evidence),
            evidence_bytes=sum(file.size for file in evidence),
            adb_restarts=self._phones.adb_restarts,
            judged=self._judge.counts,
            judge_failures=self._judge.model_failures,
        )

    @property
    def stopping(self) -> bool:
        """Tell whether the agent is stopping."""
        return self._withheld() == STOPPING


def _needing_hands(seen: Sequence[PhoneReport]) -> int:
    return sum(bool(report.needs_hands) for report in seen)


def _waiting(seen: Sequence[PhoneReport]) -> str:
    count = _needing_hands(seen)
    return f", {count} need{'s' * (count == 1)} hands" if count else ""


STOPPING = "agent_stopping"
"""The reason for offering no phone while the agent stops."""

StatusReporter = Callable[[AgentStatus], AbstractAsyncContextManager[None]]
"""Reports the agent's status while the block lasts."""


def no_reporter(status: AgentStatus) -> AbstractAsyncContextManager[None]:
    """Report the status to nobody."""
    return nullcontext()
