"""The executor events of a run: numbered JSON lines on stdout (docs/seams.md)."""

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import IO, Any

from phonefarm_executor.failures import FailedError


class Outcome(StrEnum):
    """How a run ended."""

    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    ABANDONED = "abandoned"


EXIT_CODES = {Outcome.DONE: 0, Outcome.FAILED: 1, Outcome.STOPPED: 3, Outcome.ABANDONED: 75}


class Story:
    """Writes each line whole and at once; numbers rise by one from 1."""

    def __init__(self, output: IO[bytes]) -> None:
        self._output = output
        self._sequence = 0

    def started(self, index: int, kind: str) -> int:
        """Tell that an action begins; return the line's number."""
        return self._tell("action_started", index=index, kind=kind)

    def done(self, index: int, kind: str, *, outputs: Mapping[str, Any], seconds: float) -> None:
        """Tell that an action did what it should."""
        self._tell(
            "action_done", index=index, kind=kind, outputs=outputs, seconds=round(seconds, 3)
        )

    def failed(
        self,
        index: int,
        kind: str,
        *,
        failure: FailedError,
        seconds: float,
        evidence: Sequence[str],
    ) -> None:
        """Tell that an action failed, and which evidence was sent."""
        self._tell(
            "action_failed",
            index=index,
            kind=kind,
            seconds=round(seconds, 3),
            failure=failure.as_json(),
            evidence=list(evidence),
        )

    def finished(self, outcome: Outcome, failure: FailedError | None = None) -> int:
        """Tell how the run ended; return the exit code that goes with it."""
        self._tell("run_finished", outcome=outcome, failure=failure.as_json() if failure else None)
        return EXIT_CODES[outcome]

    def log(self, event: str, **values: Any) -> None:
        """Say something that is no part of the story: a line without a number."""
        line = {"event": event, **values}
        self._output.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        self._output.flush()

    def _tell(self, kind_of_line: str, **values: Any) -> int:
        self._sequence += 1
        line = {"sequence": self._sequence, "type": kind_of_line, **values}
        self._output.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        self._output.flush()
        return self._sequence
