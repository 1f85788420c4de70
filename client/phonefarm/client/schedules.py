"""Adds, reads, pauses and deletes schedules: work that recurs."""

from phonefarm.client.transport import Transport, given, place
from phonefarm.schemas.farm_requests import Because, PerhapsBecause
from phonefarm.schemas.schedules import (
    AddSchedule,
    CatchUp,
    Overlap,
    Schedule,
    ScheduleDeleted,
    ScheduleDetails,
    ScheduledRequest,
    ScheduleList,
)


class AsyncSchedules:
    """Work that recurs."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def list(self) -> ScheduleList:
        """Return every schedule."""
        return await self._transport.send("GET", "/schedules", ScheduleList)

    async def add(
        self,
        name: str,
        *,
        cron: str,
        zone: str,
        request: ScheduledRequest,
        reason: str,
        jitter_seconds: int = 0,
        catch_up: CatchUp = "once",
        overlap: Overlap = "skip",
        start_within_seconds: int | None = None,
    ) -> Schedule:
        """Let the farm enqueue *request* at each instant of a cron expression (scope operate).

        *cron* has five fields, for example `30 9 * * mon-fri`; *zone* is a time zone of the IANA
        database. *catch_up* says what happens to instants at which no controller could enqueue,
        *overlap* whether a process may begin before the last has ended. InvalidRequestError as for
        an enqueue, ConflictError if another schedule has the name.
        """
        body = AddSchedule(
            name=name,
            cron=cron,
            zone=zone,
            request=request,
            reason=reason,
            jitter_seconds=jitter_seconds,
            catch_up=catch_up,
            overlap=overlap,
            **given(start_within_seconds=start_within_seconds),
        )
        return await self._transport.send("POST", "/schedules", Schedule, body=body)

    async def get(self, name: str, *, next_count: int = 5) -> ScheduleDetails:
        """Return a schedule, its next instants, and what came of the last 100.

        NotFoundError for an unknown schedule.
        """
        query = {"next": next_count}
        return await self._transport.send("GET", _at(name), ScheduleDetails, query=query)

    async def pause(self, name: str, *, reason: str) -> Schedule:
        """Let a schedule enqueue nothing until it is resumed (scope operate)."""
        path, body = f"{_at(name)}/pause", Because(reason=reason)
        return await self._transport.send("POST", path, Schedule, body=body)

    async def resume(self, name: str, *, reason: str = "") -> Schedule:
        """Let a schedule enqueue again, from the next instant on (scope operate)."""
        path, body = f"{_at(name)}/resume", PerhapsBecause(reason=reason)
        return await self._transport.send("POST", path, Schedule, body=body)

    async def delete(self, name: str, *, reason: str) -> ScheduleDeleted:
        """Delete a schedule; its processes continue (scope operate)."""
        path, body = f"{_at(name)}/delete", Because(reason=reason)
        return await self._transport.send("POST", path, ScheduleDeleted, body=body)


def _at(name: str) -> str:
    return place("/schedules/{name}", name=name)
