"""`phonefarm backup`: saves a copy of the controller's SQLite database."""

import argparse
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from phonefarm.v1 import operator_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.console.connect import Subparsers, add_verb
from phonefarm_cli.console.json_output import print_result
from phonefarm_cli.console.times import time_text
from phonefarm_cli.errors import CommandError, ExitCode

_NOTES: Final = """\
Save a consistent copy of the SQLite database while the farm is running. FILE appears only when the
copy is complete. A farm that is restored from FILE starts with all work paused, because FILE does
not contain what happened after the backup. A complete backup also needs the folders ca, evidence
and profiles in the controller's --data folder; docs/operating.md explains how to restore a farm.
Use pg_dump to back up PostgreSQL.

example:
  phonefarm backup farm-monday.db --reason "before the upgrade"
"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm backup`."""
    backup = add_verb(
        commands, "backup", "save a copy of the controller's database", _backup, notes=_NOTES
    )
    backup.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="path of the new file, which must not exist yet",
    )
    backup.add_argument(
        "--reason",
        default="a backup",
        metavar="TEXT",
        help="the reason; the audit records it (%(default)s)",
    )


async def _backup(options: argparse.Namespace, controller: ControllerClient) -> None:
    place: Path = options.file
    try:
        with _made(place) as descriptor:
            head = await _receive(controller, options.reason, descriptor)
    except FileExistsError as error:
        message = f"{place} already exists, and the command does not replace it: give another name"
        raise CommandError(message, ExitCode.MISUSED) from error
    except OSError as error:
        why = f"{error.filename or place} cannot be written: {error.strerror}"
        raise CommandError(why, ExitCode.MISUSED) from error
    line = (
        f"{place}: the database as of {time_text(head.taken_at)}, {head.bytes} bytes, {head.sha256}"
    )
    print_result(options, head, line)


@contextmanager
def _made(place: Path) -> Iterator[int]:
    """Yield a file to write; it gets the name *place* when the block succeeds."""
    if place.exists() or place.is_symlink():
        raise FileExistsError
    partial = place.with_name(f"{place.name}.part")
    # It holds only digests of keys, but callers' data.
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        yield descriptor
        partial.replace(place)
    finally:
        os.close(descriptor)
        partial.unlink(missing_ok=True)


async def _receive(
    controller: ControllerClient, reason: str, descriptor: int
) -> operator_pb2.BackupHead:
    """Write the copy; CommandError when it does not match the size and SHA-256 of its head."""
    head, seen, size = operator_pb2.BackupHead(), hashlib.sha256(), 0
    request = operator_pb2.BackupRequest(reason=reason)
    async for part in controller.stream(controller.operator.Backup, request):
        if part.WhichOneof("body") == "head":
            head = part.head
            continue
        rest = memoryview(part.data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        seen.update(part.data)
        size += len(part.data)
    if (size, seen.hexdigest()) != (head.bytes, head.sha256) or not size:
        raise CommandError("the copy arrived damaged, so nothing was saved: try again")
    os.fsync(descriptor)
    return head
