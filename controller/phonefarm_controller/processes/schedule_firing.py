"""The firing of schedules: at each instant one process, or a firing that says why there is none."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import structlog
from phonefarm_common.reasons import FarmError, Reason

from phonefarm_controller.alarms import DiskAlarm, Liveness
from phonefarm_controller.concurrency.loop import every
from phonefarm_controller.concurrency.uninterrupted import uninterrupted
from phonefarm_controller.model.cron import UnknownZoneError
from phonefarm_controller.model.errors import DatabaseBusyError, OwnerLostError
from phonefarm_controller.model.requests import Submission
from phonefarm_controller.model.schedules import (
    Firing,
    FiringOutcome,
    Overlap,
    Schedule,
    due_firings,
    submission_of,
    with_next,
)
from phonefarm_controller.model.states import PROCESS_TERMINAL
from phonefarm_controller.processes.enqueue import Enqueue
from phonefarm_controller.store import processes, schedules
from phonefarm_controller.store.database import Database, Transaction
from phonefarm_controller.store.loop_leases import Tenure, owning

log = structlog.get_logger()

PERIOD_SECONDS: Final = 1.0
BATCH: Final = 100
TRY_AGAIN: Final = timedelta(seconds=60)
"""When a schedule that cannot fire at present is looked at again."""


class ScheduleFiring:
    """Fires what is due; each schedule in a transaction of its own."""

    def __init__(self, *, database: Database, enqueue: Enqueue, disk_alarm: DiskAlarm) -> None:
        self._database = database
        self._enqueue = enqueue
        self._disk_alarm = disk_alarm

    async def __call__(self, *, tenure: Tenure | None = None) -> list[Firing]:
        """Handle the instants that are due by the database's clock; return what came of them.

        A schedule that cannot fire keeps back only itself. While the farm takes no new work for
        want of disk space, nothing is handled.
        """
        if self._disk_alarm.shortage:
            return []
        firings = []
        for schedule_id in await self._due():
            firings += await self._fire_apart(schedule_id, tenure)
        return firings

    @uninterrupted
    async def renew_due_times(self, *, tenure: Tenure | None = None) -> None:
        """Compute again when each schedule is due: the zones may have new rules since."""
        async with self._database.reading() as tx:
            known = await schedules.all_of(tx)
            changed = [one for one in known if _renewed(one, tx.now) != one]
        for one in changed:
            async with owning(self._database, tenure) as tx:
                before = await schedules.lock(tx, one.schedule_id)
                if before is not None:
                    await schedules.save(tx, _renewed(before, tx.now))

    @uninterrupted
    async def _due(self) -> list[str]:
        async with self._database.reading() as tx:
            return await schedules.due(tx, limit=BATCH)

    async def _fire_apart(self, schedule_id: str, tenure: Tenure | None) -> list[Firing]:
        try:
            return await self._fire(schedule_id, tenure)
        except (DatabaseBusyError, OwnerLostError):
            raise
        except Exception as error:
            log.exception("schedule.not_fired", schedule_id=schedule_id)
            await self._postpone(schedule_id, tenure, problem=_problem_of(error))
            return []

    @uninterrupted
    async def _fire(self, schedule_id: str, tenure: Tenure | None) -> list[Firing]:
        async with owning(self._database, tenure) as tx:
            schedule = await schedules.lock(tx, schedule_id)
            due = None if schedule is None else due_firings(schedule, tx.now)
            if schedule is None or due is None:
                return []
            firings = [
                Firing(instant=instant, at=tx.now, outcome=FiringOutcome.MISSED)
                for instant in due.missed
            ]
            last_process_id, made = schedule.last_process_id, []
            for instant in due.fire:
                submission = _submission(schedule, instant, tx.now)
                firing = await self._fire_one(tx, schedule, submission, instant, last_process_id)
                firings.append(firing)
                if firing.process_id is not None:
                    last_process_id = firing.process_id
                    made.append(submission)
            await schedules.keep_firings(tx, schedule_id, firings)
            after = replace(
                schedule,
                handled_until=due.handled_until,
                last_process_id=last_process_id,
                problem="",
            )
            await schedules.save(tx, with_next(after))
        if made:
            self._enqueue.announce(made)
        for firing in firings:
            log.info(
                "schedule.fired",
                schedule=schedule.name,
                instant=firing.instant.isoformat(),
                outcome=str(firing.outcome),
                process_id=firing.process_id,
                reason=firing.reason,
            )
        return firings

    async def _fire_one(
        self,
        tx: Transaction,
        schedule: Schedule,
        submission: Submission,
        instant: datetime,
        last_process_id: str | None,
    ) -> Firing:
        if schedule.overlap is Overlap.SKIP and await _is_unfinished(tx, last_process_id):
            return Firing(
                instant=instant,
                at=tx.now,
                outcome=FiringOutcome.OVERLAPPED,
                message=f"process {last_process_id} has not ended",
            )
        (answer,) = await self._enqueue.within(tx, [submission])
        if isinstance(answer, FarmError) and answer.reason is not Reason.STORAGE_FULL:
            return Firing(
                instant=instant,
                at=tx.now,
                outcome=FiringOutcome.REFUSED,
                reason=answer.text,
                message=answer.message,
            )
        if isinstance(answer, Exception):
            raise answer
        return Firing(
            instant=instant,
            at=tx.now,
            outcome=FiringOutcome.ENQUEUED,
            process_id=answer.process_id,
        )

    @uninterrupted
    async def _postpone(self, schedule_id: str, tenure: Tenure | None, *, problem: str) -> None:
        async with owning(self._database, tenure) as tx:
            schedule = await schedules.lock(tx, schedule_id)
            if schedule is not None and not schedule.paused:
                await schedules.save(tx, _postponed(schedule, tx.now, problem))


async def run_schedules(
    liveness: Liveness, tenure: Tenure | None, *, firing: ScheduleFiring
) -> None:
    """Fire what is due, until cancelled; it writes under *tenure*."""
    renewed = False

    async def look() -> None:
        nonlocal renewed
        if not renewed:
            await firing.renew_due_times(tenure=tenure)
            renewed = True
        await firing(tenure=tenure)

    await every(PERIOD_SECONDS, "schedules", look, liveness=liveness)


def _submission(schedule: Schedule, instant: datetime, now: datetime) -> Submission:
    within = schedule.start_within
    return submission_of(schedule, instant, deadline=None if within is None else now + within)


async def _is_unfinished(tx: Transaction, process_id: str | None) -> bool:
    process = None if process_id is None else await processes.get(tx, process_id)
    return process is not None and process.state not in PROCESS_TERMINAL


def _renewed(schedule: Schedule, now: datetime) -> Schedule:
    try:
        return replace(with_next(schedule), problem="")
    except UnknownZoneError as error:
        return _postponed(schedule, now, _problem_of(error))


def _postponed(schedule: Schedule, now: datetime, problem: str) -> Schedule:
    return replace(schedule, due_at=now + TRY_AGAIN, problem=problem)


def _problem_of(error: Exception) -> str:
    if isinstance(error, UnknownZoneError):
        return (
            f"the controller does not know the time zone {error}: update the time zones of its host"
        )
    if isinstance(error, FarmError):
        return error.message
    return f"the controller could not fire it ({type(error).__name__}): see the controller's log"
