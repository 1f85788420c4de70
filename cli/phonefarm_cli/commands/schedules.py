"""`phonefarm schedules`: list, add, show, next, pause, resume, delete."""

import argparse
import re
from collections.abc import Sequence
from typing import Final

from phonefarm.v1 import schedule_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.commands.submit import add_work, work_request
from phonefarm_cli.console.connect import Subparsers, add_reason, add_verb, add_verbs
from phonefarm_cli.console.json_output import message_dict, print_json, print_result
from phonefarm_cli.console.list_verbs import Listing, add_list
from phonefarm_cli.console.tables import Cell, print_table
from phonefarm_cli.console.times import time_text
from phonefarm_cli.terminal import echo

_COLUMNS: Final = ("SCHEDULE", "NEXT", "CRON", "ZONE", "WORK", "LAST PROCESS", "PROBLEM")
_OPTIONAL: Final = ("LAST PROCESS", "ZONE", "PROBLEM")
_FIRINGS: Final = ("INSTANT", "OUTCOME", "PROCESS", "WHY")
_RUNS: Final = ("INSTANT", "ENQUEUED AT")
_CATCH_UPS: Final = {
    "skip": schedule_pb2.CATCH_UP_SKIP,
    "once": schedule_pb2.CATCH_UP_ONCE,
    "all": schedule_pb2.CATCH_UP_ALL,
}
_OVERLAPS: Final = {"skip": schedule_pb2.OVERLAP_SKIP, "allow": schedule_pb2.OVERLAP_ALLOW}
_OUTCOMES: Final = {
    schedule_pb2.FIRING_OUTCOME_ENQUEUED: "enqueued",
    schedule_pb2.FIRING_OUTCOME_MISSED: "missed",
    schedule_pb2.FIRING_OUTCOME_OVERLAPPED: "overlapped",
    schedule_pb2.FIRING_OUTCOME_REFUSED: "refused",
}
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}
_NOTES: Final = """\
At each instant of the cron expression, the farm enqueues the work, as the verb `submit` does. The
expression has five fields: minute, hour, day of the month, month and day of the week. A time in the
hour that summer time skips comes right after this hour; a time in the hour that comes twice comes
once, unless the minute or the hour begins with `*`. The farm checks the work when you add the
schedule. To change a schedule, delete it and add it again.

examples:
  phonefarm schedules add morning keyword_warmup --input keywords="tiny houses" --group launch \\
      --cron "30 9 * * mon-fri" --zone Europe/Berlin --jitter 10m --reason "daily warm-up"
  phonefarm schedules add screens take_screenshot --phone SIM0001 --cron "0 */4 * * *" --zone UTC \\
      --catch-up skip --reason "a picture every four hours"
"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm schedules` and its verbs."""
    verbs = add_verbs(commands, "schedules", "list, add and pause work that recurs")
    add_list(verbs, "list", "list all schedules, and when each is next", _list)
    _add_add(verbs)
    show = add_verb(
        verbs, "show", "show a schedule, its next instants, and what came of the last 100", _show
    )
    _add_name(show)
    upcoming = add_verb(verbs, "next", "list the next instants of a schedule", _next)
    _add_name(upcoming)
    upcoming.add_argument(
        "--count",
        type=int,
        default=5,
        metavar="N",
        help="list N instants, at most 100 (%(default)s)",
    )
    pause = add_verb(
        verbs, "pause", "enqueue nothing until the schedule is resumed; processes continue", _pause
    )
    resume = add_verb(
        verbs,
        "resume",
        "enqueue again, from the next instant on; what the pause skipped is not caught up",
        _resume,
    )
    delete = add_verb(verbs, "delete", "delete a schedule; its processes continue", _delete)
    for parser in (pause, resume, delete):
        _add_name(parser)
        add_reason(parser, required=parser is not resume)


def _add_add(verbs: Subparsers) -> None:
    parser = add_verb(verbs, "add", "let work recur", _add, notes=_NOTES)
    parser.add_argument(
        "name", metavar="NAME", help="1 to 64 characters: letters, digits, `.`, `_` and `-`"
    )
    add_work(parser)
    parser.add_argument(
        "--cron",
        required=True,
        metavar="EXPRESSION",
        help='five fields in quotes, e.g. "30 9 * * mon-fri"',
    )
    parser.add_argument(
        "--zone",
        required=True,
        metavar="ZONE",
        help="a time zone of the IANA database, e.g. Europe/Berlin or UTC",
    )
    parser.add_argument(
        "--jitter",
        type=_seconds,
        default=0,
        metavar="DURATION",
        help="enqueue with a delay of up to DURATION after the instant, e.g. 10m; the delay of an "
        "instant is always the same",
    )
    parser.add_argument(
        "--catch-up",
        choices=list(_CATCH_UPS),
        default="once",
        help="which missed instants to enqueue later: none (skip), the newest (once) or the newest "
        "100 (all); a missed instant is one at which no controller could enqueue (%(default)s)",
    )
    parser.add_argument(
        "--overlap",
        choices=list(_OVERLAPS),
        default="skip",
        help="whether to enqueue while the schedule's last process has not ended (%(default)s)",
    )
    parser.add_argument(
        "--start-within",
        type=_seconds,
        metavar="DURATION",
        help="the first action must begin within DURATION after the work was enqueued, e.g. 2h",
    )
    add_reason(parser)


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="see `phonefarm schedules list`")


def _seconds(text: str) -> int:
    found = re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 30s, 10m, 2h or 1d")
    return int(found[1]) * _UNITS[found[2]]


async def _list(options: argparse.Namespace, controller: ControllerClient) -> Listing:
    request = schedule_pb2.ListSchedulesRequest()
    answer = await controller.call(controller.schedules.ListSchedules, request)
    return Listing(
        columns=_COLUMNS,
        rows=[
            [
                one.name,
                _next_text(one),
                one.cron,
                one.zone,
                one.request.capability,
                one.last_process_id,
                one.problem,
            ]
            for one in answer.schedules
        ],
        records=[message_dict(one) for one in answer.schedules],
        empty="no schedules",
        optional=_OPTIONAL,
    )


def _next_text(schedule: schedule_pb2.Schedule) -> Cell:
    if schedule.paused:
        return "paused"
    return schedule.due_at if schedule.HasField("due_at") else "never"


async def _add(options: argparse.Namespace, controller: ControllerClient) -> None:
    request = schedule_pb2.AddScheduleRequest(
        name=options.name,
        cron=options.cron,
        zone=options.zone,
        jitter_seconds=options.jitter,
        catch_up=_CATCH_UPS[options.catch_up],
        overlap=_OVERLAPS[options.overlap],
        start_within_seconds=options.start_within,
        request=await work_request(options, controller),
        reason=options.reason,
    )
    added = await controller.call(controller.schedules.AddSchedule, request)
    print_result(options, added, _line(added))


def _line(schedule: schedule_pb2.Schedule) -> str:
    state = "paused" if schedule.paused else f"next at {time_text(schedule.due_at)}"
    work = schedule.request.capability
    return f"{schedule.name}: {work}, {schedule.cron} {schedule.zone}; {state}"


async def _details(
    options: argparse.Namespace, controller: ControllerClient, count: int
) -> schedule_pb2.ScheduleDetails:
    request = schedule_pb2.GetScheduleRequest(name=options.name, next_count=count)
    return await controller.call(controller.schedules.GetSchedule, request)


async def _show(options: argparse.Namespace, controller: ControllerClient) -> None:
    details = await _details(options, controller, 5)
    if options.json:
        print_json(message_dict(details))
        return
    schedule = details.schedule
    echo(_line(schedule))
    catch_up = next(word for word, number in _CATCH_UPS.items() if number == schedule.catch_up)
    overlap = next(word for word, number in _OVERLAPS.items() if number == schedule.overlap)
    within = (
        f", start within {schedule.start_within_seconds} s"
        if schedule.HasField("start_within_seconds")
        else ""
    )
    echo(
        f"jitter {schedule.jitter_seconds} s, catch-up {catch_up}, overlap {overlap}{within}; "
        f"added by {schedule.created_by}"
    )
    echo(f"inputs: {schedule.request.inputs_json}")
    if schedule.problem:
        echo(f"problem: {schedule.problem}")
    _print_runs(details.next_runs)
    rows: list[list[Cell]] = [
        [
            firing.instant,
            _OUTCOMES.get(firing.outcome, str(firing.outcome)),
            firing.process_id,
            firing.message,
        ]
        for firing in details.firings
    ]
    print_table(_FIRINGS, rows, empty="nothing has come of it yet")


async def _next(options: argparse.Namespace, controller: ControllerClient) -> None:
    details = await _details(options, controller, options.count)
    if options.json:
        print_json([message_dict(run) for run in details.next_runs])
        return
    _print_runs(details.next_runs)


def _print_runs(runs: Sequence[schedule_pb2.NextRun]) -> None:
    rows: list[list[Cell]] = [[run.instant, run.due_at] for run in runs]
    print_table(_RUNS, rows, empty="no instant follows: the schedule is paused, or has ended")


async def _pause(options: argparse.Namespace, controller: ControllerClient) -> None:
    request = schedule_pb2.PauseScheduleRequest(name=options.name, reason=options.reason)
    paused = await controller.call(controller.schedules.PauseSchedule, request)
    print_result(options, paused, _line(paused))


async def _resume(options: argparse.Namespace, controller: ControllerClient) -> None:
    request = schedule_pb2.ResumeScheduleRequest(name=options.name, reason=options.reason)
    resumed = await controller.call(controller.schedules.ResumeSchedule, request)
    print_result(options, resumed, _line(resumed))


async def _delete(options: argparse.Namespace, controller: ControllerClient) -> None:
    request = schedule_pb2.DeleteScheduleRequest(name=options.name, reason=options.reason)
    await controller.call(controller.schedules.DeleteSchedule, request)
    print_result(options, {"name": options.name}, f"{options.name}: the schedule is deleted")
