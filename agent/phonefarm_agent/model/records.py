"""The numbered records of a run, and their text in the journal."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime

from phonefarm_common.reasons import FailureClass
from phonefarm_common.wire_enums import RunOutcome

from phonefarm_agent.model.run import RunRef


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a run or an action failed."""

    code: str
    message: str
    failure_class: FailureClass
    final: bool = False


@dataclass(frozen=True, kw_only=True)
class ActionStarted:
    """An action begins."""

    index: int
    kind: str


@dataclass(frozen=True, kw_only=True)
class ActionDone:
    """An action succeeded; `outputs_json` is a JSON object."""

    index: int
    kind: str
    outputs_json: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ActionFailed:
    """An action failed."""

    index: int
    kind: str
    failure: Failure
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RunEnded:
    """The run container is gone; the last record about the item."""

    outcome: RunOutcome
    failure: Failure | None = None
    exit_code: int | None = None
    failed_action_index: int = -1
    failed_action_kind: str = ""


@dataclass(frozen=True, kw_only=True)
class RunRefused:
    """The run was refused before it started; nobody is charged."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class PhoneReleased:
    """Clean-up is over; the last record about the phone."""

    clean: bool
    reason: str = ""
    residue: tuple[str, ...] = ()


Body = ActionStarted | ActionDone | ActionFailed | RunEnded | RunRefused | PhoneReleased

_KINDS: dict[str, type[Body]] = {
    kind.__name__: kind
    for kind in (ActionStarted, ActionDone, ActionFailed, RunEnded, RunRefused, PhoneReleased)
}


@dataclass(frozen=True, kw_only=True)
class Record:
    """One numbered record of a run; the numbers are 1, 2, 3 ... without gaps."""

    ref: RunRef
    sequence: int
    at: datetime
    body: Body


def encode_body(body: Body) -> str:
    """Return the journal's text for *body*."""
    return json.dumps({"kind": type(body).__name__, "body": asdict(body)})


def decode_body(text: str) -> Body:
    """Return the body that `encode_body` turned into *text*."""
    document = json.loads(text)
    fields = document["body"]
    if fields.get("failure") is not None:
        failure = fields["failure"]
        fields["failure"] = Failure(
            code=failure["code"],
            message=failure["message"],
            failure_class=FailureClass(failure["failure_class"]),
            final=failure["final"],
        )
    if "outcome" in fields:
        fields["outcome"] = RunOutcome(fields["outcome"])
    if "residue" in fields:
        fields["residue"] = tuple(fields["residue"])
    body: Body = _KINDS[document["kind"]](**fields)
    return body
