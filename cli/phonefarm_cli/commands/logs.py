"""`phonefarm logs`: prints the logs of the programs of a farm that runs here."""

import argparse
import asyncio
import heapq
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from phonefarm_cli.console.connect import Subparsers
from phonefarm_cli.console.farm_address import data_folder
from phonefarm_cli.errors import CommandError, ExitCode
from phonefarm_cli.terminal import OUT

_LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_STYLES: Final = {"debug": "dim", "warning": "yellow", "error": "red", "critical": "bold red"}
_HEAD: Final = frozenset({"timestamp", "program", "level", "event"})
_POLL_SECONDS: Final = 0.3
_NOTES: Final = """\
Print the log lines of all programs of `phonefarm up`, ordered by time, as
`TIME PROGRAM LEVEL EVENT KEY=VALUE`. On other hosts, systemd keeps the logs: run
`journalctl -u phonefarm-agent`. To get the logs of runs, use
`phonefarm processes evidence PROCESS --save DIR`.

examples:
  phonefarm logs --level warning
  phonefarm logs agent gateway --follow
  phonefarm logs --about 47ad9c7d --json
"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm logs`."""
    logs = commands.add_parser(
        "logs",
        help="print the logs of a farm on this host",
        description="Print the logs of a farm on this host.",
        epilog=_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    logs.add_argument(
        "programs",
        nargs="*",
        metavar="PROGRAM",
        help="the programs whose logs to print: controller, agent, gateway, ... (default: all)",
    )
    logs.add_argument("--data", type=Path, metavar="DIR", help="folder of the farm (.farm)")
    logs.add_argument(
        "--level",
        choices=_LEVELS,
        default="info",
        help="print lines at this level and above (%(default)s)",
    )
    logs.add_argument(
        "--about",
        default="",
        metavar="TEXT",
        help="print only lines that contain this text, e.g. an id",
    )
    logs.add_argument("--follow", action="store_true", help="keep printing new lines until Ctrl-C")
    logs.add_argument(
        "--json",
        action="store_true",
        help="print the log lines as JSON, as the programs wrote them",
    )
    logs.set_defaults(perform=_print_logs, parser=logs)


def _print_logs(options: argparse.Namespace) -> ExitCode:
    folder = data_folder(options) / "logs"
    known = sorted(path.stem for path in folder.glob("*.log"))
    if not known:
        raise CommandError(
            f"no farm has run with the folder {folder.parent}: give the farm's folder with --data"
        )
    if strange := sorted(set(options.programs) - set(known)):
        message = f"there are no logs of {', '.join(strange)}; known: {', '.join(known)}"
        raise CommandError(message, ExitCode.MISUSED)
    files = [folder / f"{name}.log" for name in options.programs or known]
    tails = [_Tail(path) for path in files]
    for line in heapq.merge(*(tail.new_lines() for tail in tails), key=_time):
        _print_line(line, options)
    if options.follow:
        asyncio.run(_follow(tails, options))
    return ExitCode.OK


class _Tail:
    """Reads what was added to a log since the last time; a log that was begun again from 0."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._time = ""

    def new_lines(self) -> Iterator[dict[str, Any]]:
        """Yield each complete line as the values that it has."""
        try:
            with self._path.open("rb") as file:
                if file.seek(0, 2) < self._read:
                    self._read = 0
                file.seek(self._read)
                for raw in file:
                    if not raw.endswith(b"\n"):
                        return
                    self._read += len(raw)
                    yield self._values(raw.decode(errors="replace").rstrip())
        except FileNotFoundError:
            return

    def _values(self, text: str) -> dict[str, Any]:
        """Return the values of a line; a library may have written one that is no JSON object."""
        try:
            values = json.loads(text)
        except ValueError:
            values = None
        if isinstance(values, dict):
            self._time = _time(values)
            return values
        return {"timestamp": self._time, "program": self._path.stem, "level": "info", "event": text}


async def _follow(tails: list[_Tail], options: argparse.Namespace) -> None:
    while True:
        for line in sorted((line for tail in tails for line in tail.new_lines()), key=_time):
            _print_line(line, options)
        await asyncio.sleep(_POLL_SECONDS)


def _time(line: dict[str, Any]) -> str:
    return str(line.get("timestamp", ""))


def _print_line(line: dict[str, Any], options: argparse.Namespace) -> None:
    level = str(line.get("level", "info"))
    least = _LEVELS.index(options.level)
    if level in _LEVELS and _LEVELS.index(level) < least:
        return
    text = json.dumps(line, ensure_ascii=False)
    if options.about not in text:
        return
    if options.json:
        print(text, flush=True)
        return
    rest = " ".join(f"{key}={_short(value)}" for key, value in line.items() if key not in _HEAD)
    when = _time(line)[11:23] or " " * 12
    head = f"{when}  {line.get('program', ''):<10}  {level:<7}  {line.get('event', '')}"
    OUT.print(f"{head}  {rest}".rstrip(), style=_STYLES.get(level, ""), markup=False)


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
