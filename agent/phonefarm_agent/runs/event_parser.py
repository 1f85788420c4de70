"""Parses the executor's stdout (docs/seams.md): numbered events, or log lines."""

import json
import re
from dataclasses import dataclass
from typing import Any

from phonefarm_common.reasons import FailureClass

from phonefarm_agent.model.records import ActionDone, ActionFailed, ActionStarted, Failure

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_TEXT_LIMIT = 8_000
_OUTPUTS_LIMIT = 256 * 1024
_CLASSES = {"work": FailureClass.WORK, "infra": FailureClass.INFRA, "account": FailureClass.ACCOUNT}


class BadEventError(Exception):
    """A line has a sequence number but is no valid event; the text says why."""


@dataclass(frozen=True, kw_only=True)
class RunFinished:
    """The last event: `outcome` is done, failed, stopped or abandoned."""

    outcome: str
    failure: Failure | None


@dataclass(frozen=True, kw_only=True)
class ExecutorEvent:
    """One numbered event of an executor."""

    sequence: int
    body: ActionStarted | ActionDone | ActionFailed | RunFinished
    evidence: tuple[str, ...] = ()  # the files an action that failed says it sent


def parse_event(line: bytes) -> ExecutorEvent | None:
    """Return the event in *line*, None for a log line; BadEventError for an invalid one."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or "sequence" not in document:
        return None
    sequence = document["sequence"]
    if not _is_count(sequence) or sequence < 1:
        raise BadEventError("sequence is not a whole number above 0")
    try:
        return ExecutorEvent(
            sequence=sequence, body=_body(document), evidence=_names(document.get("evidence"))
        )
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadEventError(f"line {sequence}: {type(error).__name__}: {error}") from error


def _names(value: Any) -> tuple[str, ...]:
    """Return the valid file names in *value*."""
    names = value if isinstance(value, list) else []
    return tuple(n for n in names if isinstance(n, str) and _NAME.fullmatch(n))


def _body(document: dict[str, Any]) -> ActionStarted | ActionDone | ActionFailed | RunFinished:
    match document["type"]:
        case "action_started":
            return ActionStarted(index=_index(document), kind=_text(document["kind"]))
        case "action_done":
            return ActionDone(
                index=_index(document),
                kind=_text(document["kind"]),
                outputs_json=_outputs(document.get("outputs", {})),
                seconds=_seconds(document),
            )
        case "action_failed":
            return ActionFailed(
                index=_index(document),
                kind=_text(document["kind"]),
                failure=_failure(document["failure"]),
                seconds=_seconds(document),
            )
        case "run_finished":
            outcome = document["outcome"]
            if outcome not in {"done", "failed", "stopped", "abandoned"}:
                raise ValueError(f"outcome {outcome!r}")
            failure = document.get("failure")
            return RunFinished(outcome=outcome, failure=_failure(failure) if failure else None)
        case other:
            raise ValueError(f"type {other!r}")


def _failure(document: Any) -> Failure:
    return Failure(
        code=_text(document["code"])[:100],
        message=_text(document["message"]),
        failure_class=_CLASSES[document["class"]],
        final=document.get("final", False) is True,
    )


def _index(document: dict[str, Any]) -> int:
    index = document["index"]
    if not _is_count(index):
        raise ValueError("index is not a whole number")
    return int(index)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _seconds(document: dict[str, Any]) -> float:
    seconds = float(document.get("seconds", 0.0))
    if not 0 <= seconds < 1e9:
        raise ValueError("seconds is out of range")
    return seconds


def _outputs(value: Any) -> str:
    if not isinstance(value, dict):
        raise TypeError("outputs is not an object")
    # ASCII: a lone surrogate inside must not reach protobuf, which refuses it.
    text = json.dumps(value, allow_nan=False)
    if len(text) > _OUTPUTS_LIMIT:
        raise ValueError("outputs are too large")
    return text


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("text expected")
    return value[:_TEXT_LIMIT].encode("utf-8", "replace").decode()
