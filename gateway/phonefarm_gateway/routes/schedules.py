"""Endpoints of schedules: recurring work."""

from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from phonefarm.schemas import examples, schedules
from phonefarm.schemas.farm_requests import Because, PerhapsBecause
from phonefarm.schemas.queries import NoQuery, ScheduleQuery
from phonefarm_common.address_policy import check_url
from phonefarm_common.reasons import FarmError, FieldProblem

from phonefarm_gateway.client import ControllerClient
from phonefarm_gateway.rest.app_keys import POLICY
from phonefarm_gateway.rest.endpoint import Call, Endpoint, NoBody, ResponseSpec, reply
from phonefarm_gateway.routes.processes import REFUSALS, UNKNOWN, inputs_problems

TAG: Final = "Schedules"


async def add_schedule(call: Call[NoQuery, schedules.AddSchedule]) -> web.StreamResponse:
    """Let work recur."""
    callback = call.body.request.callback
    if callback is not None:
        try:
            check_url(callback.url, call.request.app[POLICY])
        except FarmError as error:
            raise FarmError(
                error.reason,
                error.message,
                detail=error.detail,
                problems=_in_request(error.problems),
            ) from error
    return reply(await call.controller.schedules.add(call.key, call.body))


async def request_problems(
    controller: ControllerClient, key: str | None, body: Mapping[str, Any]
) -> tuple[FieldProblem, ...]:
    """Return what is wrong with the inputs of a request whose other fields are wrong."""
    request = body.get("request")
    if not isinstance(request, dict):
        return ()
    return _in_request(await inputs_problems(controller, key, request))


async def list_schedules(call: Call[NoQuery, NoBody]) -> web.StreamResponse:
    """Return every schedule."""
    return reply(await call.controller.schedules.all(call.key))


async def get_schedule(call: Call[ScheduleQuery, NoBody]) -> web.StreamResponse:
    """Return a schedule, what comes next and what has come."""
    client, count = call.controller.schedules, call.query.next_count
    return reply(await client.get(call.key, call.path["schedule"], next_count=count))


async def pause_schedule(call: Call[NoQuery, Because]) -> web.StreamResponse:
    """Let nothing fire."""
    client = call.controller.schedules
    return reply(await client.pause(call.key, call.path["schedule"], call.body.reason))


async def resume_schedule(call: Call[NoQuery, PerhapsBecause]) -> web.StreamResponse:
    """Let it fire again."""
    client = call.controller.schedules
    return reply(await client.resume(call.key, call.path["schedule"], call.body.reason))


async def delete_schedule(call: Call[NoQuery, Because]) -> web.StreamResponse:
    """Delete a schedule."""
    client = call.controller.schedules
    return reply(await client.delete(call.key, call.path["schedule"], call.body.reason))


def _in_request(problems: tuple[FieldProblem, ...]) -> tuple[FieldProblem, ...]:
    return tuple(replace(problem, field=f"request.{problem.field}") for problem in problems)


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/schedules",
        name="listSchedules",
        tag=TAG,
        summary="List the schedules: work that recurs",
        scope="read",
        query=NoQuery,
        body=NoBody,
        answers={
            HTTPStatus.OK: ResponseSpec(about="All schedules.", models=(schedules.ScheduleList,))
        },
        handler=list_schedules,
    ),
    Endpoint(
        method="POST",
        path="/schedules",
        name="addSchedule",
        tag=TAG,
        summary="Add a schedule: at each instant of a cron expression, the farm enqueues a request",
        about="The farm checks `request` in the same way as POST /capability-requests/enqueue "
        "does; each process gets a request id of its own.",
        scope="operate",
        query=NoQuery,
        body=schedules.AddSchedule,
        example=examples.SCHEDULE,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The schedule, and its next instant.", models=(schedules.Schedule,)
            )
        },
        problems={
            HTTPStatus.NOT_FOUND: UNKNOWN,
            HTTPStatus.CONFLICT: (
                "`state_conflict:name_taken`: another schedule has this name, or "
                "`state_conflict:too_many_schedules`: there are 1000 schedules"
            ),
            HTTPStatus.UNPROCESSABLE_ENTITY: REFUSALS,
        },
        further_problems=request_problems,
        handler=add_schedule,
    ),
    Endpoint(
        method="GET",
        path="/schedules/{schedule}",
        name="getSchedule",
        tag=TAG,
        summary="Read a schedule, its next instants and what came of the last ones",
        scope="read",
        query=ScheduleQuery,
        body=NoBody,
        answers={
            HTTPStatus.OK: ResponseSpec(about="The schedule.", models=(schedules.ScheduleDetails,))
        },
        handler=get_schedule,
    ),
    Endpoint(
        method="POST",
        path="/schedules/{schedule}/pause",
        name="pauseSchedule",
        tag=TAG,
        summary="Pause a schedule: nothing is enqueued until it is resumed",
        about="Processes that the schedule has made continue.",
        scope="operate",
        query=NoQuery,
        body=Because,
        example=examples.BECAUSE,
        answers={HTTPStatus.OK: ResponseSpec(about="The schedule.", models=(schedules.Schedule,))},
        handler=pause_schedule,
    ),
    Endpoint(
        method="POST",
        path="/schedules/{schedule}/resume",
        name="resumeSchedule",
        tag=TAG,
        summary="Resume a schedule, from the next instant on",
        about="Instants during the pause are not caught up.",
        scope="operate",
        query=NoQuery,
        body=PerhapsBecause,
        body_optional=True,
        example=examples.BECAUSE,
        answers={HTTPStatus.OK: ResponseSpec(about="The schedule.", models=(schedules.Schedule,))},
        problems={
            HTTPStatus.CONFLICT: (
                "`state_conflict:unknown_zone`: the controller does not know the time zone"
            )
        },
        handler=resume_schedule,
    ),
    Endpoint(
        method="POST",
        path="/schedules/{schedule}/delete",
        name="deleteSchedule",
        tag=TAG,
        summary="Delete a schedule, and the list of what came of its instants",
        about="Processes that the schedule has made continue.",
        scope="operate",
        query=NoQuery,
        body=Because,
        example=examples.BECAUSE,
        answers={
            HTTPStatus.OK: ResponseSpec(
                about="The schedule is gone.", models=(schedules.ScheduleDeleted,)
            )
        },
        handler=delete_schedule,
    ),
)
