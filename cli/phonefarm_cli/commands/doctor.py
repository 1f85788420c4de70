"""`phonefarm doctor`: checks the farm and names a remedy for everything that is wrong."""

import argparse
from collections.abc import Sequence
from typing import Final

from phonefarm.v1 import doctor_pb2

from phonefarm_cli.client.client import ControllerClient, UnreachableError
from phonefarm_cli.console.connect import Subparsers, add_json, add_verb
from phonefarm_cli.console.json_output import print_json
from phonefarm_cli.errors import ExitCode
from phonefarm_cli.terminal import echo

_WORDS: Final = {
    doctor_pb2.VERDICT_OK: "ok",
    doctor_pb2.VERDICT_WARN: "warn",
    doctor_pb2.VERDICT_FAIL: "fail",
}
_NOTES: Final = """\
Print one line for each check: ok, warn (work continues) or fail (work has stopped), with the remedy
below it. The exit code is 1 when a check fails. If the farm has several controllers, run the
command for each: --grpc names the controller. On a phone host, `phonefarm-agent doctor` checks that
host.

examples:
  phonefarm doctor
  phonefarm doctor --json | jq '.checks[] | select(.verdict != "ok")'
"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm doctor`."""
    parser = add_verb(
        commands,
        "doctor",
        "check the farm, and print a remedy for each problem",
        _doctor,
        notes=_NOTES,
    )
    add_json(parser)


async def _doctor(options: argparse.Namespace, controller: ControllerClient) -> ExitCode:
    try:
        answer = await controller.call(controller.doctor.Examine, doctor_pb2.ExamineRequest())
        found = list(answer.findings)
    except UnreachableError as error:
        remedy = (
            "start the controller; if it runs already, look for alarm.raised in its "
            "log: its event loop may be stuck"
        )
        away = {"check": "controller", "text": str(error), "remedy": remedy}
        found = [doctor_pb2.Finding(verdict=doctor_pb2.VERDICT_FAIL, **away)]
    _show(found, as_json=options.json)
    failed = any(finding.verdict == doctor_pb2.VERDICT_FAIL for finding in found)
    return ExitCode.FAILED if failed else ExitCode.OK


def _show(found: Sequence[doctor_pb2.Finding], *, as_json: bool) -> None:
    if as_json:
        worst = max((finding.verdict for finding in found), default=doctor_pb2.VERDICT_OK)
        checks = [
            {
                "check": finding.check,
                "verdict": _word(finding),
                "text": finding.text,
                "remedy": finding.remedy,
            }
            for finding in found
        ]
        print_json({"verdict": _WORDS.get(worst, "warn"), "checks": checks})
        return
    width = max((len(finding.check) for finding in found), default=0)
    for finding in found:
        echo(f"{_word(finding):<5} {finding.check:<{width}}  {finding.text}")
        if finding.remedy:
            echo(f"{'':<5} {'':<{width}}  -> {finding.remedy}")


def _word(finding: doctor_pb2.Finding) -> str:
    return _WORDS.get(finding.verdict, "warn")  # a newer controller may know more verdicts
