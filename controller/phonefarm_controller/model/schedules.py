"""Schedules: work that recurs, and which of its instants fire.

An instant is one that the cron expression has. It is due after its jitter, and missed if it is
handled later than a minute after that.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Final, assert_never

from phonefarm_controller.model.cron import Cron, instants_after, next_after
from phonefarm_controller.model.requests import Mode, Routing, Submission, Target

GRACE: Final = timedelta(seconds=60)
"""An instant that is handled later than this after it was due was missed."""
MOST_CAUGHT_UP: Final = 100
"""At most so many missed instants fire, the newest."""
LONGEST_JITTER: Final = timedelta(days=1)
_FIRST_LOOK: Final = timedelta(hours=1)
_OF_EACH_FIRING: Final = frozenset(
    {"request_id", "inputs", "digest", "not_before", "deadline", "dry_run", "caller", "traceparent"}
)


class CatchUp(StrEnum):
    """What happens to missed instants: none fires, the newest, or each of them."""

    SKIP = "skip"
    ONCE = "once"
    ALL = "all"


class Overlap(StrEnum):
    """What happens at an instant at which the last process of the schedule has not ended."""

    SKIP = "skip"
    ALLOW = "allow"


class FiringOutcome(StrEnum):
    """What came of an instant."""

    ENQUEUED = "enqueued"
    MISSED = "missed"
    OVERLAPPED = "overlapped"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Recurring work. All instants up to `handled_until` have fired or were left out.

    `next_at` is the next instant and `due_at` when it is looked at; None while the schedule is
    paused, and when no instant follows.
    """

    schedule_id: str
    name: str
    cron: Cron
    jitter: timedelta
    catch_up: CatchUp
    overlap: Overlap
    start_within: timedelta | None
    """So long after it was fired the first action of a process may still begin."""
    request: str
    """A Submission, by `request_text`."""
    paused: bool
    handled_until: datetime
    next_at: datetime | None
    due_at: datetime | None
    last_process_id: str | None
    problem: str
    """Why the schedule cannot fire at present; empty if it can."""
    created_at: datetime
    created_by: str
    """The name of a key; processes name it as their caller."""


@dataclass(frozen=True, kw_only=True)
class Firing:
    """What came of one instant of a schedule: a process, or why there is none."""

    instant: datetime
    at: datetime
    outcome: FiringOutcome
    process_id: str | None = None
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class DueFirings:
    """The instants that are handled now, in order: those that fire, and the newest missed ones."""

    fire: tuple[datetime, ...]
    missed: tuple[datetime, ...]
    handled_until: datetime


def due_time(schedule: Schedule, instant: datetime) -> datetime:
    """Return the instant with its jitter: whole seconds, and always the same."""
    most = int(schedule.jitter.total_seconds())
    text = f"{schedule.schedule_id} {instant.timestamp():.0f}"
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
    return instant + timedelta(seconds=number % (most + 1))


def with_next(schedule: Schedule) -> Schedule:
    """Return the schedule with what follows from the rest of it; raises UnknownZoneError."""
    upcoming = None if schedule.paused else next_after(schedule.cron, schedule.handled_until)
    due_at = None if upcoming is None else due_time(schedule, upcoming)
    return replace(schedule, next_at=upcoming, due_at=due_at)


def next_runs(schedule: Schedule, count: int) -> list[tuple[datetime, datetime]]:
    """Return the next instants, each with when it is due; none for a paused schedule."""
    if schedule.paused:
        return []
    found = islice(instants_after(schedule.cron, schedule.handled_until), count)
    return [(instant, due_time(schedule, instant)) for instant in found]


def due_firings(schedule: Schedule, now: datetime) -> DueFirings | None:
    """Return what is to be done with the instants that are due; None if none is.

    Instants are handled in their order: one waits for the jitter of the one before it. Of more
    than MOST_CAUGHT_UP old ones the oldest are left out without being named. UnknownZoneError.
    """
    if schedule.paused:
        return None
    late: list[datetime] = []
    on_time: list[datetime] = []
    handled_until = schedule.handled_until
    due_at = handled_until
    for instant in instants_after(schedule.cron, _look_from(schedule, now)):
        due_at = max(due_at, due_time(schedule, instant))
        if due_at > now:
            break
        (late if now - due_at > GRACE else on_time).append(instant)
        handled_until = instant
    if not late and not on_time:
        return None
    late = late[-MOST_CAUGHT_UP:]
    match schedule.catch_up:
        case CatchUp.ALL:
            caught_up = len(late)
        case CatchUp.ONCE:
            caught_up = 0 if on_time else 1
        case CatchUp.SKIP:
            caught_up = 0
        case _:
            assert_never(schedule.catch_up)
    kept = len(late) - caught_up
    return DueFirings(
        fire=(*late[kept:], *on_time), missed=tuple(late[:kept]), handled_until=handled_until
    )


def _look_from(schedule: Schedule, now: datetime) -> datetime:
    """Return a time after which all instants lie that can fire, and at least the newest old ones.

    After a long absence they are few, where all of them since then could be many.
    """
    last = now - schedule.jitter - GRACE
    span = _FIRST_LOOK
    while (start := last - span) > schedule.handled_until:
        if len(list(islice(_until(schedule.cron, start, last), MOST_CAUGHT_UP))) == MOST_CAUGHT_UP:
            return start
        span *= 4
    return schedule.handled_until


def _until(cron: Cron, start: datetime, end: datetime) -> Iterator[datetime]:
    for instant in instants_after(cron, start):
        if instant > end:
            return
        yield instant


def request_text(submission: Submission) -> str:
    """Return what every firing of the submission has in common, as JSON; `submission_of` reads."""
    values = asdict(submission)
    return json.dumps({name: values[name] for name in values if name not in _OF_EACH_FIRING})


def submission_of(
    schedule: Schedule, instant: datetime, *, deadline: datetime | None = None
) -> Submission:
    """Return the submission of one firing; equal instants have equal request ids."""
    values = json.loads(schedule.request)
    # Of a field that a newer controller has stored, this one knows nothing.
    known = {field.name for field in fields(Submission)}
    values = {name: value for name, value in values.items() if name in known}
    target = values.pop("target")
    for ids in ("phone_ids", "account_ids"):
        target[ids] = tuple(target[ids])
    target["routing"] = Routing(target["routing"])
    values["mode"] = Mode(values["mode"])
    return Submission(
        **values,
        target=Target(**target),
        request_id=f"schedule:{schedule.schedule_id}:{instant:%Y-%m-%dT%H:%M:%SZ}",
        inputs=json.loads(values["inputs_json"]),
        digest=hashlib.sha256(schedule.request.encode()).hexdigest(),
        deadline=deadline,
        caller=schedule.created_by,
    )
