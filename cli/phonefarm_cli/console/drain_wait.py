"""Waits until drained phones have no run."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

from phonefarm.v1 import fleet_pb2

from phonefarm_cli.client.client import ControllerClient, UnreachableError
from phonefarm_cli.terminal import note_stderr

POLL_SECONDS: Final = 0.5
_BUSY: Final = frozenset({"leased", "releasing"})


async def wait_until_free(
    controller: ControllerClient, concerned: Callable[[fleet_pb2.Phone], bool]
) -> None:
    """Return when none of these phones has a run; print changes of what still runs on stderr.

    It waits through restarts of the controller. A dirty phone has no run; it is named.
    """
    said: list[str] = []
    while True:
        try:
            phones = [phone for phone in await controller.phones() if concerned(phone)]
        except UnreachableError:
            await asyncio.sleep(POLL_SECONDS)
            continue
        lines = list(_at_work(phones))
        if lines != said:
            for line in lines:
                note_stderr(line)
            said = lines
        if not lines:
            for phone in phones:
                if phone.lease == "dirty":
                    note_stderr(f"{phone.phone_id} is dirty: {phone.health_reason}")
            return
        await asyncio.sleep(POLL_SECONDS)


def _at_work(phones: list[fleet_pb2.Phone]) -> Iterator[str]:
    for phone in phones:
        if phone.lease == "leased":
            yield f"{phone.phone_id}: process {phone.process_id} continues"
        elif phone.lease in _BUSY:
            yield f"{phone.phone_id}: is being cleaned"
