"""Counts the runs that ended since this controller began, for the metrics."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from phonefarm_common.reasons import FailureCode

from phonefarm_controller.model.items import Item
from phonefarm_controller.store.runs import Run

BUCKETS: Final = (5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
"""Upper bounds of the histogram of durations, in seconds."""
_KNOWN: Final = frozenset(map(str, FailureCode))
OTHER: Final = "other"


@dataclass
class Durations:
    """How long the runs of one capability took, from `go` to their end."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    """The runs within each bound, and last the longer ones; not cumulative."""
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one run."""
        at = next((at for at, bound in enumerate(BUCKETS) if seconds <= bound), len(BUCKETS))
        self.buckets[at] += 1
        self.seconds += seconds


@dataclass
class RunTotals:
    """Runs that have ended, by capability, outcome and failure code; threads may read it."""

    ended: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    durations: dict[str, Durations] = field(default_factory=dict)

    def add(self, item: Item, run: Run) -> None:
        """Count a run that has ended; *item* is its item after that.

        The label of a failure is one of the codes that the farm documents, or `other`.
        """
        code = str(item.failure.code) if item.failure and run.outcome != "done" else ""
        label = code if not code or code in _KNOWN else OTHER
        self.ended[(item.capability, str(run.outcome), label)] += 1
        if run.started_at is not None and run.ended_at is not None:
            seconds = (run.ended_at - run.started_at).total_seconds()
            self.durations.setdefault(item.capability, Durations()).add(max(seconds, 0.0))
