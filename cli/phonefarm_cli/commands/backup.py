"""`phonefarm backup`: saves a copy of the controller's SQLite database."""

import argparse
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from phonefarm.v1 import hands_pb2

from phonefarm_cli.client.client import ControllerClient
from phonefarm_cli.console.connect import Subparsers, add_verb
from phonefarm_cli.console.times import time_text
from phonefarm_cli.errors import CommandError, ExitCode
from phonefarm_cli.terminal import echo

_NOTES: Final = """\
The farm works on meanwhile. FILE is the SQLite database as of one moment; it appears whole or not
at all. In it all work is paused, because what is done after that moment is not in it. The folders
ca, evidence and profiles of the controller's --data belong to a backup too: docs/operating.md
says how to restore. A database on PostgreSQL is backed up by pg_dump.

example:
  phonefarm backup farm-monday.db --reason "before the upgrade"
"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm backup`."""
    backup = add_verb(
        commands, "backup", "save a copy of the controller's database", _backup, notes=_NOTES
    )
    backup.add_argument("file", type=Path, metavar="FILE", help="where; a new file")
    backup.add_argument(
        "--reason", default="a backup", metavar="TEXT", help="why; it is kept (%(default)s)"
    )


async def _backup(options: argparse.Namespace, controller: ControllerClient) -> None:
    place: Path = options.file
    try:
        with _made(place) as descriptor:
            head = await _receive(controller, options.reason, descriptor)
    except FileExistsError as error:
        message = f"there is a {place}, which is not replaced: give another name"
        raise CommandError(message, ExitCode.MISUSED) from error
    except OSError as error:
        why = f"{error.filename or place} cannot be written: {error.strerror}"
        raise CommandError(why, ExitCode.MISUSED) from error
    echo(f"{place}: the database of {time_text(head.taken_at)}, {head.bytes} bytes, {head.sha256}")


@contextmanager
def _made(place: Path) -> Iterator[int]:
    """Yield a file to write; it gets the name *place* when the block succeeds."""
    if place.exists() or place.is_symlink():
        raise FileExistsError
    partial = place.with_name(f"{place.name}.part")
    # Of keys it holds only digests, but callers' data all the same.
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        yield descriptor
        partial.replace(place)
    finally:
        os.close(descriptor)
        partial.unlink(missing_ok=True)


async def _receive(
    controller: ControllerClient, reason: str, descriptor: int
) -> hands_pb2.BackupHead:
    """Write the copy; CommandError when it does not match the size and SHA-256 of its head."""
    head, seen, size = hands_pb2.BackupHead(), hashlib.sha256(), 0
    request = hands_pb2.BackupRequest(reason=reason)
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
        raise CommandError("what came is not what was sent: nothing was saved, try again")
    os.fsync(descriptor)
    return head
