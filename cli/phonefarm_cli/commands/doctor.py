"""`phonefarm doctor`: checks the farm and names a remedy for everything that is wrong."""

import argparse
from collections.abc import Sequence
from typing import Final

from phonefarm.v1 import doctor_pb2

from phonefarm_cli.client.client import ControllerClient, UnreachableError
from phonefarm_cli.console.connect import Subparsers, add_verb
from phonefarm_cli.console.json_output import print_json
from phonefarm_cli.errors import ExitCode
from phonefarm_cli.terminal import echo, note

_WORDS: Final = {
    doctor_pb2.VERDICT_OK: "ok",
    doctor_pb2.VERDICT_WARN: "warn",
    doctor_pb2.VERDICT_FAIL: "fail",
}
_NOTES: Final = """\
The first line reports that the farm is well, or how many problems need your attention. The second
line counts phones and hosts. Then the command prints each problem with its verdict and, after an
arrow, its remedy. The verdict is warn (work continues) or fail (work has stopped). With --all, the
command also prints each check that is ok. The exit code is 1 if a check fails, and 0 if the farm is
well or has only warnings. If the farm has several controllers, run the command once for each
controller, and name the controller with --grpc. On a phone host, `phonefarm-agent doctor` checks
that host.

examples:
  phonefarm doctor
  phonefarm doctor --all
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
    parser.add_argument("--all", action="store_true", help="also print each check that is ok")


async def _doctor(options: argparse.Namespace, controller: ControllerClient) -> ExitCode:
    try:
        answer = await controller.call(controller.doctor.Examine, doctor_pb2.ExamineRequest())
    except UnreachableError as error:
        remedy = (
            "start the controller; if it is already running, look for alarm.raised in its log, "
            "because its event loop may be stuck"
        )
        away = {"check": "controller", "text": str(error), "remedy": remedy}
        finding = doctor_pb2.Finding(verdict=doctor_pb2.VERDICT_FAIL, **away)
        answer = doctor_pb2.Examination(findings=[finding])
    if options.json:
        print_json(_document(answer))
    else:
        _show(answer, whole=options.all)
    failed = any(finding.verdict == doctor_pb2.VERDICT_FAIL for finding in answer.findings)
    return ExitCode.FAILED if failed else ExitCode.OK


def _document(answer: doctor_pb2.Examination) -> dict[str, object]:
    worst = max((each.verdict for each in answer.findings), default=doctor_pb2.VERDICT_OK)
    checks = [
        {
            "check": finding.check,
            "verdict": _word(finding),
            "text": finding.text,
            "remedy": finding.remedy,
        }
        for finding in answer.findings
    ]
    return {
        "verdict": _WORDS.get(worst, "warn"),
        "problems": len(_problems(answer.findings)),
        "summary": answer.summary,
        "checks": checks,
    }


def _show(answer: doctor_pb2.Examination, *, whole: bool) -> None:
    problems = _problems(answer.findings)
    echo(_verdict(len(problems)))
    if answer.summary:
        echo(answer.summary)
    shown = list(answer.findings) if whole else problems
    width = max((len(finding.check) for finding in shown), default=0)
    for finding in shown:
        echo(f"{_word(finding):<5} {finding.check:<{width}}  {finding.text}")
        if finding.remedy:
            echo(f"{'':<5} {'':<{width}}  -> {finding.remedy}")
    if not whole:
        wrong = {finding.check for finding in problems}
        names = (each.check for each in answer.findings if each.check not in wrong)
        well = list(dict.fromkeys(names))
        if well:
            note(f"ok: {', '.join(well)} (--all prints each)")


def _verdict(problems: int) -> str:
    if not problems:
        return "the farm is well"
    return (
        "1 problem needs your attention"
        if problems == 1
        else f"{problems} problems need your attention"
    )


def _problems(found: Sequence[doctor_pb2.Finding]) -> list[doctor_pb2.Finding]:
    """Return what is not ok: what stops work first, else in the order of the checks."""
    wrong = [finding for finding in found if finding.verdict != doctor_pb2.VERDICT_OK]
    return sorted(wrong, key=lambda finding: finding.verdict != doctor_pb2.VERDICT_FAIL)


def _word(finding: doctor_pb2.Finding) -> str:
    return _WORDS.get(finding.verdict, "warn")  # a newer controller may know more verdicts
