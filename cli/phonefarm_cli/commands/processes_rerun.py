"""`phonefarm processes rerun`: makes a new process from one that has ended."""

import argparse
from typing import Final

from phonefarm.v1 import operator_pb2

from phonefarm_cli.client.client import LONG_CALL_SECONDS, ControllerClient
from phonefarm_cli.console.connect import Subparsers, add_process, add_reason, add_verb
from phonefarm_cli.console.json_output import print_result

_NOTES: Final = """\
Create a new process with the old process's plan, target and callback. The new process uses the
current app profiles and has no deadline. Its request id is made from the old id (ID~2). You can
rerun a process only once; if you repeat the command, it prints the same new process. A rerun never
repeats an item that has already posted. An item with outcome_unknown may have posted: check the
account, and give --yes-it-was-not-posted only if the post is not there.

examples:
  phonefarm processes rerun $PROCESS --reason "the app is mended"
  phonefarm processes rerun $PROCESS --failed-only --reason "the phones are back"
  phonefarm processes rerun $PROCESS --yes-it-was-not-posted --reason "looked at the profile"
"""


def add(verbs: Subparsers) -> None:
    """Add `phonefarm processes rerun`."""
    rerun = add_verb(
        verbs, "rerun", "repeat an ended process as a new process", _rerun, notes=_NOTES
    )
    add_process(rerun)
    rerun.add_argument(
        "--failed-only", action="store_true", help="repeat only the items that were not completed"
    )
    rerun.add_argument(
        "--yes-it-was-not-posted",
        dest="not_posted",
        action="store_true",
        help=(
            "confirm that you have checked the account, and did not find the posts with "
            "`outcome_unknown`"
        ),
    )
    add_reason(rerun)


async def _rerun(options: argparse.Namespace, controller: ControllerClient) -> None:
    request = operator_pb2.RerunProcessRequest(
        process_id=options.process,
        failed_only=options.failed_only,
        not_posted=options.not_posted,
        reason=options.reason,
    )
    made = await controller.call(
        controller.operator.RerunProcess, request, seconds=LONG_CALL_SECONDS
    )
    was = "was already rerun as" if made.already else "is rerun as"
    as_request = f", request {made.request_id}" if made.request_id else ""
    items = "1 item" if made.items == 1 else f"{made.items} items"
    line = f"{options.process} {was} {made.process_id}{as_request}: {items}"
    print_result(options, made, line)
