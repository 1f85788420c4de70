"""`phonefarm processes evidence`: lists the evidence of a process, or saves it."""

import argparse
import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from phonefarm.v1 import inspect_pb2

from phonefarm_cli.client.client import LONG_CALL_SECONDS, ControllerClient
from phonefarm_cli.console.connect import Subparsers, add_process, add_verb
from phonefarm_cli.console.json_output import message_dict, print_json
from phonefarm_cli.console.tables import Cell, counted, print_table
from phonefarm_cli.console.times import time_text
from phonefarm_cli.errors import CommandError, ExitCode
from phonefarm_cli.terminal import echo, note_stderr

COLUMNS = ("RUN", "ATTEMPT", "NAME", "KIND", "ACTION", "BYTES", "RECEIVED")

_NOTES: Final = """\
--save checks the SHA-256 of each file, then writes it to DIR/RUN/NAME, and never replaces a file.

examples:
  phonefarm processes evidence PROCESS
  phonefarm processes evidence PROCESS --save ./evidence
"""


def add(verbs: Subparsers) -> None:
    """Add `phonefarm processes evidence`."""
    parser = add_verb(
        verbs, "evidence", "list a process's evidence, or save it", _evidence, notes=_NOTES
    )
    add_process(parser)
    parser.add_argument(
        "--save", type=Path, metavar="DIR", help="save all files in DIR, in a folder for each run"
    )


def evidence_row(line: inspect_pb2.EvidenceLine) -> list[Cell]:
    """Return the table row of one file."""
    return [
        line.run_id,
        str(line.attempt),
        line.name,
        line.kind,
        "-" if line.action_index < 0 else str(line.action_index),
        f"{line.bytes} (cut short)" if line.truncated else str(line.bytes),
        f"removed {time_text(line.removed_at)}" if _is_gone(line) else line.received_at,
    ]


def _is_gone(line: inspect_pb2.EvidenceLine) -> bool:
    return line.HasField("removed_at")


async def _evidence(options: argparse.Namespace, controller: ControllerClient) -> None:
    request = inspect_pb2.ListEvidenceRequest(process_id=options.process)
    found = await controller.call(controller.inspection.ListEvidence, request)
    lines = list(found.evidence)
    there = [line for line in lines if not _is_gone(line)]
    if options.save is not None:
        places = [_place(options.save, line) for line in there]
        _refuse_existing(places)
        for line, place in zip(there, places, strict=True):
            await _save(controller, line, place)
    if options.json:
        print_json([message_dict(line) for line in lines])
    elif options.save is None:
        print_table(COLUMNS, [evidence_row(line) for line in lines], empty="no evidence (yet)")
    for why, count in Counter(line.removed_why for line in lines if _is_gone(line)).items():
        note_stderr(f"{counted(count, 'file')} removed ({why})")
    for run in found.runs:
        if not run.complete:
            note_stderr(
                f"run {run.run_id} (attempt {run.attempt}) is incomplete: its manifest has not "
                "arrived (yet)"
            )
    if options.save is not None:
        show = note_stderr if options.json else echo
        show(f"{counted(len(there), 'file')} saved in {options.save}; every SHA-256 is correct")


def _place(folder: Path, line: inspect_pb2.EvidenceLine) -> Path:
    """Return the path of the file; CommandError for a name that would leave the folder."""
    for part in (line.run_id, line.name):
        if not part or part.startswith(".") or "/" in part or not part.isprintable():
            raise CommandError(
                f"the controller sent the file name {part!r}, which cannot be the name of a file"
            )
    return folder / line.run_id / line.name


def _refuse_existing(places: list[Path]) -> None:
    there = [str(place) for place in places if place.exists() or place.is_symlink()]
    if there:
        more = f" and {len(there) - 5} more" if len(there) > 5 else ""
        told = f"{', '.join(there[:5])}{more}"
        raise CommandError(
            f"nothing was saved, because these files exist: {told}; choose another folder"
        )
    if len(set(places)) != len(places):
        raise CommandError("nothing was saved: two files have the same name")


async def _save(controller: ControllerClient, line: inspect_pb2.EvidenceLine, place: Path) -> None:
    try:
        with _made(place) as partial:
            await _receive(controller, line, partial)
    except OSError as error:
        why = f"{error.filename or place} cannot be written: {error.strerror}"
        raise CommandError(why, ExitCode.MISUSED) from error


@contextmanager
def _made(place: Path) -> Iterator[Path]:
    """Yield a file to write; it gets the name *place* when the block succeeds."""
    partial = place.with_name(f".{place.name}.part")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch(exist_ok=False)  # from now on only we replace this name
    try:
        yield partial
        partial.replace(place)
    except BaseException:
        place.unlink()
        raise
    finally:
        partial.unlink(missing_ok=True)


async def _receive(
    controller: ControllerClient, line: inspect_pb2.EvidenceLine, path: Path
) -> None:
    """Write the file's bytes; CommandError when their SHA-256 is not that of its description."""
    request = inspect_pb2.ReadEvidenceRequest(
        process_id=line.process_id, evidence_id=line.evidence_id
    )
    seen, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        async for part in controller.stream(
            controller.inspection.ReadEvidence, request, seconds=LONG_CALL_SECONDS
        ):
            size += file.write(part.data)
            seen.update(part.data)
    if seen.hexdigest() != line.sha256:
        raise CommandError(
            f"{line.name} of run {line.run_id} arrived damaged and was not saved: it "
            f"has {size} bytes with the SHA-256 {seen.hexdigest()}, but should have "
            f"{line.bytes} with {line.sha256}"
        )
