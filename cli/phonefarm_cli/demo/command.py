"""`phonefarm demo`: its options."""

import argparse
import asyncio
import os
import shutil
from pathlib import Path

from phonefarm_cli.console.connect import Subparsers
from phonefarm_cli.demo.scenario import perform_demo
from phonefarm_cli.errors import CommandError, ExitCode
from phonefarm_cli.up.command import add_personality, add_runtime
from phonefarm_cli.up.run import exclusive_lock

KEEP_MARK = "keep"

_ABOUT = """\
Show a farm at work. The command starts a farm with three simulated phones, and sends two requests
over REST: a keyword warm-up for all three phones, and an edit of one account's profile. It follows
both requests, verifies the signature of each callback, and checks on the phones what happened. It
leaves nothing running. Exit code 0 means that all checks passed.
"""

_EPILOG = """\
The next demo removes this demo's files (logs, phone ledgers, evidence), unless you run this demo
with --keep or --data.
"""


def add(commands: Subparsers) -> None:
    """Add `phonefarm demo`."""
    demo = commands.add_parser(
        "demo",
        help="run a demo: three simulated phones, two requests, callbacks, checks",
        description=_ABOUT,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    demo.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder for the demo's files (.farm/demo-<process id>)",
    )
    add_personality(demo)
    add_runtime(demo)
    demo.add_argument(
        "--keep", action="store_true", help="keep the files: later demos do not remove them"
    )
    demo.set_defaults(perform=_demo, parser=demo)


def _demo(options: argparse.Namespace) -> ExitCode:
    own = Path(".farm").absolute()
    if options.data is None:
        _remove_old(own)
    data: Path = (options.data or own / f"demo-{os.getpid()}").absolute()
    if options.keep:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        (data / KEEP_MARK).touch()
    return asyncio.run(
        perform_demo(data, runtime=options.runtime, personalities=options.personality)
    )


def _remove_old(folder: Path) -> None:
    """Remove the folders of earlier demos that neither run nor are to be kept."""
    for old in folder.glob("demo-*"):
        if (old / KEEP_MARK).exists() or not (old / "up.lock").exists():
            continue
        try:
            with exclusive_lock(old):
                shutil.rmtree(old)
        except (CommandError, OSError):
            continue  # it runs, or another user's: no reason to fail
