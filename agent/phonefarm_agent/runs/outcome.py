"""Decides how a run ended; pure (the rules are in docs/seams.md)."""

from dataclasses import dataclass

from phonefarm_common.reasons import FailureClass, FailureCode
from phonefarm_common.wire_enums import RunOutcome

from phonefarm_agent.model.records import Failure, RunEnded
from phonefarm_agent.runs.event_parser import RunFinished

_CODES = {"done": 0, "failed": 1, "stopped": 3, "abandoned": 75}


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """The run was ended by a stop order."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Broken:
    """The agent ended the run or could not start it; `failure` says why."""

    failure: Failure


Cause = Stopped | Broken
"""Why the agent ended a run before it ended by itself."""


def broken(code: FailureCode, message: str) -> Broken:
    """Return the cause for *code*; only `run_timeout` is the fault of the work."""
    work = code is FailureCode.RUN_TIMEOUT
    return Broken(
        failure=Failure(
            code=code.value,
            message=message,
            failure_class=FailureClass.WORK if work else FailureClass.INFRA,
        )
    )


def decide_ending(
    *,
    finished: RunFinished | None,
    output_read: bool,
    exit_code: int | None,
    exit_detail: str,
    cause: Cause | None,
    stop_ordered: bool,
    failed_action: tuple[int, str] | None,
) -> RunEnded:
    """Return how a run ended whose container is gone.

    `done` with the matching exit code always counts; after that what the agent did to the run comes
    before what the executor said of it, since the one is the reason of the other. Where the runtime
    did not return the whole output (*output_read*), an ending that is not in it proves no crash.
    """
    index, kind = failed_action or (-1, "")

    def ended(outcome: RunOutcome, failure: Failure | None = None) -> RunEnded:
        failed = outcome is RunOutcome.FAILED
        return RunEnded(
            outcome=outcome,
            failure=failure,
            exit_code=exit_code,
            failed_action_index=index if failed else -1,
            failed_action_kind=kind if failed else "",
        )

    told = finished if finished and _CODES[finished.outcome] == exit_code else None
    if told and told.outcome == "done":
        return ended(RunOutcome.DONE)
    match cause:
        case Broken(failure=failure):
            return ended(RunOutcome.FAILED, failure)
        case Stopped():
            return ended(RunOutcome.STOPPED)
        case None:
            pass
    if told and told.outcome == "failed" and told.failure:
        return ended(RunOutcome.FAILED, told.failure)
    if told and told.outcome == "abandoned":
        message = "the executor lost its connection to the phone and gave up"
        return ended(
            RunOutcome.FAILED,
            told.failure or broken(FailureCode.RUN_ABANDONED, message).failure,
        )
    if told and told.outcome == "stopped" and stop_ordered:
        return ended(RunOutcome.STOPPED)
    if told and told.outcome == "stopped":
        return ended(
            RunOutcome.FAILED,
            broken(
                FailureCode.RUN_CRASHED, "the executor stopped although nobody asked it to"
            ).failure,
        )
    if not finished and not output_read:
        message = "the runtime did not return the run's whole output, so its ending is unknown"
        return ended(RunOutcome.FAILED, broken(FailureCode.RUNTIME_FAILED, message).failure)
    return ended(
        RunOutcome.FAILED,
        broken(FailureCode.RUN_CRASHED, _crash_failure(finished, exit_code, exit_detail)).failure,
    )


def _crash_failure(finished: RunFinished | None, exit_code: int | None, detail: str) -> str:
    code = "an unknown exit code" if exit_code is None else f"code {exit_code}"
    said = (
        f"reported {finished.outcome!r} and exited with {code}"
        if finished
        else f"exited with {code}"
    )
    return (
        f"the executor {said}"
        + ("" if finished else " before it finished")
        + (f": {detail}" if detail else "")
    )
