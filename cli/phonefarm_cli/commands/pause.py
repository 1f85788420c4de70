"""`phonefarm pause` and `phonefarm resume`."""

import argparse
from typing import Final

from phonefarm.v1 import fleet_pb2

from phonefarm_cli.client.client import LONG_CALL_SECONDS, ControllerClient
from phonefarm_cli.console.connect import Subparsers, add_reason, add_verb
from phonefarm_cli.console.json_output import message_dict, print_json, print_result
from phonefarm_cli.console.tables import Cell, print_table
from phonefarm_cli.console.times import time_text
from phonefarm_cli.errors import CommandError, ExitCode

_COLUMNS = ("WHAT", "SINCE", "BY", "REASON")
_SCOPES: Final = {
    "app": fleet_pb2.PAUSE_SCOPE_APP,
    "account": fleet_pb2.PAUSE_SCOPE_ACCOUNT,
    "capability": fleet_pb2.PAUSE_SCOPE_CAPABILITY,
}
_NAMES: Final = {scope: word for word, scope in _SCOPES.items()}
_NOTES: Final = """\
During a pause, the farm still accepts work, but starts no runs for work in the scope. The command
resume ends the pause. Runs in progress continue to their end. With --stop, the farm stops them
between two actions, or by force after 30 s. Their items go back to the queue, and the
runs do not count as attempts. If a run was posting and may already have posted, its item ends with
outcome_unknown. Without a scope, the command lists the pauses.

A pause does not move the deadlines that callers gave: an item that passes its deadline ends with
deadline_passed. The command prints how many of these deadlines fall within the next 24 h. The
farm's own limit on waiting (phonefarm-controller --max-wait) does not run for work that the pause
holds back.

examples:
  phonefarm pause --all --reason "the network is being moved"
  phonefarm pause --capability post_video --reason "posts look wrong, Ada looks into it"
  phonefarm pause --app shortvideo --reason "an update broke it" --stop
  phonefarm pause --account acc-1 --reason "its owner is travelling"
  phonefarm pause
"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm pause` and `phonefarm resume`."""
    pause = add_verb(
        commands,
        "pause",
        "start no new runs, for all work or for a part of it",
        _pause,
        notes=_NOTES,
    )
    _add_scope(pause, required=False)
    pause.add_argument(
        "--reason",
        metavar="TEXT",
        help="the reason; `processes explain` shows it and the audit records it",
    )
    pause.add_argument(
        "--stop",
        action="store_true",
        help="also stop the runs in progress and put their items back into the queue",
    )
    resume = add_verb(commands, "resume", "end one pause; other pauses remain", _resume)
    _add_scope(resume, required=True)
    add_reason(resume, required=False)


def _add_scope(parser: argparse.ArgumentParser, *, required: bool) -> None:
    scopes = parser.add_mutually_exclusive_group(required=required)
    scopes.add_argument("--all", action="store_true", help="all work")
    scopes.add_argument("--app", metavar="APP", help="work that uses this app, e.g. shortvideo")
    scopes.add_argument("--account", metavar="ACCOUNT", help="work for this account")
    scopes.add_argument("--capability", metavar="NAME", help="work of this capability")


def _scope(options: argparse.Namespace) -> tuple[fleet_pb2.PauseScope.ValueType, str] | None:
    if options.all:
        return fleet_pb2.PAUSE_SCOPE_ALL, ""
    given = [(scope, getattr(options, word)) for word, scope in _SCOPES.items()]
    return next(((scope, name) for scope, name in given if name is not None), None)


async def _pause(options: argparse.Namespace, controller: ControllerClient) -> None:
    chosen = _scope(options)
    if chosen is None:
        if options.stop:
            message = "--stop needs a scope: --all, --app, --account or --capability"
            raise CommandError(message, ExitCode.MISUSED)
        await _list(options, controller)
        return
    scope, name = chosen
    request = fleet_pb2.PauseRequest(
        scope=scope, name=name, reason=options.reason or "", stop=options.stop
    )
    pause = await controller.call(controller.fleet.Pause, request, seconds=LONG_CALL_SECONDS)
    runs = "1 run is" if pause.stopped == 1 else f"{pause.stopped} runs are"
    goes_on = f"{runs} being stopped" if options.stop else "runs in progress continue"
    what = _what(pause.scope, pause.name)
    print_result(options, pause, f"{what}: paused; {goes_on}", _cost(pause))


def _cost(pause: fleet_pb2.PauseState) -> str:
    """Return what the pause means for what waits in it."""
    waits = "1 item waits" if pause.waiting == 1 else f"{pause.waiting} items wait"
    limit = "the farm's own limit on waiting does not run until you resume the work"
    if not pause.deadlines_soon:
        return f"{waits}; none of their callers' deadlines is within 24 h; {limit}"
    first = time_text(pause.first_deadline_at)
    end = "ends at its" if pause.deadlines_soon == 1 else "end at their"
    return (
        f"{waits}; {pause.deadlines_soon} of them {end} caller's deadline within 24 h unless you "
        f"resume the work first (the first deadline is at {first}); for the others, {limit}"
    )


async def _list(options: argparse.Namespace, controller: ControllerClient) -> None:
    answer = await controller.call(controller.fleet.ListPauses, fleet_pb2.ListPausesRequest())
    if options.json:
        print_json([message_dict(pause) for pause in answer.pauses])
        return
    rows: list[list[Cell]] = [
        [_what(pause.scope, pause.name), pause.since, pause.by, pause.reason]
        for pause in answer.pauses
    ]
    print_table(_COLUMNS, rows, empty="nothing is paused")


async def _resume(options: argparse.Namespace, controller: ControllerClient) -> None:
    chosen = _scope(options)
    if chosen is None:
        return
    scope, name = chosen
    request = fleet_pb2.ResumeRequest(scope=scope, name=name, reason=options.reason)
    answer = await controller.call(controller.fleet.Resume, request)
    done = "resumed" if answer.resumed else "was not paused"
    print_result(options, answer, f"{_what(scope, name)}: {done}")


def _what(scope: fleet_pb2.PauseScope.ValueType, name: str) -> str:
    return "all work" if scope == fleet_pb2.PAUSE_SCOPE_ALL else f"{_NAMES[scope]} {name}"
