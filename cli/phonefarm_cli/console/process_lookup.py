"""Finds a process by its id or by the beginning of it."""

import re
from typing import Final

from phonefarm.v1 import process_pb2
from phonefarm_common.ids import is_uuid

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.errors import CommandError

LEAST_PREFIX: Final = 4
_BEGINNING: Final = re.compile(r"[0-9a-f-]{4,36}")
_LISTED: Final = 5


async def find_process(controller: ControllerClient, word: str) -> str:
    """Return the id of the process; CommandError when none or several begin like this.

    A whole id is returned as it is: the call that uses it says whether there is such a process.
    """
    if is_uuid(word):
        return word
    if not _BEGINNING.fullmatch(word.lower()):
        raise CommandError(
            f"{word} is not the id of a process: give an id, or at least its first {LEAST_PREFIX} "
            "characters, as `phonefarm processes list` shows it"
        )
    request = process_pb2.ListProcessesRequest(process_id_prefix=word.lower(), limit=_LISTED + 1)
    page = await controller.call(controller.processes.ListProcesses, request)
    found = [process.process_id for process in page.processes]
    if not found:
        raise CommandError(
            f"there is no process whose id begins with {word}: `phonefarm processes list` lists "
            "the processes"
        )
    if len(found) > 1:
        more = ", ..." if len(found) > _LISTED or page.next_cursor else ""
        raise CommandError(
            f"the ids of several processes begin with {word}: {', '.join(found[:_LISTED])}{more}"
        )
    return found[0]
