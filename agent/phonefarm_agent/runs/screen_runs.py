"""Tells screens about the runs of this host."""

from datetime import datetime

from phonefarm_agent.model.run import LIVE
from phonefarm_agent.phones.proxy.gate import Gate
from phonefarm_agent.runs.run import Run
from phonefarm_agent.runs.supervisor import Supervisor


class ScreenRuns:
    """Reads the table of runs; implements `phones.screen.screens.Runs`."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def gate(self, *, run_id: str, epoch: int, serialno: str) -> Gate | None:
        """Return the gate of this hold of the phone; None when there is no such hold here."""
        for run in self._supervisor.runs():
            if (
                run.ref.run_id == run_id
                and run.ref.epoch == epoch
                and run.is_hold
                and run.state.assignment.serialno == serialno
            ):
                return run.gate
        return None

    def picture(self, serialno: str) -> tuple[bytes, datetime] | None:
        """Return the newest picture that the run on the phone has made, and when."""
        run = self._at_work(serialno)
        return None if run is None else run.picture

    def at_work(self, serialno: str) -> bool:
        """Tell whether a run, and not a person's hold, has the phone."""
        return self._at_work(serialno) is not None

    def _at_work(self, serialno: str) -> Run | None:
        for run in self._supervisor.runs():
            mine = run.state.assignment.serialno == serialno
            if mine and run.state.phase in LIVE and not run.is_hold:
                return run
        return None
