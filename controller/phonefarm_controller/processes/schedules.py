"""Schedules: operators add, list, pause, resume and delete recurring work."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from phonefarm_common.ids import new_id
from phonefarm_common.reasons import FarmError, FieldProblem, Reason

from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.model.cron import Cron, UnknownZoneError, normal_cron
from phonefarm_controller.model.errors import check_reason, conflict, invalid
from phonefarm_controller.model.hours import LONGEST_ZONE, zone_of
from phonefarm_controller.model.requests import Submission
from phonefarm_controller.model.schedules import (
    LONGEST_JITTER,
    CatchUp,
    Firing,
    Overlap,
    Schedule,
    next_runs,
    request_text,
    with_next,
)
from phonefarm_controller.processes.enqueue import Enqueue
from phonefarm_controller.store import audit, schedules
from phonefarm_controller.store.database import Database, Transaction

MOST_SCHEDULES: Final = 1000
LONGEST_START: Final = timedelta(days=30)
MOST_NEXT: Final = 100
LONGEST_REASON: Final = 500
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class NewSchedule:
    """What an operator asks for, not yet checked."""

    name: str
    expression: str
    zone: str
    jitter: timedelta
    catch_up: CatchUp
    overlap: Overlap
    start_within: timedelta | None
    submission: Submission
    """Of each firing; with its own request id and without a deadline."""
    actor: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class ScheduleDetails:
    """A schedule, its next instants with when each is due, and its firings, the newest first."""

    schedule: Schedule
    next_runs: list[tuple[datetime, datetime]]
    firings: list[Firing]


class Schedules:
    """Keeps the schedules; each change is audited."""

    def __init__(
        self, *, database: Database, enqueue: Enqueue, ids: Callable[[], str] = new_id
    ) -> None:
        self._database = database
        self._enqueue = enqueue
        self._ids = ids

    @uninterrupted
    async def add(self, new: NewSchedule) -> Schedule:
        """Add a schedule, whose instants begin after the present.

        FarmError names each wrong field, those of the request as an enqueue does, and
        `state_conflict:name_taken` or `too_many_schedules`.
        """
        problems = _problems(new)
        async with self._database.writing() as tx:
            tried = replace(new.submission, dry_run=True)
            (answer,) = await self._enqueue.within(tx, [tried])
            if isinstance(answer, FarmError):
                refused = in_request(answer)
                raise invalid(*problems, *refused.problems) if problems else refused
            if isinstance(answer, Exception):
                raise answer
            if problems:
                raise invalid(*problems)
            cron = Cron(expression=normal_cron(new.expression), zone=new.zone)
            if await schedules.count(tx) >= MOST_SCHEDULES:
                message = f"there are {MOST_SCHEDULES} schedules, which is the most: delete some"
                raise conflict("name", "too_many_schedules", message)
            schedule = with_next(
                Schedule(
                    schedule_id=self._ids(),
                    name=new.name,
                    cron=cron,
                    jitter=new.jitter,
                    catch_up=new.catch_up,
                    overlap=new.overlap,
                    start_within=new.start_within,
                    request=request_text(new.submission),
                    paused=False,
                    handled_until=tx.now,
                    next_at=None,
                    due_at=None,
                    last_process_id=None,
                    problem="",
                    created_at=tx.now,
                    created_by=new.actor,
                )
            )
            if not await schedules.insert_if_free(tx, schedule):
                message = (
                    f"the name {new.name} belongs to another schedule: choose another name, or "
                    "delete that schedule"
                )
                raise conflict("name", "name_taken", message)
            await _note(tx, new.actor, "add schedule", new.name, f"{cron}: {new.reason}")
        return schedule

    @uninterrupted
    async def all(self) -> list[Schedule]:
        """Return every schedule, by name."""
        async with self._database.reading() as tx:
            return await schedules.all_of(tx)

    @uninterrupted
    async def show(self, name: str, *, count: int) -> ScheduleDetails:
        """Return a schedule, *count* of its next instants, and its last firings.

        FarmError `unknown_schedule`.
        """
        async with self._database.reading() as tx:
            schedule = await schedules.get(tx, name)
            if schedule is None:
                raise _unknown(name)
            firings = await schedules.firings_of(tx, schedule.schedule_id)
        try:
            upcoming = next_runs(schedule, min(count, MOST_NEXT))
        except UnknownZoneError:
            upcoming = []
        return ScheduleDetails(schedule=schedule, next_runs=upcoming, firings=firings)

    @uninterrupted
    async def pause(self, name: str, *, actor: str, reason: str) -> Schedule:
        """Let nothing fire until the schedule is resumed; its processes go on.

        FarmError `unknown_schedule`. A schedule that is paused stays so.
        """
        check_reason(reason)
        return await self._set_paused(name, paused=True, actor=actor, reason=reason)

    @uninterrupted
    async def resume(self, name: str, *, actor: str, reason: str = "") -> Schedule:
        """Let it fire again, at instants after the present.

        FarmError `unknown_schedule`, or `state_conflict:unknown_zone`.
        """
        return await self._set_paused(name, paused=False, actor=actor, reason=reason)

    async def _set_paused(self, name: str, *, paused: bool, actor: str, reason: str) -> Schedule:
        async with self._database.writing() as tx:
            before = await _locked(tx, name)
            if before.paused == paused:
                return before
            try:
                after = with_next(replace(before, paused=paused, handled_until=tx.now, problem=""))
            except UnknownZoneError as error:
                raise conflict("name", "unknown_zone", str(error)) from error
            await schedules.save(tx, after)
            verb = "pause schedule" if paused else "resume schedule"
            await _note(tx, actor, verb, name, reason)
        return after

    @uninterrupted
    async def delete(self, name: str, *, actor: str, reason: str) -> None:
        """Delete a schedule and its firings; its processes go on. FarmError `unknown_schedule`."""
        check_reason(reason)
        async with self._database.writing() as tx:
            schedule = await _locked(tx, name)
            await schedules.remove(tx, schedule.schedule_id)
            await _note(tx, actor, "delete schedule", name, reason)


def in_request(error: FarmError) -> FarmError:
    """Return the error of an enqueue with its fields as those of a schedule's request."""
    problems = tuple(
        FieldProblem(field=f"request.{problem.field}", message=problem.message)
        for problem in error.problems
    )
    return FarmError(error.reason, error.message, detail=error.detail, problems=problems)


def _problems(new: NewSchedule) -> list[FieldProblem]:
    """Return everything that is wrong besides the request."""
    problems = []
    if not 0 < len(new.reason.strip()) <= LONGEST_REASON:
        text = f"must have 1 to {LONGEST_REASON} characters"
        problems.append(FieldProblem(field="reason", message=text))
    if not _NAME.fullmatch(new.name):
        text = "must have 1 to 64 characters of A-Z, a-z, 0-9, `.`, `_` and `-`, and begin with a "
        problems.append(FieldProblem(field="name", message=f"{text}letter or a digit"))
    try:
        normal_cron(new.expression)
    except ValueError as error:
        problems.append(FieldProblem(field="cron", message=str(error)))
    if zone_of(new.zone) is None:
        text = (
            f"must be the name of a time zone of the IANA database, for example Europe/Berlin or "
            f"UTC, with at most {LONGEST_ZONE} characters"
        )
        problems.append(FieldProblem(field="zone", message=text))
    if not timedelta(0) <= new.jitter <= LONGEST_JITTER:
        most = int(LONGEST_JITTER.total_seconds())
        text = f"must be between 0 and {most} seconds"
        problems.append(FieldProblem(field="jitter_seconds", message=text))
    if new.start_within is not None and not timedelta(0) < new.start_within <= LONGEST_START:
        most = int(LONGEST_START.total_seconds())
        text = f"must be between 1 and {most} seconds"
        problems.append(FieldProblem(field="start_within_seconds", message=text))
    return problems


async def _locked(tx: Transaction, name: str) -> Schedule:
    found = await schedules.get(tx, name)
    locked = None if found is None else await schedules.lock(tx, found.schedule_id)
    if locked is None:
        raise _unknown(name)
    return locked


def _unknown(name: str) -> FarmError:
    problem = FieldProblem(field="name", message="is not the name of a schedule")
    message = f"there is no schedule {name[:64]!r}; `phonefarm schedules list` shows all schedules"
    return FarmError(Reason.UNKNOWN_SCHEDULE, message, detail=name[:64], problems=(problem,))


async def _note(tx: Transaction, actor: str, verb: str, name: str, reason: str) -> None:
    await audit.note(
        tx, audit_id=new_id(), actor=actor, verb=verb, subject=f"schedule {name}", reason=reason
    )
